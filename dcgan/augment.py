"""Differentiable random changes of images, for the discriminator's eyes only (DiffAugment, Zhao et al. 2020).

Shown changed images, real and generated alike, a discriminator cannot learn few real images by heart, and the
generator, which gets its gradient through the change, does not learn to make changed ones.

Legend: ``N`` images, ``C`` channels, ``H W`` size.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dcgan.choices import Change
from dcgan.images import moved

SHIFT = 1 / 8  # of a side at most; all constants are the paper's
CUTOUT = 1 / 2  # of each side


def augmented(images: Tensor, changes: Sequence[Change], random: torch.Generator) -> Tensor:
    """Images changed at random, each in its own way.

    Args:
        images: float32 ``(N, C, H, W)``.
        changes: which; done in the order color, translation, cutout.
        random: a generator on the CPU.
    """
    for change, apply in (
        (Change.color, _color),
        (Change.translation, _translation),
        (Change.cutout, _cutout),
    ):
        if change in changes:
            images = apply(images, random)
    return images


def _color(images: Tensor, random: torch.Generator) -> Tensor:
    """Brightness by up to 0.5, saturation times 0 to 2, contrast times 0.5 to 1.5."""
    brightness, saturation, contrast = torch.rand(3, len(images), 1, 1, 1, generator=random).to(images.device)
    images = images + brightness - 0.5
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * 2 * saturation
    mean = images.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, contrast + 0.5)


def _translation(images: Tensor, random: torch.Generator) -> Tensor:
    """Moved by up to an eighth of each side, rounded; the border is repeated, where the paper fills with grey."""
    down, right = (
        torch.randint(-most, most + 1, (len(images),), generator=random)
        for most in (int(side * SHIFT + 0.5) for side in images.shape[2:])
    )
    return moved(images, down, right)


def _cutout(images: Tensor, random: torch.Generator) -> Tensor:
    """A rectangle of half the height and width, a pixel more where that is even, made grey; it may stick out."""
    kept = []
    for side in images.shape[2:]:
        center = torch.randint(0, side, (len(images), 1), generator=random)
        kept.append((torch.arange(side) - center).abs() > side * CUTOUT / 2)
    mask = kept[0][:, :, None] | kept[1][:, None, :]  # (N, H, W)
    return images.where(mask[:, None].to(images.device), 0)
