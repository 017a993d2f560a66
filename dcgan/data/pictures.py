"""One picture of any kind -> uint8 of the requested size.

Legend: ``C`` channels, ``H W`` size.
"""

import io
import warnings

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from dcgan.choices import Fit

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")  # what Pillow may open; each additional decoder is a risk
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
UNREADABLE = "cannot be read"  # begins the reason if the file, not its content, is at fault
UNREAD = (".gif", ".tif", ".tiff", ".heic", ".heif", ".avif")  # left out with a warning, as somebody may miss them
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


class BadPictureError(Exception):
    """A file that cannot be trained on; the message continues a sentence that begins with the file's name."""


def decode(content: bytes) -> Image.Image:
    """Open the picture in a file's content; its pixels are decoded when they are first needed.

    Raises:
        BadPictureError: if the content is not a picture in one of `FORMATS`, or claims implausibly many pixels.
    """
    if not content:
        raise BadPictureError("is empty")
    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise BadPictureError(f"is {kind_of(content)}, not a picture in {', '.join(FORMATS)}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        most = (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise BadPictureError(f"has more than {most} million pixels, like a decompression bomb") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds of errors on damaged files
        raise BadPictureError(f"is damaged ({error})") from error


def kind_of(content: bytes) -> str:
    """Describe what the bytes look like when they are not the expected file."""
    head = content[:512]
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "a web page (about a quota or an error?)"
    if head.startswith((b"\x89PNG", b"\xff\xd8", b"BM", b"RIFF")):
        return "damaged"
    return "text" if b"\0" not in head else "another kind of file"


def fitted(image: Image.Image, size: tuple[int, int], channels: int, fit: Fit, upscale: bool) -> npt.NDArray[np.uint8]:
    """Return the picture as ``(C, H, W)``: rotated as its EXIF says, composited on white, fitted and resized.

    Args:
        image: any mode and size.
        size: ``(H, W)``.
        channels: 1 for grey, 3 for RGB.
        fit: how to treat a different aspect ratio.
        upscale: whether the picture may be smaller than ``size``.

    Raises:
        BadPictureError: if the pixels cannot be read, or the picture is too small.
    """
    height, width = size
    try:
        before = image.size
        # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size, as long as twice the requested size is left.
        shrink = min(before) / (2 * max(size))
        image.draft(None, (int(before[0] / shrink), int(before[1] / shrink)))
        drafted = image.size
        ImageOps.exif_transpose(image, in_place=True)
        if image.size != drafted:
            before = before[::-1]
        small = [before[0] < width, before[1] < height]
        if not upscale and (all(small) if fit is Fit.pad else any(small)):
            raise BadPictureError(
                f"is too small with {before[1]} x {before[0]} pixels for {height} x {width} (height x width)"
            )
        image = _converted(image, "L" if channels == 1 else "RGB")
    except (BadPictureError, MemoryError):
        raise
    except Exception as error:  # as in `decode`
        raise BadPictureError(f"is damaged ({error})") from error
    target, method = (width, height), Image.Resampling.BICUBIC
    if image.size != target and fit is Fit.crop:
        image = ImageOps.fit(image, target, method)
    elif image.size != target and fit is Fit.pad:
        image = ImageOps.pad(image, target, method, color="white")  # as behind transparent pictures
    elif image.size != target:
        image = image.resize(target, method)
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits per pixel, which Pillow's own conversion would clip at 255
        pixels, transparent = np.asarray(image), image.info.get("transparency")
        image = Image.fromarray((pixels.astype(np.float32) / 257).round().astype(np.uint8))
        if transparent is not None:
            image.putalpha(Image.fromarray(np.where(pixels == transparent, 0, 255).astype(np.uint8)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)
