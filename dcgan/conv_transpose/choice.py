"""The algorithms by name, and the choice that ``algorithm="auto"`` makes.

On the CPU:

- `gemm` for the output, and PyTorch's convolutions for the gradients: the fastest for most layers of a DCGAN.
- `winograd` for all three where its fewer products are worth more than the sums that it adds: with many
  channels, much to compute, and a kernel that fills the blocks of a stride. It takes up to twice the memory.

`phase` elsewhere; with groups, whose many small products a grouped convolution does at once; with dilation, whose
zeros `gemm` would multiply by; and in a graph that is being compiled or exported.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dcgan.conv_transpose.algorithms import gemm, matrix, phase, scatter, zero_insert
from dcgan.conv_transpose.arithmetic import Geometry
from dcgan.conv_transpose.gradients import Algorithm
from dcgan.conv_transpose.tiles import tiling
from dcgan.conv_transpose.winograd import gradient_of_input, gradient_of_weight, winograd

# `winograd` on two cores: what it costs to transform a number, in products, and what it takes to be worth its many
# small steps: products that the layer needs, and tiles, whose number is the rows of each matrix product.
TRANSFORM, MANY_PRODUCTS, MANY_TILES = 80, 2**29, 256

Choice = Callable[[Tensor, int, int, Geometry], Algorithm]


def best(like: Tensor, channels: int, outputs: int, geometry: Geometry) -> Algorithm:
    """What ``algorithm="auto"`` is, see the module.

    Args:
        like: the input or the output of the layer; tells the device and the number of images.
        channels: of the input.
        outputs: channels of a group of the output.
        geometry: the sizes.
    """
    dense = geometry.groups == max(geometry.dilation) == 1
    if not dense or like.device.type != "cpu" or torch.compiler.is_compiling():
        return ALGORITHMS["phase"]
    if not _has_halves(like):
        return ALGORITHMS["gemm"]
    needed = like.shape[0] * channels * outputs * math.prod(geometry.input_size + geometry.kernel_size)
    if needed > MANY_PRODUCTS:
        t = tiling(geometry, channels, outputs)
        tiles, place = like.shape[0] * math.prod(t.tiles), outputs * math.prod(geometry.stride)
        points = tiles * len(t.vertical.pixels) * len(t.horizontal.pixels)
        transformed = points * (channels + 2 * place)  # twice: the output's matrix has the more sums
        if tiles >= MANY_TILES and points * channels * place + TRANSFORM * transformed < needed:
            return WINOGRAD
    return ALGORITHMS["gemm"]


def winograd_or_gemm(like: Tensor, _: int, __: int, geometry: Geometry) -> Algorithm:
    """`winograd`; `gemm` where there are groups, or integers: `TOOM_COOK` takes halves."""
    return WINOGRAD if geometry.groups == 1 and _has_halves(like) else ALGORITHMS["gemm"]


def _has_halves(like: Tensor) -> bool:
    return like.is_floating_point() or like.is_complex()


def chosen(choice: Choice) -> Algorithm:
    """The algorithm that ``choice`` takes for the shapes at hand."""
    return Algorithm(
        output=lambda x, weight, g: choice(x, x.shape[1], weight.shape[1], g).output(x, weight, g),
        input=lambda weight, y, g: choice(y, weight.shape[0], weight.shape[1], g).input(weight, y, g),
        weight=lambda x, y, g: choice(x, x.shape[1], y.shape[1] // g.groups, g).weight(x, y, g),
    )


WINOGRAD = Algorithm(winograd, gradient_of_input, gradient_of_weight)
ALGORITHMS = {
    "auto": chosen(best),
    "winograd": chosen(winograd_or_gemm),
    "gemm": Algorithm(gemm),
    "phase": Algorithm(phase),
    "zero_insert": Algorithm(zero_insert),
    "scatter": Algorithm(scatter),
    "matrix": Algorithm(matrix),
}


def algorithm_named(name: str) -> Algorithm:
    """The algorithm that ``algorithm=name`` asks for.

    Raises:
        ValueError: if there is none of that name.
    """
    if name not in ALGORITHMS:
        raise ValueError(f"algorithm={name!r} is unknown; choose one of {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]
