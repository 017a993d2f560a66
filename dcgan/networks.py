"""Generator and discriminator for any image size, mirror images of each other.

The discriminator halves the image with strided convolutions, each of which maps two neighbouring sizes to one. The
generator passes through the same sizes in reverse; ``output_padding`` selects which of the two sizes to produce.

Legend: ``N`` batch, ``C`` image channels, ``H W`` image size, ``Z`` latent size.
"""

from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from dcgan.choices import Activation, Latents, Norm, Upsample
from dcgan.config import ModelConfig
from dcgan.conv_transpose import ConvTranspose2d, conv_transpose2d
from dcgan.conv_transpose.arithmetic import conv_output_size, output_padding_for
from dcgan.randomness import random_generator

Size = tuple[int, int]
Network = TypeVar("Network", bound=nn.Module)

STRIDE = 2
# A side of fewer pixels is not halved again: 64 ends at 4 x 4 as in the paper, 28 at 3 x 3. Stopping at 7 x 7, one
# layer fewer, left generated digits twice as far from real ones after the same number of steps.
SMALLEST_HALVED = 5
# The paper's widest layer has 8 times as many channels as its narrowest (figure 1: 1024 and 128).
WIDEST = 8


def halving_padding(kernel_size: int) -> int:
    """The padding that makes a stride-2 convolution halve the size: 1 for kernels 3 and 4, 2 for 5 and 6."""
    return (kernel_size - 1) // 2


def map_sizes(image_size: Size, kernel_size: int) -> list[Size]:
    """The sizes ``(height, width)`` of the image and of the map after each halving."""
    sizes = [image_size]
    while min(sizes[-1]) >= SMALLEST_HALVED:
        height, width = (
            conv_output_size(side, kernel_size, STRIDE, halving_padding(kernel_size)) for side in sizes[-1]
        )
        sizes.append((height, width))
    return sizes


def map_widths(channels: int, width: int, count: int) -> list[int]:
    """Channel counts of the image and of the map after each halving: ``width``, doubling up to 8 times ``width``."""
    return [channels, *(width * min(2**depth, WIDEST) for depth in range(count - 1))]


class Generator(nn.Module):
    """Maps latents to images (Radford et al. 2015, figure 1).

    Args:
        model: the settings of both networks.
        image_size: ``(H, W)``, each at least 8.
        channels: ``C``.
        num_classes: the number of classes; 0 if unconditional.
    """

    def __init__(self, model: ModelConfig, image_size: Size, channels: int, num_classes: int) -> None:
        super().__init__()
        self.latent_dim, self._latents = model.latent_dim, model.latents
        self.truncation = 1.0  # `draw` multiplies the latents by this
        self.embedding = nn.Embedding(num_classes, model.latent_dim) if num_classes else None
        sizes = map_sizes(image_size, model.kernel_size)[::-1]
        widths = map_widths(channels, model.width, len(sizes))[::-1]
        latents = model.latent_dim * (2 if num_classes else 1)
        # The paper's projection as a transposed convolution: from a 1 x 1 map, with a kernel of the first map's size.
        layers: list[nn.Module] = [
            _conv_transpose(model, latents, widths[0], sizes[0], bias=False),
            *_normalised(widths[0]),
        ]
        for (inputs, outputs), (smaller, larger) in zip(pairwise(widths), pairwise(sizes), strict=True):
            last = larger == image_size
            layers.append(_upsampling(model, inputs, outputs, smaller, larger, bias=last))
            # The paper leaves the output layer unnormalised (section 3).
            if last and model.discriminator_norm is Norm.every:
                layers.append(nn.BatchNorm2d(outputs))
            layers += [nn.Tanh()] if last else _normalised(outputs)
        self.layers = nn.Sequential(*layers)

    def draw(self, count: int, random: torch.Generator) -> Tensor:
        """Draw latents ``(count, Z)`` on the CPU from the training distribution, multiplied by `truncation`."""
        match self._latents:
            case Latents.normal:
                numbers = torch.randn(count, self.latent_dim, generator=random)
            case Latents.uniform:
                numbers = torch.rand(count, self.latent_dim, generator=random) * 2 - 1
        return self.truncation * numbers

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images ``(N, C, H, W)`` in [-1, 1] from latents ``(N, Z)`` and labels ``(N,)``."""
        return self.render(self.codes(latents, labels))

    def codes(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """The input that determines an image, ``(N, Z or 2 Z)``: the latent and, with labels, the label's embedding."""
        return latents if self.embedding is None else torch.cat([latents, self.embedding(labels)], dim=1)

    def render(self, codes: Tensor) -> Tensor:
        """Images from codes. A code need not belong to a label: it may lie between classes, or be a sum of codes."""
        images: Tensor = self.layers(codes[:, :, None, None])
        return images.float()  # autocast may have lowered the precision


