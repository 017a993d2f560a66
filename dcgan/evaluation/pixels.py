"""Measures on pixels, which need neither labels nor features.

Legend: ``N`` images, ``C`` channels, ``H W`` size, ``P`` patches per image, ``D`` values per patch, ``R`` directions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgan.images import to_float
from dcgan.randomness import random_generator

PATCH = 7  # pixels; Karras et al. 2018, section 5
PATCHES = 16  # per image and level
DIRECTIONS = 128
BLOCK = 500  # images converted to float at once
GREY_LEVEL = 1 / 127.5  # one of 256; a smaller deviation cannot be told from a constant


def checkerboard(images: Tensor) -> float:
    """Return the share of the images' power at the highest frequency of either axis: one change of sign per pixel.

    The overlap of a stride-2 transposed convolution repeats at this frequency (Odena et al. 2016). Before the power
    is computed, each channel's mean is subtracted and a Hann window fades out the image edges.

    Args:
        images: uint8 ``(N, C, H, W)``.
    """
    power = _power(images)
    down, right = (side // 2 for side in power.shape)
    highest = power[down, :].sum() + power[:, right].sum() - power[down, right]
    return float(highest / power.sum().clamp(min=1e-12))


def spectrum(images: Tensor) -> Tensor:
    """Return the share of power at each horizontal frequency, ``(W // 2 + 1,)``, from 0 to 1/2 cycles per pixel.

    The last stride-2 transposed convolution leaves its pattern at the last frequency, the one before it at the middle
    frequency. The power is computed as in `checkerboard`.

    Args:
        images: uint8 ``(N, C, H, W)``.
    """
    columns = _power(images).sum(0)
    half = columns[: len(columns) // 2 + 1].clone()
    half[1:-1] *= 2  # the negative frequencies
    return half / half.sum().clamp(min=1e-12)


def _power(images: Tensor) -> Tensor:
    """Return the power at each frequency, ordered as by `torch.fft.fft2`; odd sizes lose their last row or column."""
    height, width = (side - side % 2 for side in images.shape[2:])  # only even sizes have the highest frequency
    window = torch.hann_window(height)[:, None] * torch.hann_window(width)[None, :]
    power = torch.zeros(height, width)
    for block in images[:, :, :height, :width].split(BLOCK):
        pixels = to_float(block)
        pixels -= pixels.mean((2, 3), keepdim=True)
        power += torch.fft.fft2(pixels * window).abs().square().sum((0, 1))
    return power


class SlicedWasserstein:
    """Sliced Wasserstein distance on patches of a Laplacian pyramid (Karras et al. 2018, section 5).

    Each level of the pyramid holds the structures of one size. On each level, every patch of 7 x 7 pixels is a point,
    and the distributions of generated and real points are compared along random directions. Unlike in the paper, the
    mean and deviation of the real set standardise both sets, so that a loss of contrast shows. A deviation of less
    than one grey level counts as one.

    Args:
        real: uint8 ``(N, C, H, W)``; later images must be equal in number.
    """

    def __init__(self, real: Tensor) -> None:
        self._levels: list[tuple[Tensor, Tensor, Tensor]] = []  # mean, deviation, sorted projections (R, N * P)
        for patches in _patches(real):
            mean, deviation = patches.mean((0, 2, 3)), patches.std((0, 2, 3)).clamp(min=GREY_LEVEL)
            self._levels.append((mean, deviation, _projected(patches, mean, deviation)))

    def __call__(self, images: Tensor) -> float:
        """Return the mean distance over the levels, in thousandths of a standard deviation."""
        distances = [
            (_projected(patches, mean, deviation) - real).abs().mean()
            for patches, (mean, deviation, real) in zip(_patches(images), self._levels, strict=True)
        ]
        return 1000 * float(torch.stack(distances).mean())


def _patches(images: Tensor) -> list[Tensor]:
    """Return, for each level, `PATCHES` patches per image from random places, float32 ``(N * P, C, 7, 7)``."""
    random = random_generator(0, "patches")
    blocks = [[_some_patches(level, random) for level in _pyramid(to_float(block))] for block in images.split(BLOCK)]
    return [torch.cat(parts) for parts in zip(*blocks, strict=True)]


def _some_patches(level: Tensor, random: torch.Generator) -> Tensor:
    windows = level.unfold(2, PATCH, 1).unfold(3, PATCH, 1)  # (N, C, h - 6, w - 6, 7, 7), a view
    rows, columns = (torch.randint(windows.shape[axis], (len(level), PATCHES), generator=random) for axis in (2, 3))
    return windows[torch.arange(len(level))[:, None], :, rows, columns].flatten(0, 1)


def _pyramid(now: Tensor) -> list[Tensor]:
    """Return the detail that each halving loses, from fine to coarse, then the smallest images; ``(N, C, h, w)``."""
    levels = []
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    blur = torch.outer(taps, taps).expand(now.shape[1], 1, 5, 5)
    while min(now.shape[2:]) >= 2 * PATCH:
        smooth = F.conv2d(F.pad(now, (2, 2, 2, 2), mode="reflect"), blur, groups=now.shape[1])
        smaller = smooth[:, :, ::2, ::2]
        spread = torch.zeros_like(now)
        spread[:, :, ::2, ::2] = 4 * smaller
        levels.append(now - F.conv2d(F.pad(spread, (2, 2, 2, 2), mode="reflect"), blur, groups=now.shape[1]))
        now = smaller
    return [*levels, now]


def _projected(patches: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Return the sorted projections of all patches onto each direction, ``(R, N * P)``."""
    points = ((patches - mean[:, None, None]) / deviation[:, None, None]).flatten(1)  # (N * P, D)
    directions = torch.randn(DIRECTIONS, points.shape[1], generator=random_generator(0, "directions"))
    return (F.normalize(directions) @ points.T).sort().values
