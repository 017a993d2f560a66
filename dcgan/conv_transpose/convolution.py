"""The ordinary convolution, and its gradient by the weight: what the transposed one is made of.

Both are PyTorch's where PyTorch's are fast, and a matrix product with the patches of the image elsewhere.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgan.conv_transpose.arithmetic import Pair, conv_output_size, kernel_span

# Numbers in one matrix of patches; a larger one costs memory and gains little.
PATCHES_AT_ONCE = 2**20


def convolve(
    x: Tensor,
    weight: Tensor,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Tensor:
    """`torch.nn.functional.conv2d`, also for integers and quicker to a single pixel.

    Shapes: image ``(N, I, Y, X)`` and weight ``(J, I / groups, K, L)`` to map ``(N, J, H, W)``.
    """
    kernel_size = (weight.shape[2], weight.shape[3])
    axes = zip(x.shape[2:], kernel_size, stride, padding, dilation, strict=True)
    h, w = (conv_output_size(*axis) for axis in axes)
    if not _by_patches(x, h * w, groups):
        return F.conv2d(x, weight, None, stride, padding, dilation, groups)
    last = is_channels_last(x)
    table = weight.permute(0, 2, 3, 1) if last else weight
    table = table.reshape(groups, weight.shape[0] // groups, -1).transpose(1, 2)  # (G, i * K * L, j)
    maps = [
        (patches @ table).transpose(0, 1).reshape(-1, h, w, weight.shape[0])
        for patches in _patches(x, kernel_size, stride, padding, dilation, groups, channels_last=last)
    ]
    return torch.cat(maps).permute(0, 3, 1, 2)


def correlate(
    x: Tensor,
    y: Tensor,
    kernel_size: Pair,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Tensor:
    """The gradient of `convolve` by its weight.

    Shapes: image ``(N, I, Y, X)`` and gradient by the map ``(N, J, H, W)`` to ``(J, I / groups, K, L)``.
    """
    channels, (outputs, h, w) = x.shape[1] // groups, y.shape[1:]
    shape = (outputs, channels, *kernel_size)
    if not _by_patches(x, h * w, groups):
        # In the memory format of a weight, whose numbers do not matter; torch.nn.grad gives none of channels_last.
        memory_format = torch.channels_last if is_channels_last(x) else torch.contiguous_format
        like = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format)
        how = (list(stride), list(padding), list(dilation), False, [0, 0], groups)
        only_weight = [False, True, False]
        gradient: Tensor = torch.ops.aten.convolution_backward(y, x, like, None, *how, only_weight)[1]
        return gradient
    last = is_channels_last(x)
    rows = y.permute(0, 2, 3, 1).reshape(-1, groups, outputs // groups).permute(1, 2, 0)  # (G, j, N * H * W)
    total, done = None, 0
    for patches in _patches(x, kernel_size, stride, padding, dilation, groups, channels_last=last):
        part = rows.narrow(2, done, patches.shape[1])
        total = part @ patches if total is None else total.baddbmm_(part, patches)
        done += patches.shape[1]
    assert total is not None
    if last:
        return total.reshape(outputs, *kernel_size, channels).permute(0, 3, 1, 2)
    return total.reshape(outputs, channels, *kernel_size)


def is_channels_last(x: Tensor) -> bool:
    """Whether the strides of ``x`` ``(N, C, H, W)`` are those of channels_last.

    PyTorch's own rule: where sizes of 1 make both formats possible, the strides still tell.
    """
    least = 0
    for axis in (1, 3, 2, 0):
        size, stride = x.shape[axis], x.stride(axis)
        if size == 0 or (stride == 0 and axis == 1) or stride < least or (axis == 0 and least == x.stride(1)):
            return False
        least = stride * size
    return True


def in_graph() -> bool:
    """Whether operations are being recorded, to be done with tensors of other sizes, too."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]


def _by_patches(x: Tensor, positions: int, groups: int) -> bool:
    if not x.is_floating_point():
        return True  # PyTorch has no convolution of integers and no gradient of one of complex numbers
    if x.device.type != "cpu" or groups > 1 or in_graph():
        return False
    return positions == 1  # to each image one patch: three times as fast


def _patches(
    x: Tensor,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    *,
    channels_last: bool,
) -> Iterator[Tensor]:
    """The part of the image that each position of the kernel covers, as rows ``(G, N * H * W, i * K * L)``.

    A few images at a time. ``channels_last`` orders a row as ``K * L * i``, whichever is contiguous.
    """
    (top, left), (height, width) = padding, map(kernel_span, kernel_size, dilation)
    n, channels = x.shape[:2]
    x = F.pad(x, (left, left, top, top)) if any(padding) else x
    x = x.reshape(n, groups, channels // groups, *x.shape[2:])
    x = x.unfold(3, height, stride[0]).unfold(4, width, stride[1])  # (N, G, i, H, W, K, L), with holes
    if max(dilation) > 1:
        x = x[..., :: dilation[0], :: dilation[1]]
    order = (1, 0, 3, 4, 5, 6, 2) if channels_last else (1, 0, 3, 4, 2, 5, 6)
    for some in x.split(max(1, PATCHES_AT_ONCE // max(1, x[:1].numel()))):
        rows = some.permute(order)
        yield rows.reshape(groups, rows.shape[1:4].numel(), rows.shape[4:].numel())
