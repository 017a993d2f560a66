"""Generator and Discriminator for any image size, each the other's mirror image.

The discriminator halves the image with strided convolutions, each of which maps two neighbouring sizes to one; the
generator retraces the same sizes upwards, and ``output_padding`` says which of the two it was.

Legend: ``N`` batch, ``C`` image channels, ``H W`` image size, ``Z`` latent size.
"""

from itertools import pairwise
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from dcgan.choices import Activation, Latents, Norm, Upsample
from dcgan.config import ModelConfig
from dcgan.conv_transpose import ConvTranspose2d
from dcgan.conv_transpose.arithmetic import conv_output_size, output_padding_for
from dcgan.randomness import random_generator

Size = tuple[int, int]
Network = TypeVar("Network", bound=nn.Module)

STRIDE = 2
# A side of fewer pixels is not halved again: 64 ends at 4 x 4 as in the paper, 28 at 3 x 3. Digits that ended at
# 7 x 7, one layer less, were twice as far from real ones after as many steps.
SMALLEST_HALVED = 5
# The paper's widest layer has 8 times the channels of its narrowest (figure 1: 1024 and 128).
WIDEST = 8


def halving_padding(kernel_size: int) -> int:
    """The padding with which a stride-2 convolution halves: 1 for kernels 3 and 4, 2 for 5 and 6."""
    return (kernel_size - 1) // 2


def map_sizes(image_size: Size, kernel_size: int) -> list[Size]:
    """The image's size and those of the maps after each halving, as ``(height, width)``."""
    sizes = [image_size]
    while min(sizes[-1]) >= SMALLEST_HALVED:
        height, width = (
            conv_output_size(side, kernel_size, STRIDE, halving_padding(kernel_size)) for side in sizes[-1]
        )
        sizes.append((height, width))
    return sizes


def map_widths(channels: int, width: int, count: int) -> list[int]:
    """Channels of the image and of the maps after each halving: ``width``, then doubling up to 8-fold."""
    return [channels, *(width * min(2**depth, WIDEST) for depth in range(count - 1))]


class Generator(nn.Module):
    """Latents to images (Radford et al. 2015, figure 1).

    Args:
        model: the settings.
        image_size: ``(H, W)``, each at least 8.
        channels: ``C``.
        num_classes: number of labels; 0 for none.
    """

    def __init__(self, model: ModelConfig, image_size: Size, channels: int, num_classes: int) -> None:
        super().__init__()
        self.latent_dim, self._latents = model.latent_dim, model.latents
        self.truncation = 1.0  # what latents are multiplied by when they are drawn
        self.embedding = nn.Embedding(num_classes, model.latent_dim) if num_classes else None
        sizes = map_sizes(image_size, model.kernel_size)[::-1]
        widths = map_widths(channels, model.width, len(sizes))[::-1]
        latents = model.latent_dim * (2 if num_classes else 1)
        # A 1 x 1 map into a full-size kernel: the paper's projection as a transposed convolution.
        layers: list[nn.Module] = [
            _conv_transpose(model, latents, widths[0], sizes[0], bias=False),
            *_normalised(widths[0]),
        ]
        for (inputs, outputs), (smaller, larger) in zip(pairwise(widths), pairwise(sizes), strict=True):
            last = larger == image_size
            layers.append(_upsampling(model, inputs, outputs, smaller, larger, bias=last))
            # No normalisation on the output layer (section 3).
            if last and model.discriminator_norm is Norm.every:
                layers.append(nn.BatchNorm2d(outputs))
            layers += [nn.Tanh()] if last else _normalised(outputs)
        self.layers = nn.Sequential(*layers)

    def draw(self, count: int, random: torch.Generator) -> Tensor:
        """Latents ``(count, Z)`` as it is trained with, on the CPU; with a `truncation` below 1 closer to their middle."""
        if self._latents is Latents.uniform:
            return self.truncation * (torch.rand(count, self.latent_dim, generator=random) * 2 - 1)
        return self.truncation * torch.randn(count, self.latent_dim, generator=random)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images ``(N, C, H, W)`` in [-1, 1] from latents ``(N, Z)`` and labels ``(N,)``."""
        return self.render(self.codes(latents, labels))

    def codes(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """All that an image is made from: the latents and, with labels, their embeddings, ``(N, Z or 2 Z)``."""
        return latents if self.embedding is None else torch.cat([latents, self.embedding(labels)], dim=1)

    def render(self, codes: Tensor) -> Tensor:
        """Images from codes, also from codes that no label has: between classes, or sums of several."""
        images: Tensor = self.layers(codes[:, :, None, None])
        return images.float()  # under autocast they were not


class Discriminator(nn.Module):
    """Images to logits, large for real ones; the mirror of `Generator`, with the same arguments.

    With labels it adds the inner product of the label's embedding and the image's features (projection
    discriminator, Miyato and Koyama 2018, equation 4). The features keep their place here, where the
    paper sums them over the map: a digit is a matter of where its strokes are.
    """

    def __init__(self, model: ModelConfig, image_size: Size, channels: int, num_classes: int) -> None:
        super().__init__()
        sizes = map_sizes(image_size, model.kernel_size)
        widths = map_widths(channels, model.width, len(sizes))
        padding = halving_padding(model.kernel_size)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            first = not layers  # no normalisation on the input layer (section 3)
            normalised = model.discriminator_norm in ((Norm.every,) if first else (Norm.every, Norm.batch))
            layers.append(nn.Conv2d(inputs, outputs, model.kernel_size, STRIDE, padding, bias=not normalised))
            layers += [nn.BatchNorm2d(outputs)] if normalised else []
            leaky = model.discriminator_activation is Activation.leaky_relu
            layers.append(nn.LeakyReLU(0.2) if leaky else nn.ReLU())
        self.layers = nn.Sequential(*layers)
        self.head = nn.Conv2d(widths[-1], 1, sizes[-1])
        features = widths[-1] * sizes[-1][0] * sizes[-1][1]
        self.embedding = nn.Embedding(num_classes, features) if num_classes else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits ``(N,)`` from images ``(N, C, H, W)`` in [-1, 1] and labels ``(N,)``."""
        features = self.layers(images)
        logits: Tensor = self.head(features).flatten()
        if self.embedding is not None:
            logits = logits + (self.embedding(labels) * features.flatten(1)).sum(1)
        return logits.float()  # losses need the precision that autocast took from them


