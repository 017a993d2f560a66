"""Operations on images, and writing them to files: stored images are uint8, the networks' float32 in [-1, 1]."""

import io
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from dcgan.atomic import replacing
from dcgan.errors import UserError, is_out_of_memory

GAP, FONT_SIZE = 6, 18  # pixels; between the parts, and of the words, that `joined` puts together


def to_float(images: Tensor) -> Tensor:
    """Convert uint8 to float32 in [-1, 1]: 0 becomes -1, 255 becomes 1."""
    return images.to(torch.float32).div_(127.5).sub_(1)  # in place, because every step converts its real images


def to_uint8(images: Tensor) -> Tensor:
    """Convert float32 in [-1, 1] to uint8, the inverse of `to_float`; round values, and clamp those outside."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def moved(images: Tensor, down: Tensor, right: Tensor, flip: Tensor | None = None) -> Tensor:
    """Move each image by its own number of pixels; the border is repeated to fill the gap.

    Args:
        images: ``(N, C, H, W)`` of any type.
        down: ``(N,)`` int64, negative for up.
        right: ``(N,)`` int64, negative for left.
        flip: ``(N,)`` bool, the images to mirror left to right.
    """
    count, channels, height, width = images.shape
    device = images.device
    rows = (torch.arange(height, device=down.device) - down[:, None]).clamp(0, height - 1).to(device)  # (N, H)
    columns = (torch.arange(width, device=right.device) - right[:, None]).clamp(0, width - 1)  # (N, W)
    if flip is not None:
        columns = torch.where(flip[:, None], width - 1 - columns, columns)
    number = torch.arange(count, device=device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=device).view(1, -1, 1, 1)
    return images[number, channel, rows[:, None, :, None], columns.to(device)[:, None, None, :]]


def turned(images: Tensor, angle: Tensor, zoom: Tensor) -> Tensor:
    """Rotate each image about its centre and scale it, bilinearly; the border is repeated to fill the gap.

    Args:
        images: float32 ``(N, C, H, W)``.
        angle: ``(N,)``, clockwise, in radians.
        zoom: ``(N,)``, above 1 to enlarge.
    """
    (height, width), zero = images.shape[2:], torch.zeros_like(angle)
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    # From output to input positions. Each side runs from -1 to 1, so units differ unless the image is square.
    rows = [(cos, sin * height / width, zero), (-sin * width / height, cos, zero)]
    origin = torch.stack([torch.stack(row, 1) for row in rows], 1).to(images.device)  # (N, 2, 3)
    places = F.affine_grid(origin, list(images.shape), align_corners=False)
    return F.grid_sample(images, places, padding_mode="border", align_corners=False)


def diversity(images: Tensor, labels: Tensor | None) -> Tensor:
    """The mean root-mean-square difference between two images: how diverse they are.

    With labels, only pairs of one class are compared, if there are any; otherwise a generator with a single
    picture per class would look diverse.

    Args:
        images: float32 ``(N, C, H, W)`` in [-1, 1].
        labels: ``(N,)``.

    Returns:
        A scalar from 0 (all the same) to 2.
    """
    flat = images.flatten(1)
    distances = torch.cdist(flat, flat) / flat.shape[1] ** 0.5  # (N, N)
    compared = torch.ones_like(distances).fill_diagonal_(0)
    if labels is not None:
        alike = compared * (labels[:, None] == labels)
        compared = torch.where(alike.any(), alike, compared)
    # Weighting pairs, not selecting them: no size depends on the data, so the CPU need not wait for a GPU.
    mean: Tensor = (distances * compared).sum() / compared.sum().clamp(min=1)
    return mean


def grid(images: Tensor, columns: int) -> Tensor:
    """Tile uint8 ``(N, C, H, W)``, C 1 or 3, row by row into one picture ``(3, height, width)``.

    The pixel values stay as they are, without contrast stretching, so that grids can be compared.
    """
    from torchvision.utils import make_grid  # noqa: PLC0415 - takes a second

    tiled: Tensor = make_grid(images, nrow=columns, padding=2, pad_value=128)
    return tiled


def save_gif(frames: Sequence[Image.Image], path: Path, milliseconds: int, last: int | None = None) -> None:
    """Write frames of one size as an endless animation; the last frame stays for ``last`` milliseconds."""
    coloured = [frame.convert("P", palette=Image.Palette.ADAPTIVE) for frame in frames]
    durations = [milliseconds] * (len(frames) - 1) + [last or milliseconds]
    with replacing(path) as partial:
        coloured[0].save(partial, save_all=True, append_images=coloured[1:], duration=durations, loop=0)


def joined(parts: Sequence[Image.Image | str], *, down: bool = False) -> Image.Image:
    """Put pictures and words on white: centred from left to right, or ``down`` along a common left edge."""
    pictures = [_written(part) if isinstance(part, str) else part for part in parts]
    widths, heights = [picture.width for picture in pictures], [picture.height for picture in pictures]
    along, across = (heights, widths) if down else (widths, heights)
    size = (max(across), sum(along) + GAP * (len(along) - 1))
    whole, begin = Image.new("RGB", size if down else size[::-1], "white"), 0
    for picture, length, breadth in zip(pictures, along, across, strict=True):
        whole.paste(picture, (0, begin) if down else (begin, (max(across) - breadth) // 2))
        begin += length + GAP
    return whole


def _written(words: str) -> Image.Image:
    left, _, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).textbbox((0, 0), words, font_size=FONT_SIZE)
    # The same height for all words, so that the frames of a film have one size.
    picture = Image.new("RGB", (int(right - left) + 2, int(max(bottom, FONT_SIZE)) + 2), "white")
    ImageDraw.Draw(picture).text((-left + 1, 0), words, fill="black", font_size=FONT_SIZE)
    return picture


def to_picture(image: Tensor, scale: int = 1) -> Image.Image:
    """Convert uint8 ``(C, H, W)``, C 1 or 3, to a picture with each pixel a square of side ``scale``."""
    pixels = image.permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def read_picture(path: Path) -> Image.Image:
    """Read a picture that this program wrote.

    Raises:
        UserError: if it is damaged.
        OSError: if it cannot be read.
    """
    content = io.BytesIO(path.read_bytes())
    try:
        with Image.open(content) as picture:
            picture.load()
    except Exception as error:  # Pillow raises many kinds
        if is_out_of_memory(error):
            raise
        raise UserError(f"{path} is damaged ({error}); delete it") from error
    return picture


def save_png(image: Tensor, path: Path) -> None:
    """Write uint8 ``(C, H, W)``, C 1 or 3, to ``path``, and create missing directories."""
    save_picture(to_picture(image), path)


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture whole or not at all, and create missing directories.

    Raises:
        UserError: if the format does not support the picture, such as one that is too large.
    """
    try:
        with replacing(path) as partial:
            picture.save(partial)
    except ValueError as error:
        raise UserError(f"{path} cannot be written ({error}); choose another format, such as .png") from error
