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

Legend: as in `algorithms`; ``P Q`` points along the axes, ``S U`` tiles along the axes, ``m`` images at once.
"""

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgan.conv_transpose.algorithms import (
    ALL,
    NUMBERS_AT_ONCE,
    cropped,
    dilated,
    kernel_blocks,
    like_products,
    part,
)
from dcgan.conv_transpose.arithmetic import Geometry, kernel_span
from dcgan.conv_transpose.tiles import Matrix, Tiling, tiling


def winograd(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The transposed convolution ``(N, O, Y, X)`` of ``(N, C, H, W)`` by ``(C, O, K, L)``, without groups."""
    t = tiling(geometry, x.shape[1], weight.shape[1], halves=_halves(x))
    factors = _weight_points(weight, t)
    x = x.permute(0, 2, 3, 1).contiguous()
    output = like_products(x, weight).new_empty(x.shape[0], *geometry.output_size, t.outputs)
    for some, into in _parts(t, x, output):
        products = torch.bmm(_input_points(some, t), factors)
        into.copy_(cropped(_image(products, t), geometry).permute(0, 2, 3, 1))
    return output.permute(0, 3, 1, 2)


def gradient_of_input(weight: Tensor, y: Tensor, geometry: Geometry) -> Tensor:
    """``(N, C, H, W)`` from the weight ``(C, O, K, L)`` and the gradient by the output ``(N, O, Y, X)``."""
    t = tiling(geometry, *weight.shape[:2], halves=_halves(y))
    factors = _weight_points(weight, t).transpose(1, 2)
    y = y.permute(0, 2, 3, 1).contiguous()
    gradient = _empty_inputs(like_products(y, weight), y.shape[0], t)
    for some, into in _parts(t, y, gradient):
        _inputs(torch.bmm(_output_points(some, t), factors), t, into)
    return _untiled(gradient, t)


def gradient_of_weight(x: Tensor, y: Tensor, geometry: Geometry) -> Tensor:
    """``(C, O, K, L)`` from the input ``(N, C, H, W)`` and the gradient by the output ``(N, O, Y, X)``."""
    t = tiling(geometry, x.shape[1], y.shape[1], halves=_halves(x))
    x, y = x.permute(0, 2, 3, 1).contiguous(), y.permute(0, 2, 3, 1).contiguous()
    sums = _no_sums(like_products(x, y), t)
    for some, others in _parts(t, x, y):
        sums.baddbmm_(_input_points(some, t).transpose(1, 2), _output_points(others, t))
    return _weight(sums, t)