def initialise(network: nn.Module, seed: int, stream: str) -> None:
    """Weights from N(0, 0.02) (section 4), BatchNorm scales from N(1, 0.02), biases and shifts zero.

    Embeddings, too: beside latents of scale 1 the classes must begin close together. With PyTorch's N(0, 1)
    the generator learnt one picture per class.
    """
    random = random_generator(seed, stream)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02, generator=random)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02, generator=random)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, 0.0, 0.02, generator=random)


def to_device(network: Network, device: torch.device) -> Network:
    """The network on the device, in channels_last, in which a step took 7 to 9 % less time on a CPU.

    On a GPU it took 13 % less for large networks and as long for small ones; on MPS it was not tried.
    """
    layout = torch.contiguous_format if device.type == "mps" else torch.channels_last
    return network.to(device, memory_format=layout)  # type: ignore[call-overload,no-any-return]


def spectral_normalise(network: nn.Module, seed: int) -> None:
    """Divide each weight by its largest singular value, estimated anew in each step (Miyato et al. 2018).

    To be called after `initialise`, which sets the weights themselves.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Embedding)]
    # PyTorch draws the first singular vectors from the global generator.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in layers:
            parametrizations.spectral_norm(layer)


class ResizeConv2d(nn.Sequential):
    """Nearest-neighbour enlargement, then a convolution (Odena et al. 2016): no uneven overlap."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int, size: Size, *, bias: bool) -> None:
        before, after = (kernel_size - 1) // 2, kernel_size // 2
        super().__init__(
            nn.Upsample(size=size, mode="nearest"),
            nn.ZeroPad2d((before, after, before, after)),
            nn.Conv2d(inputs, outputs, kernel_size, bias=bias),
        )


class PixelShuffleConv2d(nn.Conv2d):
    """A convolution to four times the channels, then those as 2 x 2 pixels (Shi et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int, size: Size, *, bias: bool) -> None:
        super().__init__(inputs, outputs * STRIDE**2, kernel_size, bias=bias)
        self.size = size

    def forward(self, input: Tensor) -> Tensor:
        """``(N, inputs, h, w)`` to ``(N, outputs, *size)``."""
        before, height, width = (self.kernel_size[0] - 1) // 2, *self.size
        # As many positions as there are 2 x 2 blocks in the output, begun ones included; then crop.
        bottom, right = (
            -(-large // STRIDE) + kernel - 1 - small - before
            for large, kernel, small in zip(self.size, self.kernel_size, input.shape[2:], strict=True)
        )
        blocks = super().forward(F.pad(input, (before, right, before, bottom)))
        return F.pixel_shuffle(blocks, STRIDE)[:, :, :height, :width]


def _normalised(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU()]


def _conv_transpose(
    model: ModelConfig, inputs: int, outputs: int, kernel_size: Size | int, **rest: Any
) -> nn.ConvTranspose2d:
    if model.upsample is Upsample.builtin:
        return nn.ConvTranspose2d(inputs, outputs, kernel_size, **rest)
    return ConvTranspose2d(inputs, outputs, kernel_size, algorithm=model.algorithm, **rest)


def _upsampling(model: ModelConfig, inputs: int, outputs: int, smaller: Size, larger: Size, *, bias: bool) -> nn.Module:
    """The layer from a map of size ``smaller`` to one of size ``larger``, about twice as large."""
    if model.upsample is Upsample.resize:
        return ResizeConv2d(inputs, outputs, model.kernel_size, larger, bias=bias)
    if model.upsample is Upsample.pixel_shuffle:
        return PixelShuffleConv2d(inputs, outputs, model.kernel_size, larger, bias=bias)
    padding = halving_padding(model.kernel_size)
    output_padding = tuple(
        output_padding_for(large, small, model.kernel_size, STRIDE, padding)
        for large, small in zip(larger, smaller, strict=True)
    )
    return _conv_transpose(
        model,
        inputs,
        outputs,
        model.kernel_size,
        stride=STRIDE,
        padding=padding,
        output_padding=output_padding,
        bias=bias,
    )
