"""How `winograd` cuts an axis, and what that costs: no tensors, only numbers.

With the output cut into places of ``stride`` pixels and the kernel into blocks of that size, as in `gemm`, a
transposed convolution along an axis multiplies two polynomials: the pixels are the coefficients of one, the
blocks those of the other, and the places are those of the result. Two pixels by two blocks take four products,
or three (Karatsuba 1962)::

    (x0 + x1 z) (b0 + b1 z)  =  x0 b0  +  ((x0 + x1) (b0 + b1) - x0 b0 - x1 b1) z  +  x1 b1 z^2

That is Toom's and Cook's method: evaluate both at some points, multiply there, interpolate.
"""

from collections.abc import Sequence
from typing import NamedTuple

from dcgan.conv_transpose.arithmetic import Geometry, Pair, kernel_span

Matrix = Sequence[Sequence[float]]


class Scheme(NamedTuple):
    """How the pixels of a tile and the blocks of a kernel are multiplied along one axis."""

    pixels: Matrix  # A: (points, pixels of a tile)
    blocks: Matrix  # B: (points, blocks of the kernel)
    places: Matrix  # C: (places that the tile reaches, points)


KARATSUBA = Scheme(
    pixels=((1, 0), (1, 1), (0, 1)),
    blocks=((1, 0), (1, 1), (0, 1)),
    places=((1, 0, 0), (-1, 1, -1), (0, 0, 1)),
)
# At 0, 1, -1 and infinity: four products in place of six.
TOOM_COOK = Scheme(
    pixels=((1, 0), (1, 1), (1, -1), (0, 1)),
    blocks=((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
    places=((1, 0, 0, 0), (0, 1, -1, -1), (-1, 1, 1, 0), (0, 0, 0, 1)),
)


def scheme(size: int, count: int) -> Scheme:
    """The scheme for an axis with ``size`` pixels and a kernel of ``count`` blocks.

    Where there is nothing to save, or no scheme, a tile is one pixel, times each block.
    """
    if size > 1 and count == 2:
        return KARATSUBA
    if size > 1 and count == 3:
        return TOOM_COOK
    identity = [[int(row == column) for column in range(count)] for row in range(count)]
    return Scheme([[1]] * count, identity, identity)


class Tiling(NamedTuple):
    """A scheme for each axis, and how often it is applied."""

    vertical: Scheme
    horizontal: Scheme
    tiles: Pair
    geometry: Geometry
    channels: int
    outputs: int

    @property
    def tile(self) -> Pair:
        """Pixels of a tile, along each axis."""
        return len(self.vertical.pixels[0]), len(self.horizontal.pixels[0])

    @property
    def blocks(self) -> Pair:
        """Blocks of the kernel, along each axis."""
        return len(self.vertical.blocks[0]), len(self.horizontal.blocks[0])

    @property
    def image_size(self) -> Pair:
        """Pixels of all places, more than the full output has."""
        axes = zip(self.tiles, self.tile, self.blocks, self.geometry.stride, strict=True)
        height, width = ((tiles * pixels + count - 1) * step for tiles, pixels, count, step in axes)
        return height, width


def tiling(geometry: Geometry, channels: int, outputs: int) -> Tiling:
    """The tiling of a transposed convolution without groups."""
    spans = map(kernel_span, geometry.kernel_size, geometry.dilation)
    counts = (-(-span // step) for span, step in zip(spans, geometry.stride, strict=True))
    vertical, horizontal = map(scheme, geometry.input_size, counts)
    h, w = geometry.input_size
    tiles = (-(-h // len(vertical.pixels[0])), -(-w // len(horizontal.pixels[0])))
    return Tiling(vertical, horizontal, tiles, geometry, channels, outputs)