def both_gradients(x: Tensor, weight: Tensor, y: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """The last two, for which the gradient by the output is evaluated only once."""
    t = tiling(geometry, *weight.shape[:2], halves=_halves(x))
    factors = _weight_points(weight, t).transpose(1, 2)
    x, y = x.permute(0, 2, 3, 1).contiguous(), y.permute(0, 2, 3, 1).contiguous()
    gradient, sums = _empty_inputs(y, y.shape[0], t), _no_sums(y, t)
    for some, others, into in _parts(t, x, y, gradient):
        points = _output_points(others, t)
        sums.baddbmm_(_input_points(some, t).transpose(1, 2), points)
        _inputs(torch.bmm(points, factors), t, into)
    return _untiled(gradient, t), _weight(sums, t)


def _halves(x: Tensor) -> bool:
    return x.is_floating_point() or x.is_complex()


def _parts(t: Tiling, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Some images at a time, so that their products stay in the cache; all of them in a graph."""
    if torch.compiler.is_compiling():
        yield tensors
        return
    n, (sh, sw) = tensors[0].shape[0], t.geometry.stride
    rows = math.prod(t.points) * math.prod(t.tiles)
    parts = -(-n * rows * max(t.channels, sh * sw * t.outputs) // NUMBERS_AT_ONCE)
    at_once = max(1, -(-n // max(1, parts)))
    for start in range(0, max(1, n), at_once):
        yield tuple(tensor.narrow(0, start, min(at_once, n - start)) for tensor in tensors)


def _weight_points(weight: Tensor, t: Tiling) -> Tensor:
    """B w: ``(P * Q, C, sh * sw * O)``."""
    table = kernel_blocks(dilated(weight, t.geometry), *t.geometry.stride)  # (down, across, C, sh * sw * O)
    points = table.new_empty(*t.points, *table.shape[2:])
    for i, row in enumerate(_mix(t.schemes[0].blocks, table)):
        _mix(t.schemes[1].blocks, row, points[i])
    return points.reshape(-1, *points.shape[2:])


def _input_points(x: Tensor, t: Tiling) -> Tensor:
    """A x: ``(P * Q, m * S * U, C)`` from images ``(m, H, W, C)``."""
    (th, tw), (s, u) = t.tile, t.tiles
    if (s * th, u * tw) != t.geometry.input_size:
        x = F.pad(x, (0, 0, 0, u * tw - x.shape[2], 0, s * th - x.shape[1]))
    tiles = x.view(-1, s, th, u, tw, t.channels)
    points = x.new_empty(*t.points, tiles.shape[0], s, u, t.channels)
    for i, row in enumerate(_mix(t.schemes[0].pixels, tiles.movedim(2, 0))):
        _mix(t.schemes[1].pixels, row.movedim(3, 0), points[i])
    return points.view(t.points[0] * t.points[1], -1, t.channels)


def _output_points(y: Tensor, t: Tiling) -> Tensor:
    """C' y: ``(P * Q, m * S * U, sh * sw * O)`` from images ``(m, Y, X, O)``."""
    (sh, sw), (top, left), (height, width) = t.geometry.stride, t.geometry.padding, t.image_size
    y = F.pad(y, (0, 0, left, width - left - y.shape[2], top, height - top - y.shape[1]))
    image = y.view(-1, height // sh, sh, width // sw, sw, t.outputs)
    points = y.new_empty(*t.points, image.shape[0], *t.tiles, sh, sw, t.outputs)
    rows = [part(image, ALL, places) for places in _places(t, 0)]
    for i, row in enumerate(_mix(_transposed(t.schemes[0].places), rows)):
        parts = [part(row, ALL, ALL, ALL, places).transpose(2, 3) for places in _places(t, 1)]
        _mix(_transposed(t.schemes[1].places), parts, points[i])
    return points.view(t.points[0] * t.points[1], -1, sh * sw * t.outputs)


def _empty_inputs(like: Tensor, n: int, t: Tiling) -> Tensor:
    (s, u), (th, tw) = t.tiles, t.tile
    return like.new_empty(n, s, th, u, tw, t.channels)


def _inputs(products: Tensor, t: Tiling, into: Tensor) -> None:
    """A' m: images ``(m, S, pixels, U, pixels, C)`` from products ``(P * Q, m * S * U, C)``."""
    products = products.view(*t.points, -1, *t.tiles, t.channels)
    for i, row in enumerate(_mix(_transposed(t.schemes[0].pixels), products)):
        _mix(_transposed(t.schemes[1].pixels), row, into[:, :, i].movedim(3, 0))


def _untiled(images: Tensor, t: Tiling) -> Tensor:
    """``(N, C, H, W)``, without what fills the last tiles."""
    (h, w), (tall, wide) = t.geometry.input_size, (a * b for a, b in zip(t.tiles, t.tile, strict=True))
    images = images.reshape(-1, tall, wide, t.channels)
    return part(images, ALL, slice(h), slice(w)).permute(0, 3, 1, 2)


def _no_sums(like: Tensor, t: Tiling) -> Tensor:
    (sh, sw) = t.geometry.stride
    return like.new_zeros(t.points[0] * t.points[1], t.channels, sh * sw * t.outputs)


def _weight(sums: Tensor, t: Tiling) -> Tensor:
    """B' m: ``(C, O, K, L)`` from products ``(P * Q, C, sh * sw * O)``."""
    (sh, sw), (down, across) = t.geometry.stride, t.blocks
    kernel = sums.new_empty(t.channels, down, sh, across, sw, t.outputs)
    sums = sums.view(*t.points, t.channels, sh, sw, t.outputs)
    for i, row in enumerate(_mix(_transposed(t.schemes[0].blocks), sums)):
        _mix(_transposed(t.schemes[1].blocks), row, kernel[:, i].movedim(2, 0))
    kernel = kernel.view(t.channels, down * sh, across * sw, t.outputs)
    tall, wide = map(kernel_span, t.geometry.kernel_size, t.geometry.dilation)
    dh, dw = t.geometry.dilation
    return part(kernel, ALL, slice(0, tall, dh), slice(0, wide, dw)).permute(0, 3, 1, 2)


def _image(products: Tensor, t: Tiling) -> Tensor:
    """C m, where tiles meet added up: ``(m, O, height, width)`` of the products ``(P * Q, m * S * U, sh * sw * O)``."""
    (sh, sw), (height, width), (th, tw) = t.geometry.stride, t.image_size, t.tile
    products = products.view(*t.points, -1, *t.tiles, sh, sw, t.outputs)
    image = products.new_empty(products.shape[2], height // sh, sh, width // sw, sw, t.outputs)
    image[:, t.tiles[0] * th :].zero_()
    image[:, :, :, t.tiles[1] * tw :].zero_()
    for i, (down, row) in enumerate(zip(_places(t, 0), _mix(t.schemes[0].places, products), strict=True)):
        for j, (right, product) in enumerate(zip(_places(t, 1), _mix(t.schemes[1].places, row), strict=True)):
            target = part(image, ALL, down, ALL, right).transpose(2, 3)
            # The first are the tiles' own places, one tile beside the other; the rest lie upon the next tile's.
            target.copy_(product) if i < th and j < tw else target.add_(product)
    return image.view(-1, height, width, t.outputs).permute(0, 3, 1, 2)


def _places(t: Tiling, axis: int) -> list[slice]:
    """For each place that a tile reaches, that place of all tiles."""
    tiles, pixels = t.tiles[axis], t.tile[axis]
    return [
        slice(first, first + (tiles - 1) * pixels + 1, pixels) for first in range(pixels + t.blocks[axis] - 1)
    ]


def _transposed(matrix: Matrix) -> Matrix:
    return list(zip(*matrix, strict=True))


def _mix(matrix: Matrix, parts: Tensor | Sequence[Tensor], into: Tensor | None = None) -> list[Tensor]:
    """The matrix times the parts, written ``into`` tensors if given; a row of a single 1 is otherwise that part itself."""
    mixed = []
    for index, row in enumerate(matrix):
        terms = [(factor, term) for factor, term in zip(row, parts, strict=True) if factor]
        terms.sort(key=lambda pair: -pair[0])  # begin with a 1, so that nothing is multiplied
        (factor, total), rest = terms[0], terms[1:]
        if factor != 1:
            total = total * factor
        if into is not None:
            total = into[index].copy_(total)
        elif rest:
            total = torch.add(total, rest[0][1], alpha=rest[0][0])
            rest = rest[1:]
        for factor, term in rest:
            total = total.add_(term, alpha=factor)
        mixed.append(total)
    return mixed
