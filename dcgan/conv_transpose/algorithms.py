"""Five ways to compute one and the same transposed convolution, from plain tensor operations.

Each takes the input, the weight and a `Geometry` and gives the same numbers; they differ in what they
make visible and in what they cost. None calls a transposed convolution of the framework. Their gradients
are in `gradients`.

Legend: ``N`` batch, ``C`` input channels, ``O`` output channels, ``G`` groups, ``H W`` input size,
``K L`` kernel size, ``Y X`` output size; ``c`` and ``o`` are channels of one group.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgan.conv_transpose.arithmetic import inserted_zeros, kernel_span, transpose_padding
from dcgan.conv_transpose.convolution import convolve

Pair = tuple[int, int]

# Numbers that `gemm` computes before it adds them up: they should still be in the cache then.
COLUMNS_AT_ONCE = 2**20


class Geometry(NamedTuple):
    """All sizes of one transposed convolution, as ``(height, width)`` pairs, and which window is wanted.

    Every framework's transposed convolution is a window of the same full output: it begins at
    ``padding``, which may be negative, is ``output_size`` long, and is zero where it reaches beyond the
    full output.
    """

    input_size: Pair
    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    output_size: Pair

    @property
    def full_size(self) -> Pair:
        """Size of the output before any cropping: ``(size - 1) * stride + dilation * (F - 1) + 1``."""
        height, width = (
            (size - 1) * stride + kernel_span(kernel, dilation)
            for size, stride, kernel, dilation in zip(
                self.input_size, self.stride, self.kernel_size, self.dilation, strict=True
            )
        )
        return height, width

    @property
    def canvas(self) -> "Canvas":
        """Where to add up: an area that holds the full output and the window that is wanted of it."""
        origin = max(0, -self.padding[0]), max(0, -self.padding[1])
        axes = list(zip(origin, self.full_size, self.padding, self.output_size, strict=True))
        height, width = (before + max(full, start + wanted) for before, full, start, wanted in axes)
        rows, columns = (slice(before + start, before + start + wanted) for before, _, start, wanted in axes)
        return Canvas((height, width), origin, (rows, columns))


class Canvas(NamedTuple):
    """An area of pixels, the place of the full output in it, and that of the window."""

    size: Pair
    origin: Pair
    window: tuple[slice, slice]


def scatter(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The definition: every input pixel adds its own scaled copy of the kernel to the output.

    Done for one kernel tap at a time, for all pixels at once: a tap's contributions land ``stride``
    apart, shifted by the tap's position in the kernel.
    """
    (n, c, h, w), groups = x.shape, geometry.groups
    (sh, sw), (dh, dw), canvas = geometry.stride, geometry.dilation, geometry.canvas
    full = _zeros(x, weight, n, groups * weight.shape[1], *canvas.size)
    x = x.reshape(n, groups, c // groups, h * w)
    weight = weight.reshape(groups, c // groups, *weight.shape[1:])
    for i, j in itertools.product(*map(range, geometry.kernel_size)):
        tap = weight[..., i, j].transpose(1, 2) @ x  # (N, G, o, H * W)
        top, left = canvas.origin[0] + i * dh, canvas.origin[1] + j * dw
        rows, columns = slice(top, top + (h - 1) * sh + 1, sh), slice(left, left + (w - 1) * sw + 1, sw)
        full[:, :, rows, columns] += tap.reshape(n, full.shape[1], h, w)
    return full[:, :, *canvas.window]


def zero_insert(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The article: zeros between the pixels, a border, then an ordinary convolution.

    ``S - 1`` zeros, padding ``F - P - 1``, and the kernel flipped. Easy to picture and wasteful: of every
    ``stride * stride`` products all but one are with a zero.
    """
    (n, c, h, w), (k, l) = x.shape, geometry.kernel_size
    (sh, sw), (dh, dw) = geometry.stride, geometry.dilation
    x = x.reshape(n, c, h, 1, w, 1)
    x = F.pad(x, (0, inserted_zeros(sw), 0, 0, 0, inserted_zeros(sh)))  # (N, C, H, sh, W, sw)
    x = x.reshape(n, c, h * sh, w * sw)[:, :, : (h - 1) * sh + 1, : (w - 1) * sw + 1]
    top = transpose_padding(k, geometry.padding[0], dh)
    left = transpose_padding(l, geometry.padding[1], dw)
    bottom = geometry.output_size[0] - 1 + kernel_span(k, dh) - x.shape[2] - top
    right = geometry.output_size[1] - 1 + kernel_span(l, dw) - x.shape[3] - left
    x = F.pad(x, (left, right, top, bottom))
    return convolve(x, _flipped(weight, geometry.groups), dilation=geometry.dilation, groups=geometry.groups)


def matrix(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The dense layer's view: the convolution is a sparse matrix, and this multiplies by its transpose."""
    n, outputs = x.shape[0], geometry.groups * weight.shape[1]
    columns = (
        convolution_matrix(weight, geometry).t() @ x.reshape(n, x.shape[1:].numel()).t()
    )  # (O * Y * X, N)
    return columns.t().reshape(n, outputs, *geometry.output_size)


def gemm(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """One matrix product for all taps, then shifted adds: `scatter` with its arithmetic gathered.

    The product has ``N * H * W`` rows, one per input pixel, and ``K * L * O`` columns, one per weight
    that the pixel meets. It multiplies by no inserted zero, which is why it is fast. What else there is
    to gain is in the adds: neighbouring taps that land within one stride are added as one block, a few
    images at a time, so that the products are read while they are still in the cache.
    """
    (n, c, h, w), groups, outputs = x.shape, geometry.groups, weight.shape[1]
    (sh, sw), (dh, dw), canvas = geometry.stride, geometry.dilation, geometry.canvas
    blocks = list(itertools.product(*map(_blocks, *geometry[:3], geometry.dilation)))
    taps = weight.reshape(groups, c // groups, outputs, *geometry.kernel_size).permute(0, 1, 3, 4, 2)
    tables = [
        taps[:, :, i : i + a, j : j + b].reshape(groups, -1, a * b * outputs) for (i, a), (j, b) in blocks
    ]
    table = torch.cat(tables, dim=2)  # (G, c, K * L * o), block after block
    images = x.permute(0, 2, 3, 1).reshape(n, h * w, groups, c // groups)
    output = _zeros(x, weight, n, *geometry.output_size, groups * outputs)
    at_once = n if torch.compiler.is_compiling() else COLUMNS_AT_ONCE // (h * w * table[:, 0].numel())
    for start in range(0, n, max(1, at_once)):
        some = images[start : start + max(1, at_once)]
        m = some.shape[0]
        rows = some.reshape(m * h * w, groups, c // groups).transpose(0, 1)
        parts = (rows @ table).split([part.shape[2] for part in tables], dim=2)
        full = parts[0].new_zeros(m, *canvas.size, groups, outputs)
        for ((i, a), (j, b)), part in zip(blocks, parts, strict=True):
            top, left = canvas.origin[0] + i * dh, canvas.origin[1] + j * dw
            target = full[:, top : top + (h - 1) * sh + a, left : left + (w - 1) * sw + b]
            target = target.unfold(1, a, sh).unfold(2, b, sw)  # (N, H, W, G, o, a, b)
            target += part.reshape(groups, m, h, w, a, b, outputs).permute(1, 2, 3, 0, 6, 4, 5)
        output[start : start + m] = full[:, *canvas.window].reshape(m, *geometry.output_size, -1)
    return output.permute(0, 3, 1, 2)


def phase(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Stride-1 convolutions, one for each of the ``stride * stride`` positions that an output pixel can have.

    Output pixels a stride apart meet the same taps, so each such phase is an ordinary convolution of the
    input with a part of the kernel; interleaved, the phases are the output (the sub-pixel convolution of
    Shi et al. 2016, arXiv 1609.07009). No product is with an inserted zero and none is thrown away.
    """
    outputs = geometry.groups * weight.shape[1]
    output = _zeros(x, weight, x.shape[0], outputs, *geometry.output_size)
    axes = zip(*geometry[:5], geometry.output_size, strict=True)
    for vertical, horizontal in itertools.product(*(list(_phases(*axis)) for axis in axes)):
        part = F.pad(x, (*horizontal.border, *vertical.border))
        kernel = _flipped(weight[:, :, vertical.taps, horizontal.taps], geometry.groups)
        dilation = (vertical.dilation, horizontal.dilation)
        output[:, :, vertical.pixels, horizontal.pixels] = convolve(
            part, kernel, dilation=dilation, groups=geometry.groups
        )
    return output


def convolution_matrix(weight: Tensor, geometry: Geometry) -> Tensor:
    """The convolution that `geometry` is the transpose of, as a sparse matrix.

    Args:
        weight: ``(C, O / groups, K, L)``.
        geometry: the sizes; its input is the convolution's output and the other way round.

    Returns:
        A sparse tensor ``(C * H * W, O * Y * X)``. Times a flattened ``(O, Y, X)`` image it is the
        convolution; its transpose times a flattened ``(C, H, W)`` map is the transposed convolution.
    """
    (h, w), (y, x), groups = geometry.input_size, geometry.output_size, geometry.groups
    c, o = weight.shape[0] // groups, weight.shape[1]
    # One dimension each for group, c, o, row, tap, column, tap: every product that the convolution makes.
    group, into, out, row, i, column, j = torch.meshgrid(
        *(
            torch.arange(size, device=weight.device)
            for size in (groups, c, o, h, weight.shape[2], w, weight.shape[3])
        ),
        indexing="ij",
    )
    top = row * geometry.stride[0] + i * geometry.dilation[0] - geometry.padding[0]
    left = column * geometry.stride[1] + j * geometry.dilation[1] - geometry.padding[1]
    inside = (top >= 0) & (top < y) & (left >= 0) & (left < x)
    into, outof = group * c + into, group * o + out
    places = torch.stack([(into * h + row) * w + column, (outof * y + top) * x + left])
    return torch.sparse_coo_tensor(
        places[:, inside],
        weight[into, out, i, j][inside],
        (groups * c * h * w, groups * o * y * x),
        check_invariants=False,  # said explicitly, or PyTorch warns
    )


def _zeros(x: Tensor, weight: Tensor, *size: int) -> Tensor:
    """Zeros to put products into: under PyTorch's older vmap, a batch if either factor is one."""
    return (x.new_zeros(()) * weight.new_zeros(())).new_zeros(size)


def _flipped(weight: Tensor, groups: int) -> Tensor:
    """The kernel ``(O, c, K, L)`` of the convolution that does the work of a transposed one."""
    c, o, *kernel_size = weight.shape
    weight = weight.flip(2, 3).reshape(groups, c // groups, o, *kernel_size)
    return weight.transpose(1, 2).reshape(groups * o, c // groups, *kernel_size)


def _blocks(size: int, kernel_size: int, stride: int, dilation: int) -> list[Pair]:
    """Taps, as (first, count), whose contributions of all pixels together never land on one another."""
    if dilation > 1:
        count = 1
    elif size == 1:
        count = kernel_size  # a single pixel meets no neighbour
    else:
        count = min(stride, kernel_size)
    return [(first, min(count, kernel_size - first)) for first in range(0, kernel_size, count)]


class _Phase(NamedTuple):
    """Every ``stride``-th output pixel of an axis, and the stride-1 convolution that computes them."""

    pixels: slice
    taps: slice
    dilation: int
    border: Pair  # zeros before and after the input; negative where pixels are left out


def _phases(
    size: int, kernel_size: int, stride: int, padding: int, dilation: int, output_size: int
) -> Iterator[_Phase]:
    """The phases of an axis that any tap reaches.

    A pixel ``i`` and a tap ``k`` meet at ``i * stride + k * dilation``. So the taps of a phase are
    ``stride / g`` apart and what they meet is ``dilation / g`` pixels apart, with ``g`` the greatest
    common divisor of both.
    """
    divisor = math.gcd(stride, dilation)
    for first in range(min(stride, output_size)):
        position = first + padding
        reaching = (
            k for k in range(min(kernel_size, stride // divisor)) if (position - k * dilation) % stride == 0
        )
        for tap in reaching:  # one or none
            taps = slice(tap, None, stride // divisor)
            reach = (len(range(kernel_size)[taps]) - 1) * dilation // divisor
            pixel = (position - tap * dilation) // stride
            count = len(range(first, output_size, stride))
            yield _Phase(
                slice(first, None, stride), taps, dilation // divisor, (reach - pixel, pixel + count - size)
            )


Algorithm = Callable[[Tensor, Tensor, Geometry], Tensor]

ALGORITHMS: dict[str, Algorithm] = {
    "gemm": gemm,
    "phase": phase,
    "zero_insert": zero_insert,
    "scatter": scatter,
    "matrix": matrix,
}
