"""Ways to compute one and the same transposed convolution, from plain tensor operations.

Each takes the input, the weight and a `Geometry` and gives the same numbers; they differ in what they
make visible and in what they cost. None calls a transposed convolution of the framework. Their gradients
are in `gradients`.

Legend: ``N`` batch, ``C`` input channels, ``O`` output channels, ``G`` groups, ``H W`` input size,
``K L`` kernel size, ``Y X`` output size; ``c`` and ``o`` are channels of one group.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgan.conv_transpose.arithmetic import inserted_zeros, kernel_span, transpose_padding

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """All sizes of one transposed convolution, as ``(height, width)`` pairs, and which window is wanted.

    Every framework's transposed convolution is a window of the same full output: it begins at
    ``padding``, is ``output_size`` long, and is zero where it reaches past the end of the full output.
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


def scatter(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The definition: every input pixel adds its own scaled copy of the kernel to the output.

    Done for one kernel tap at a time, for all pixels at once: a tap's contributions land ``stride``
    apart, shifted by the tap's position in the kernel.
    """
    (n, c, h, w), groups = x.shape, geometry.groups
    full = x.new_zeros(n, groups * weight.shape[1], *geometry.full_size)
    x = x.reshape(n, groups, c // groups, h, w)
    weight = weight.reshape(groups, c // groups, *weight.shape[1:])
    for i, j in itertools.product(*map(range, geometry.kernel_size)):
        tap = torch.einsum("ngchw,gco->ngohw", x, weight[..., i, j])
        _taps(full, i, j, geometry).add_(tap.reshape(n, full.shape[1], h, w))
    return _window(full, geometry)


def gemm(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """One matrix product for all taps, then shifted adds: `scatter` with its arithmetic gathered.

    The product has ``N * H * W`` rows, one per input pixel, and ``K * L * O`` columns, one per weight
    that the pixel meets. It multiplies by no inserted zero, which is why it is fast.
    """
    (n, c, h, w), (k, l), groups = x.shape, geometry.kernel_size, geometry.groups
    rows = x.permute(0, 2, 3, 1).reshape(n * h * w, groups, c // groups).transpose(0, 1)
    matrix = weight.permute(0, 2, 3, 1).reshape(groups, c // groups, k * l * weight.shape[1])
    columns = (
        (rows @ matrix).view(groups, n, h, w, k, l, weight.shape[1]).permute(4, 5, 1, 0, 6, 2, 3)
    )  # (K, L, N, G, o, H, W)
    full = x.new_zeros(n, groups * weight.shape[1], *geometry.full_size)
    for i, j in itertools.product(range(k), range(l)):
        _taps(full, i, j, geometry).add_(columns[i, j].reshape(n, full.shape[1], h, w))
    return _window(full, geometry)


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
    kernel = weight.flip(2, 3).reshape(geometry.groups, c // geometry.groups, -1, k, l)
    kernel = kernel.transpose(1, 2).reshape(-1, c // geometry.groups, k, l)  # (O, c, K, L)
    return F.conv2d(x, kernel, dilation=geometry.dilation, groups=geometry.groups)


def _taps(full: Tensor, i: int, j: int, geometry: Geometry) -> Tensor:
    """The view ``(N, O, H, W)`` of the full output that kernel tap ``(i, j)`` adds to."""
    (h, w), (sh, sw), (dh, dw) = geometry.input_size, geometry.stride, geometry.dilation
    rows = slice(i * dh, i * dh + (h - 1) * sh + 1, sh)
    columns = slice(j * dw, j * dw + (w - 1) * sw + 1, sw)
    return full[:, :, rows, columns]


def _window(full: Tensor, geometry: Geometry) -> Tensor:
    """What is wanted of the full output: cropped, and extended by zeros where it is too short."""
    (top, left), (y, x), (height, width) = (geometry.padding, geometry.output_size, geometry.full_size)
    return F.pad(full, (-left, left + x - width, -top, top + y - height))


Algorithm = Callable[[Tensor, Tensor, Geometry], Tensor]

ALGORITHMS: dict[str, Algorithm] = {"gemm": gemm, "zero_insert": zero_insert, "scatter": scatter}