class Judgement(NamedTuple):
    """What a discriminator says of images."""

    logits: Tensor  # (N,), larger for real images
    class_logits: Tensor | None  # (N, num_classes), from the auxiliary classifier if there is one


class Discriminator(nn.Module):
    """Maps images to logits, larger for real ones; mirrors `Generator`, whose arguments it takes.

    With labels, the logit includes the inner product of the label's embedding and the image's features (projection
    discriminator, Miyato and Koyama 2018, equation 4). The paper sums the features over the map; this class
    keeps their positions, because a digit depends on where its strokes are.

    With ``classifies``, a second head, the auxiliary classifier, recognises the class (Odena et al. 2017, section 3).
    In that paper, the discriminator is not told the label; here, the projection stays.
    """

    def __init__(
        self, model: ModelConfig, image_size: Size, channels: int, num_classes: int, *, classifies: bool = False
    ) -> None:
        super().__init__()
        sizes = map_sizes(image_size, model.kernel_size)
        widths = map_widths(channels, model.width, len(sizes))
        padding = halving_padding(model.kernel_size)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            first = not layers  # the paper leaves the input layer unnormalised (section 3)
            normalised = model.discriminator_norm in ((Norm.every,) if first else (Norm.every, Norm.batch))
            layers.append(nn.Conv2d(inputs, outputs, model.kernel_size, STRIDE, padding, bias=not normalised))
            layers += [nn.BatchNorm2d(outputs)] if normalised else []
            layers.append(_activation(model.discriminator_activation))
        self.layers = nn.Sequential(*layers)
        self.head = nn.Conv2d(widths[-1], 1, sizes[-1])
        features = widths[-1] * sizes[-1][0] * sizes[-1][1]
        self.embedding = nn.Embedding(num_classes, features) if num_classes else None
        self.class_head = nn.Conv2d(widths[-1], num_classes, sizes[-1]) if classifies else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Judgement:
        """Judge images ``(N, C, H, W)`` in [-1, 1], whose classes are, or should be, the labels ``(N,)``."""
        features = self.layers(images)
        logits: Tensor = self.head(features).flatten()
        if self.embedding is not None:
            logits = logits + (self.embedding(labels) * features.flatten(1)).sum(1)
        class_logits = None if self.class_head is None else self.class_head(features).flatten(1).float()
        return Judgement(logits.float(), class_logits)  # losses need float32; autocast may have lowered the precision


def initialise(network: nn.Module, seed: int, stream: str) -> None:
    """Draw weights from N(0, 0.02) (section 4) and BatchNorm scales from N(1, 0.02); set biases and shifts to zero.

    Embeddings are drawn from N(0, 0.02), too: next to latents of scale 1, the classes must start close together.
    With PyTorch's N(0, 1), the generator learnt one picture per class.
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
    """Move the network to the device, in channels_last layout except on MPS, where that layout was not tried.

    With it, a step took 7 to 9 % less time on a CPU; on a GPU 13 % less for large networks, the same for small ones.
    """
    layout = torch.contiguous_format if device.type == "mps" else torch.channels_last
    return network.to(device, memory_format=layout)  # type: ignore[call-overload,no-any-return]


def spectral_normalise(network: nn.Module, seed: int) -> None:
    """Divide each weight by its largest singular value, re-estimated in each step (Miyato et al. 2018).

    Call this after `initialise`, which sets the undivided weights.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Embedding)]
    # PyTorch draws the initial singular vectors from its global random generator.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in layers:
            parametrizations.spectral_norm(layer)


