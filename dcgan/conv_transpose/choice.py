"""The algorithms by name, and the choice that ``algorithm="auto"`` makes.

On the CPU:

- `gemm` for the output, and PyTorch's convolutions for the gradients: the fastest for most layers of a DCGAN.
- `winograd` for all three where its fewer products are worth more than the sums that it adds: with many
  channels, much to compute, and a kernel that fills the blocks of a stride. It takes about half as much memory again.

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
from dcgan.conv_transpose.winograd import both_gradients, gradient_of_input, gradient_of_weight, winograd

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
    needed = like.shape[0] * channels * outputs * math.prod(geometry.input_size + geometry.kernel_size)
    if needed > MANY_PRODUCTS:
        cost = tiling(geometry, channels, outputs).cost(like.shape[0])
        if cost.tiles >= MANY_TILES and cost.products + TRANSFORM * cost.transformed < needed:
            return WINOGRAD
    return ALGORITHMS["gemm"]


def without_groups(_: Tensor, __: int, ___: int, geometry: Geometry) -> Algorithm:
    """`winograd`, or `gemm` where there are groups."""
    return WINOGRAD if geometry.groups == 1 else ALGORITHMS["gemm"]


def chosen(choice: Choice) -> Algorithm:
    """The algorithm that ``choice`` takes for the shapes at hand."""
    return Algorithm(
        output=lambda x, weight, g: choice(x, x.shape[1], weight.shape[1], g).output(x, weight, g),
        input=lambda weight, y, g: choice(y, weight.shape[0], weight.shape[1], g).input(weight, y, g),
        weight=lambda x, y, g: choice(x, x.shape[1], y.shape[1] // g.groups, g).weight(x, y, g),
        both=lambda x, weight, y, g: choice(x, x.shape[1], weight.shape[1], g).gradients(x, weight, y, g),
    )


WINOGRAD = Algorithm(winograd, gradient_of_input, gradient_of_weight, both_gradients)
ALGORITHMS = {
    "winograd": chosen(without_groups),
    "gemm": Algorithm(gemm),
    "phase": Algorithm(phase),
    "zero_insert": Algorithm(zero_insert),
    "scatter": Algorithm(scatter),
    "matrix": Algorithm(matrix),
}
AUTO = chosen(best)


def algorithm_named(name: str) -> Algorithm:
    """The algorithm that ``algorithm=name`` asks for.

    Raises:
        ValueError: if there is none of that name.
    """
    if name == "auto":
        return AUTO
    if name not in ALGORITHMS:
        known = ", ".join(["auto", *ALGORITHMS])
        raise ValueError(f"algorithm={name!r} is unknown; choose one of {known}")
    return ALGORITHMS[name]
