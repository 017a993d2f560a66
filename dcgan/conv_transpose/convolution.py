"""The ordinary convolution and its gradient by the weight, from which the transposed one is built.

Both call PyTorch, except on a CPU where the kernel has a single position; there each is one matrix product.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgan.conv_transpose.arithmetic import Pair, conv_output_size, effective_kernel_size
from dcgan.conv_transpose.cutting import ALL, part
from dcgan.conv_transpose.graphs import plain_only


def convolve(
    x: Tensor,
    weight: Tensor,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Tensor:
    """Convolve as `torch.nn.functional.conv2d` does.

    Shapes: image ``(N, I, Y, X)`` and weight ``(J, I / groups, K, L)`` to map ``(N, J, H, W)``.
    """
    kernel_size = (weight.shape[2], weight.shape[3])
    if not _has_one_position(x, kernel_size, stride, padding, dilation, groups):
        return F.conv2d(x, weight, None, stride, padding, dilation, groups)
    patches = _covered(x, kernel_size, padding, dilation)
    order = _order(x)
    product = _rows(patches.permute(order)) @ _rows(weight.permute(order)).t()
    return product[:, :, None, None]


def correlate(
    x: Tensor,
    y: Tensor,
    kernel_size: Pair,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Tensor:
    """The gradient of `convolve` by its weight, for floating-point and complex numbers.

    Shapes: image ``(N, I, Y, X)`` and gradient by the map ``(N, J, H, W)`` to ``(J, I / groups, K, L)``.
    """
    geometry = (kernel_size, stride, padding, dilation, groups)
    if x.is_complex():  # PyTorch's operator does not support these
        of_real, of_imaginary = (
            torch.complex(correlate(x.real, of, *geometry), correlate(x.imag, of, *geometry)) for of in (y.real, y.imag)
        )
        return of_real + 1j * of_imaginary
    if _has_one_position(x, *geometry):
        order = _order(x)
        patches = _covered(x, kernel_size, padding, dilation).permute(order)
        product = _rows(y).t() @ _rows(patches)
        back = [order.index(axis) for axis in range(4)]
        by_product: Tensor = product.reshape(y.shape[1], *patches.shape[1:]).permute(back)
        return by_product
    # `like` is a weight that sets the memory format; its values do not matter. torch.nn.grad never gives channels_last.
    shape = (y.shape[1], x.shape[1] // groups, *kernel_size)
    like = x.new_empty_strided(shape, strides_of(shape, is_channels_last(x)))
    how = (list(stride), list(padding), list(dilation), False, [0, 0], groups)
    gradient: Tensor = torch.ops.aten.convolution_backward(y, x, like, None, *how, [False, True, False])[1]
    return gradient


def is_channels_last(x: Tensor) -> bool:
    """Whether the strides of ``x`` ``(N, C, H, W)`` are those of channels_last.

    This is PyTorch's own rule: where sizes of 1 make both formats possible, the strides still decide.
    """
    (_, c, h, w), (of_n, of_c, of_h, of_w) = x.shape, x.stride()
    inner_first = of_c * c <= of_w and of_w * w <= of_h and of_h * h <= of_n
    return inner_first and 0 not in x.shape and of_c != 0 and of_h * h != of_c


def is_on_cpu(x: Tensor) -> bool:
    """Whether ``x`` is on a CPU."""
    return x.device.type == "cpu"


def is_on_gpu(x: Tensor) -> bool:
    """Whether ``x`` is on a CUDA device, where every operation costs the start of a kernel."""
    return x.is_cuda


def strides_of(size: Sequence[int], last: bool) -> tuple[int, ...]:
    """Return the strides of ``(N, C, H, W)`` in channels_last if ``last``, else in PyTorch's usual memory format."""
    _, c, h, w = size
    return (h * w * c, 1, w * c, c) if last else (c * h * w, h * w, w, 1)


def _has_one_position(x: Tensor, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> bool:
    """Whether one matrix product will do, which on a CPU is three times as fast as PyTorch's convolution."""
    if not is_on_cpu(x) or groups > 1 or plain_only():
        return False
    axes = zip(x.shape[2:], kernel_size, stride, padding, dilation, strict=True)
    return all(conv_output_size(*axis) == 1 for axis in axes)


def _covered(x: Tensor, kernel_size: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """Return the pixels under the taps of a kernel in its first position, ``(N, I, K, L)``."""
    (top, left), (height, width) = padding, map(effective_kernel_size, kernel_size, dilation)
    x = F.pad(x, (left, left, top, top)) if any(padding) else x
    return part(x, ALL, ALL, slice(0, height, dilation[0]), slice(0, width, dilation[1]))


def _rows(x: Tensor) -> Tensor:
    """Return a matrix with a row for each image; the older vmap does not support `Tensor.flatten`."""
    return x.reshape(x.shape[0], x.shape[1:].numel())


def _order(x: Tensor) -> tuple[int, int, int, int]:
    """Return the axes of an image in the order of memory, so that rows of a matrix need no copy."""
    return (0, 2, 3, 1) if is_channels_last(x) else (0, 1, 2, 3)
