"""Differentiable random changes to the images that the discriminator sees (DiffAugment, Zhao et al. 2020).

Real and generated images alike are changed, so the discriminator cannot memorise a small set of real images. The
generator's gradient passes through the change, so the generator does not learn to make changed images.

Legend: ``N`` images, ``C`` channels, ``H W`` size.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dcgan.choices import Change
from dcgan.images import moved

NUMBERS = 7  # random ones that an image needs if all changes are made
SHIFT = 1 / 8  # largest shift, as a share of a side; all constants are the paper's
CUTOUT = 1 / 2  # share of each side


def augmented(images: Tensor, changes: Sequence[Change], random: Tensor) -> Tensor:
    """Change each image by its own random numbers.

    Args:
        images: float32 ``(N, C, H, W)``.
        changes: the changes to make, in the order color, translation, cutout.
        random: ``(7, N)``, uniform in [0, 1), on the device of the images.
    """
    for change, apply, numbers in (
        (Change.color, _color, random[:3]),
        (Change.translation, _translation, random[3:5]),
        (Change.cutout, _cutout, random[5:]),
    ):
        if change in changes:
            images = apply(images, numbers)
    return images


def _color(images: Tensor, random: Tensor) -> Tensor:
    """Shift the brightness by up to 0.5, and multiply the saturation by 0 to 2 and the contrast by 0.5 to 1.5."""
    brightness, saturation, contrast = random[..., None, None, None]
    images = images + brightness - 0.5
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * 2 * saturation
    mean = images.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, contrast + 0.5)


def _translation(images: Tensor, random: Tensor) -> Tensor:
    """Move by up to an eighth of each side, rounded. The border is repeated; the paper fills with grey instead."""
    most = (int(side * SHIFT + 0.5) for side in images.shape[2:])
    down, right = (_below(2 * m + 1, numbers) - m for m, numbers in zip(most, random, strict=True))
    return moved(images, down, right)


def _cutout(images: Tensor, random: Tensor) -> Tensor:
    """Make a rectangle grey, of half the height and width, one pixel more where the half is even; it may stick out."""
    kept = []
    for side, numbers in zip(images.shape[2:], random, strict=True):
        center = _below(side, numbers)[:, None]
        kept.append((torch.arange(side, device=random.device) - center).abs() > side * CUTOUT / 2)
    mask = kept[0][:, :, None] | kept[1][:, None, :]  # (N, H, W)
    return images.where(mask[:, None], 0)


def _below(end: int, random: Tensor) -> Tensor:
    """Integers from 0 up to but not including ``end``, from numbers uniform in [0, 1)."""
    return (random * end).long()
