"""The transposed convolution and its gradients with fewer products: three in place of four, along each axis.

Two neighbouring pixels and two blocks of the kernel are multiplied as polynomials, see `tiles`; in two
dimensions that makes 9 in place of 16, where each "product" is a matrix product over all channels. Winograd's
minimal filtering (Lavin & Gray 2015, arXiv 1509.09308) is the same seen from the output.

With A and B the evaluations of pixels and blocks and C the interpolation, the form in `gradients` is one sum over
tiles and points, in which each role meets one of the three matrices::

    <T(x, w), y>  =  sum  (A x) (B w) (C' y)

So the gradients cost no more products than the output does, and need no further mathematics: C' in place of A,
A' in place of C. What it costs are sums, which is why it is for layers of many channels, and some accuracy: about
twice the rounding error of the other algorithms in the output and in the input's gradient.

One point of the vertical axis at a time, and few images, so that what is transformed stays in the cache.

Legend: as in `algorithms`; ``Q`` points of the horizontal axis, ``S U`` tiles along the axes, ``m`` images at once,
``p`` a point of the vertical axis.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgan.conv_transpose.algorithms import NUMBERS_AT_ONCE
from dcgan.conv_transpose.arithmetic import Geometry, kernel_span
from dcgan.conv_transpose.cutting import ALL, cropped, dilated, kernel_blocks, like_products, part
from dcgan.conv_transpose.tiles import Matrix, Tiling, tiling


def winograd(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The transposed convolution ``(N, O, Y, X)`` of ``(N, C, H, W)`` by ``(C, O, K, L)``, without groups."""
    t, like = tiling(geometry, *weight.shape[:2]), like_products(x, weight)
    x, blocks = x.permute(0, 2, 3, 1).contiguous(), _blocks(weight, t)
    (sh, sw), (height, width) = geometry.stride, t.image_size
    image = like.new_zeros(x.shape[0], height // sh, sh, width // sw, sw, t.outputs)
    parts = _parts(t, x, image)
    points, products, factors = _rooms(like, t, parts)
    for p in range(len(t.vertical.pixels)):
        factors = _weight_points(blocks, t, p, factors)
        for some, into in parts:
            rows = _input_points(some, t, p, points)
            _add_places(_product(rows, factors, products), t, p, into)
    return cropped(image.view(-1, height, width, t.outputs).permute(0, 3, 1, 2), geometry)


def gradient_of_input(weight: Tensor, y: Tensor, geometry: Geometry) -> Tensor:
    """``(N, C, H, W)`` from the weight ``(C, O, K, L)`` and the gradient by the output ``(N, O, Y, X)``."""
    t, like = tiling(geometry, *weight.shape[:2]), like_products(y, weight)
    image, blocks = _padded(y.permute(0, 2, 3, 1), t), _blocks(weight, t)
    (s, u), (th, tw) = t.tiles, t.tile
    inputs = like.new_zeros(y.shape[0], s, th, u, tw, t.channels)
    parts = _parts(t, image, inputs)
    products, points, factors = _rooms(like, t, parts)
    for p in range(len(t.vertical.pixels)):
        factors = _weight_points(blocks, t, p, factors)
        for some, into in parts:
            rows = _output_points(some, t, p, points)
            _add_inputs(_product(rows, factors.transpose(1, 2), products), t, p, into)
    return _untiled(inputs, t)


def gradient_of_weight(x: Tensor, y: Tensor, geometry: Geometry) -> Tensor:
    """``(C, O, K, L)`` from the input ``(N, C, H, W)`` and the gradient by the output ``(N, O, Y, X)``."""
    t, like = tiling(geometry, x.shape[1], y.shape[1]), like_products(y, x)
    (sh, sw), (down, across) = geometry.stride, t.blocks
    kernel = like.new_zeros(t.channels, down, sh, across, sw, t.outputs)
    parts = _parts(t, x.permute(0, 2, 3, 1).contiguous(), _padded(y.permute(0, 2, 3, 1), t))
    rows, points, sums = _rooms(like, t, parts)
    for p in range(len(t.vertical.pixels)):
        for number, (some, others) in enumerate(parts):
            pixels = _input_points(some, t, p, rows).transpose(1, 2)
            sums.baddbmm_(pixels, _output_points(others, t, p, points), beta=min(number, 1))
        _add_weight(sums, t, p, kernel)
    return _untaken(kernel, t)


def _parts(t: Tiling, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Some images at a time; all of them in a graph."""
    if torch.compiler.is_compiling():
        return [tensors]
    n, (sh, sw) = tensors[0].shape[0], t.geometry.stride
    rows = len(t.horizontal.pixels) * math.prod(t.tiles)
    parts = -(-n * rows * max(t.channels, sh * sw * t.outputs) // NUMBERS_AT_ONCE)
    at_once = max(1, -(-n // max(1, parts)))
    starts = range(0, max(1, n), at_once)
    return [tuple(tensor.narrow(0, start, min(at_once, n - start)) for tensor in tensors) for start in starts]


def _rooms(like: Tensor, t: Tiling, parts: list[tuple[Tensor, ...]]) -> tuple[Tensor, Tensor, Tensor]:
    """Where the points of pixels, places and blocks go, all parts in turn: fresh memory takes longer than the sums."""
    points, rows = len(t.horizontal.pixels), parts[0][0].shape[0] * math.prod(t.tiles)
    places = math.prod(t.geometry.stride) * t.outputs
    shapes = (rows, t.channels), (rows, places), (t.channels, places)
    pixels, outputs, blocks = (like.new_empty(points, *shape) for shape in shapes)
    return pixels, outputs, blocks


def _first(rows: int, room: Tensor) -> Tensor:
    """The first rows of each matrix; of fresh ones in a graph, whose derivative needs what was in them before."""
    return (torch.empty_like(room) if torch.compiler.is_compiling() else room).narrow(1, 0, rows)


def _product(left: Tensor, right: Tensor, room: Tensor) -> Tensor:
    return _first(left.shape[1], room).baddbmm_(left, right, beta=0)


def _blocks(weight: Tensor, t: Tiling) -> Tensor:
    """The kernel's: ``(down, across, C, sh, sw, O)``, output channels side by side in memory."""
    kernel = dilated(weight, t.geometry).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    return kernel_blocks(kernel, *t.geometry.stride)


def _weight_points(blocks: Tensor, t: Tiling, p: int, room: Tensor) -> Tensor:
    """B w: ``(Q, C, sh * sw * O)``."""
    points = _first(t.channels, room)
    _mix(t.horizontal.blocks, _mixed(t.vertical.blocks[p], blocks), points.view(-1, *blocks.shape[2:]))
    return points


def _input_points(x: Tensor, t: Tiling, p: int, room: Tensor) -> Tensor:
    """A x: ``(Q, m * S * U, C)`` from images ``(m, H, W, C)``."""
    (th, tw), (s, u) = t.tile, t.tiles
    if (s * th, u * tw) != t.geometry.input_size:
        x = F.pad(x, (0, 0, 0, u * tw - x.shape[2], 0, s * th - x.shape[1]))
    row = _mixed(t.vertical.pixels[p], x.view(-1, s, th, u, tw, t.channels).movedim(2, 0))
    points = _first(x.shape[0] * s * u, room)
    _mix(t.horizontal.pixels, row.movedim(3, 0), points.view(points.shape[0], -1, s, u, t.channels))
    return points


def _padded(y: Tensor, t: Tiling) -> Tensor:
    """All places of images ``(m, Y, X, O)``: ``(m, places, sh, places, sw, O)``."""
    (sh, sw), (top, left), (height, width) = t.geometry.stride, t.geometry.padding, t.image_size
    y = F.pad(y, (0, 0, left, width - left - y.shape[2], top, height - top - y.shape[1]))
    return y.view(-1, height // sh, sh, width // sw, sw, t.outputs)


def _output_points(image: Tensor, t: Tiling, p: int, room: Tensor) -> Tensor:
    """C' y: ``(Q, m * S * U, sh * sw * O)`` from what `_padded` gives."""
    (sh, sw), (down, right) = t.geometry.stride, _places(t)
    row = _mixed([places[p] for places in t.vertical.places], [part(image, ALL, one) for one in down])
    columns = [part(row, ALL, ALL, ALL, one).transpose(2, 3) for one in right]
    points = _first(image.shape[0] * math.prod(t.tiles), room)
    into = points.view(points.shape[0], -1, *t.tiles, sh, sw, t.outputs)
    _mix(_transposed(t.horizontal.places), columns, into)
    return points


def _add_places(products: Tensor, t: Tiling, p: int, image: Tensor) -> None:
    """Add C m to an image ``(m, places, sh, places, sw, O)``; ``m`` is ``(Q, m * S * U, sh * sw * O)``."""
    products = products.view(products.shape[0], -1, *t.tiles, *t.geometry.stride, t.outputs)
    down, right = _places(t)
    for column, product in zip(right, _mix(t.horizontal.places, products), strict=True):
        for row, factors in zip(down, t.vertical.places, strict=True):
            if factors[p]:
                part(image, ALL, row, ALL, column).transpose(2, 3).add_(product, alpha=factors[p])


def _add_inputs(products: Tensor, t: Tiling, p: int, inputs: Tensor) -> None:
    """Add A' m to images ``(m, S, pixels, U, pixels, C)``; ``m`` is ``(Q, m * S * U, C)``."""
    products = products.view(products.shape[0], -1, *t.tiles, t.channels)
    for j, product in enumerate(_mix(_transposed(t.horizontal.pixels), products)):
        for i, factor in enumerate(t.vertical.pixels[p]):
            if factor:
                inputs[:, :, i, :, j].add_(product, alpha=factor)


def _add_weight(sums: Tensor, t: Tiling, p: int, kernel: Tensor) -> None:
    """Add B' m to a kernel ``(C, down, sh, across, sw, O)``; ``m`` is ``(Q, C, sh * sw * O)``."""
    sums = sums.view(sums.shape[0], t.channels, *t.geometry.stride, t.outputs)
    for j, product in enumerate(_mix(_transposed(t.horizontal.blocks), sums)):
        for i, factor in enumerate(t.vertical.blocks[p]):
            if factor:
                kernel[:, i, :, j].add_(product, alpha=factor)


def _untiled(inputs: Tensor, t: Tiling) -> Tensor:
    """``(N, C, H, W)``, without what fills the last tiles."""
    (h, w), (tall, wide) = t.geometry.input_size, (a * b for a, b in zip(t.tiles, t.tile, strict=True))
    inputs = inputs.reshape(-1, tall, wide, t.channels)
    return part(inputs, ALL, slice(h), slice(w)).permute(0, 3, 1, 2)


def _untaken(kernel: Tensor, t: Tiling) -> Tensor:
    """``(C, O, K, L)``, without what fills the last blocks and the gaps of dilation."""
    (tall, wide), (dh, dw) = (
        map(kernel_span, t.geometry.kernel_size, t.geometry.dilation),
        t.geometry.dilation,
    )
    (sh, sw), (down, across) = t.geometry.stride, t.blocks
    kernel = kernel.reshape(t.channels, down * sh, across * sw, t.outputs)
    return part(kernel, ALL, slice(0, tall, dh), slice(0, wide, dw)).permute(0, 3, 1, 2)


def _places(t: Tiling) -> list[list[slice]]:
    """Along each axis, for each place that a tile reaches, that place of all tiles."""
    return [
        [slice(first, first + (tiles - 1) * pixels + 1, pixels) for first in range(pixels + blocks - 1)]
        for tiles, pixels, blocks in zip(t.tiles, t.tile, t.blocks, strict=True)
    ]


def _transposed(matrix: Matrix) -> Matrix:
    return list(zip(*matrix, strict=True))


def _mix(matrix: Matrix, parts: Tensor | Sequence[Tensor], into: Tensor | None = None) -> list[Tensor]:
    """The matrix times the parts, written ``into`` a tensor if given."""
    rows = enumerate(matrix)
    return [_mixed(row, parts, None if into is None else into[index]) for index, row in rows]


def _mixed(row: Sequence[float], parts: Tensor | Sequence[Tensor], into: Tensor | None = None) -> Tensor:
    """The sum of the parts with a row's factors; with a single 1 it is, unless written ``into``, that part itself."""
    terms = [(factor, term) for factor, term in zip(row, parts, strict=True) if factor]
    terms.sort(key=lambda pair: -pair[0])  # begin with a 1, so that nothing is multiplied
    (factor, first), rest = terms[0], terms[1:]
    total: Tensor = first if factor == 1 else first * factor
    if into is not None:
        total = into.copy_(total)
    elif rest:
        (factor, term), *rest = rest
        total = torch.add(total, term, alpha=factor)
    for factor, term in rest:
        total = total.add_(term, alpha=factor)
    return total
