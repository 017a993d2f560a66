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

SHIFT = 1 / 8  # largest shift, as a share of a side; all constants are the paper's
CUTOUT = 1 / 2  # share of each side


def augmented(images: Tensor, changes: Sequence[Change], random: torch.Generator) -> Tensor:
    """Change each image at random, independently of the others.

    Args:
        images: float32 ``(N, C, H, W)``.
        changes: the changes to apply, in the order color, translation, cutout.
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
    """Shift the brightness by up to 0.5, and multiply the saturation by 0 to 2 and the contrast by 0.5 to 1.5."""
    brightness, saturation, contrast = torch.rand(3, len(images), 1, 1, 1, generator=random).to(images.device)
    images = images + brightness - 0.5
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * 2 * saturation
    mean = images.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, contrast + 0.5)


def _translation(images: Tensor, random: torch.Generator) -> Tensor:
    """Move by up to an eighth of each side, rounded. The border is repeated; the paper fills with grey instead."""
    down, right = (
        torch.randint(-most, most + 1, (len(images),), generator=random)
        for most in (int(side * SHIFT + 0.5) for side in images.shape[2:])
    )
    return moved(images, down, right)


def _cutout(images: Tensor, random: torch.Generator) -> Tensor:
    """Make a rectangle grey, of half the height and width, one pixel more where the half is even; it may stick out."""
    kept = []
    for side in images.shape[2:]:
        center = torch.randint(0, side, (len(images), 1), generator=random)
        kept.append((torch.arange(side) - center).abs() > side * CUTOUT / 2)
    mask = kept[0][:, :, None] | kept[1][:, None, :]  # (N, H, W)
    return images.where(mask[:, None].to(images.device), 0)