class ResizeConv2d(ConvTranspose2d):
    """Nearest-neighbour enlargement by 2, then a convolution, which avoids uneven overlap (Odena et al. 2016).

    The enlargement is itself a transposed convolution, with a kernel of 2 x 2 ones. Both steps together are therefore
    one transposed convolution: a kernel of ``K`` taps becomes one of ``K + 1``, each the sum of the taps that meet the
    same pixel. For ``K = 4`` this computes 5 x 5 products per input pixel; a convolution of the larger map takes 8 x 8.

    Args:
        inputs: the number of input channels.
        outputs: the number of output channels.
        kernel_size: ``K``, of the convolution, whose flipped kernel the weight ``(inputs, outputs, K, K)`` holds.
        smaller: the size of the input.
        larger: the size of the output, up to one pixel more or less than twice as large. One more is computed from the
            zeros beyond the border alone where the kernel reaches no further, which is with ``K = 2``.
        bias: whether to add a bias.
        algorithm: as of `ConvTranspose2d`.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel_size: int, smaller: Size, larger: Size, *, bias: bool, algorithm: str
    ) -> None:
        before = kernel_size // 2
        crop = [
            (before, STRIDE * small + kernel_size - 1 - before - large)
            for small, large in zip(smaller, larger, strict=True)
        ]
        super().__init__(inputs, outputs, kernel_size, STRIDE, crop, bias=bias, algorithm=algorithm)

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """Map ``(N, inputs, *smaller)`` to ``(N, outputs, *larger)``; that size is fixed."""
        windows = F.avg_pool2d(F.pad(self.weight, (1, 1, 1, 1)), STRIDE, stride=1)
        kernel = windows * STRIDE**2  # sums, not means
        return conv_transpose2d(input, kernel, self.bias, STRIDE, self.padding, algorithm=self.algorithm)


class PixelShuffleConv2d(nn.Conv2d):
    """A convolution to four times the channels, rearranged into blocks of 2 x 2 pixels (Shi et al. 2016, 1609.05158).

    This is also a transposed convolution, with twice the kernel size and stride 2: each of the four positions of a
    pixel has all taps of a convolution for itself (Shi et al. 2016, 1609.07009).
    """

    def __init__(self, inputs: int, outputs: int, kernel_size: int, size: Size, *, bias: bool) -> None:
        super().__init__(inputs, outputs * STRIDE**2, kernel_size, bias=bias)
        self.size = size

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(N, inputs, h, w)`` to ``(N, outputs, *size)``."""
        before, height, width = (self.kernel_size[0] - 1) // 2, *self.size
        # Pad for one position per 2 x 2 block of the output, partial blocks included; the result is then cropped.
        bottom, right = (
            -(-large // STRIDE) + kernel - 1 - small - before
            for large, kernel, small in zip(self.size, self.kernel_size, input.shape[2:], strict=True)
        )
        blocks = super().forward(F.pad(input, (before, right, before, bottom)))
        return F.pixel_shuffle(blocks, STRIDE)[:, :, :height, :width]


def _activation(kind: Activation) -> nn.Module:
    match kind:
        case Activation.leaky_relu:
            return nn.LeakyReLU(0.2)  # section 4
        case Activation.relu:
            return nn.ReLU()


def _normalised(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU()]


def _conv_transpose(
    model: ModelConfig, inputs: int, outputs: int, kernel_size: Size | int, **rest: Any
) -> nn.ConvTranspose2d:
    if model.upsample is Upsample.builtin:
        return nn.ConvTranspose2d(inputs, outputs, kernel_size, **rest)
    return ConvTranspose2d(inputs, outputs, kernel_size, algorithm=model.algorithm, **rest)


def _upsampling(model: ModelConfig, inputs: int, outputs: int, smaller: Size, larger: Size, *, bias: bool) -> nn.Module:
    """The layer that enlarges a map from size ``smaller`` to size ``larger``, about twice as large."""
    kernel_size = model.kernel_size
    match model.upsample:
        case Upsample.scratch | Upsample.builtin:
            padding = halving_padding(kernel_size)
            output_padding = tuple(
                output_padding_for(large, small, kernel_size, STRIDE, padding)
                for large, small in zip(larger, smaller, strict=True)
            )
            sizes = {"stride": STRIDE, "padding": padding, "output_padding": output_padding}
            return _conv_transpose(model, inputs, outputs, kernel_size, bias=bias, **sizes)
        case Upsample.resize:
            return ResizeConv2d(inputs, outputs, kernel_size, smaller, larger, bias=bias, algorithm=model.algorithm)
        case Upsample.pixel_shuffle:
            return PixelShuffleConv2d(inputs, outputs, kernel_size, larger, bias=bias)
