"""Any picture file becomes uint8 of the requested shape and still shows the same."""

import io

import numpy as np
import pytest
from PIL import Image

from dcgan.choices import Fit
from dcgan.data.pictures import BadPictureError, decode, fitted

SIZE = (12, 16)  # height, width


def file_of(image, kind="PNG", **how):
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def prepared(content, channels=3, size=SIZE, fit=Fit.crop, upscale=False):
    return fitted(decode(content), size, channels, fit, upscale)


def left_dark(mode="L"):
    """Return a picture of 16 x 12 pixels: the left half 40, the right half 200."""
    pixels = np.full(SIZE, 200, np.uint8)
    pixels[:, :8] = 40
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "CMYK", "1"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_becomes_grey_or_rgb(mode, channels):
    content = file_of(left_dark(mode), "JPEG" if mode == "CMYK" else "PNG")
    pixels = prepared(content, channels)
    assert pixels.shape == (channels, *SIZE)
    assert pixels.dtype == np.uint8
    dark, light = pixels[:, :, 2].mean(), pixels[:, :, -2].mean()
    assert (dark, light) == pytest.approx((0, 255) if mode == "1" else (40, 200), abs=80 if mode == "1" else 6)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_every_format_is_read(kind):
    pixels = prepared(file_of(left_dark("RGB"), kind))
    assert pixels[:, :, 2].mean() == pytest.approx(40, abs=4)


def test_sixteen_bits_a_pixel_are_scaled_not_cut_off():
    values = np.tile(np.linspace(0, 65535, 16, dtype=np.uint16), (12, 1))
    pixels = prepared(file_of(Image.fromarray(values)), channels=1)
    assert pixels[0, 0].tolist() == [round(v / 257) for v in values[0].tolist()]


def test_what_is_transparent_becomes_white():
    clear = Image.new("RGBA", (16, 12), (10, 20, 30, 0))
    assert (prepared(file_of(clear)) == 255).all()
    deep = Image.fromarray(np.full((12, 16), 258, np.uint16))  # 16 bits per pixel
    assert (prepared(file_of(deep, transparency=258)) == 255).all()
    assert (prepared(file_of(deep, transparency=259)) == 1).all()
    half = Image.new("RGBA", (16, 12), (0, 0, 0, 128))
    assert (prepared(file_of(half)) == 127).all()
    palette = Image.new("P", (16, 12), 3)
    palette.putpalette([0, 0, 0, 90, 0, 0, 0, 90, 0, 0, 0, 90])
    assert (prepared(file_of(palette))[2] == 90).all()
    assert (prepared(file_of(palette, transparency=3)) == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_as_its_exif_says(orientation):
    upright = left_dark("RGB")
    stored = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }[orientation]
    turned = upright
    for method in stored:
        turned = turned.transpose(method)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = prepared(file_of(turned, exif=exif))
    assert np.array_equal(pixels, np.asarray(upright).transpose(2, 0, 1))


def test_fit_crops_pads_or_stretches():
    wide = np.full((10, 30), 100, np.uint8)
    wide[:, :10] = 0
    wide[:, 20:] = 200
    content = file_of(Image.fromarray(wide))
    assert (prepared(content, 1, (10, 10), Fit.crop)[0] == 100).all()
    padded = prepared(content, 1, (30, 30), Fit.pad)[0]
    assert (padded[:10] == 255).all()
    assert (padded[20:] == 255).all()
    assert padded[15, [2, 15, 27]].tolist() == [0, 100, 200]
    stretched = prepared(content, 1, (9, 9), Fit.stretch)[0]
    assert stretched[4, [0, 4, 8]].tolist() == [0, 100, 200]


@pytest.mark.parametrize(
    ("fit", "size", "small"),
    [
        (Fit.crop, (12, 16), False),
        (Fit.crop, (13, 16), True),
        (Fit.crop, (12, 17), True),
        (Fit.stretch, (13, 10), True),
        (Fit.pad, (13, 16), False),
        (Fit.pad, (13, 17), True),
    ],
)
def test_what_would_have_to_be_enlarged_is_too_small(fit, size, small):
    content = file_of(left_dark())
    assert prepared(content, 1, size, fit, upscale=True).shape == (1, *size)
    if small:
        with pytest.raises(BadPictureError, match="too small with 12 x 16 pixels"):
            prepared(content, 1, size, fit)
    else:
        prepared(content, 1, size, fit)


def test_a_large_jpeg_is_not_taken_for_small_and_looks_the_same():
    """A JPEG may be decoded at an eighth of its size, but its full size decides whether it is too small."""
    blocks = Image.fromarray(np.random.default_rng(0).integers(0, 256, (150, 200), dtype=np.uint8))
    large = blocks.resize((1600, 1200), Image.Resampling.NEAREST)
    pixels = prepared(file_of(large, "JPEG", quality=95), 1, (96, 128))
    exact = prepared(file_of(large), 1, (96, 128))
    assert np.abs(pixels.astype(int) - exact).max() <= 6


def broken_png():
    content = bytearray(file_of(Image.fromarray(np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8))))
    content[60] ^= 0xFF
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"only some words", "is text, not a picture"),
        (b"\n<!DOCTYPE html><html>Quota exceeded", "is a web page"),
        (file_of(left_dark("RGB"), "TIFF"), "is another kind of file"),
        (file_of(left_dark("RGB"), "JPEG")[:-300], "is damaged"),
        (file_of(left_dark("RGB"), "WEBP")[:-30], "is damaged"),
        (file_of(left_dark("RGB"))[:40], "is damaged"),
        (broken_png(), "is damaged"),
    ],
)
def test_what_is_no_picture_says_what_it_is(content, reason):
    with pytest.raises(BadPictureError, match=reason):
        prepared(content)


@pytest.mark.parametrize("pixels", [100 * 10**6, 400 * 10**6])
def test_a_decompression_bomb_is_not_unpacked(pixels):
    """The file is a BMP header that claims a size, with hardly any pixels behind it."""
    side = int(pixels**0.5)
    content = bytearray(file_of(Image.new("L", (4, 4)), "BMP"))
    content[18:22] = content[22:26] = side.to_bytes(4, "little")
    with pytest.raises(BadPictureError, match="decompression bomb"):
        prepared(bytes(content))
