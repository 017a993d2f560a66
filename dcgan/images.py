"""Pictures at rest are uint8, in the networks float32 in [-1, 1]; and the way to a file."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor


def to_float(images: Tensor) -> Tensor:
    """uint8 to float32 in [-1, 1]: 0 becomes -1, 255 becomes 1."""
    return images.to(torch.float32).div_(127.5).sub_(1)  # in place: the real images come this way every step


def to_uint8(images: Tensor) -> Tensor:
    """float32 in [-1, 1] to uint8, rounded; what lies outside is clamped. Inverse of `to_float`."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def grid(images: Tensor, columns: int) -> Tensor:
    """uint8 ``(N, C, H, W)``, C 1 or 3, as one picture ``(3, height, width)``, row by row.

    The grey values are those of the images: nothing is stretched, so that grids can be compared.
    """
    from torchvision.utils import make_grid  # noqa: PLC0415 - takes a second

    tiled: Tensor = make_grid(images, nrow=columns, padding=2, pad_value=128)
    return tiled


def save_png(image: Tensor, path: Path) -> None:
    """Write uint8 ``(C, H, W)``, C 1 or 3, and the directories on the way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = image.permute(1, 2, 0).numpy()
    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(path)
