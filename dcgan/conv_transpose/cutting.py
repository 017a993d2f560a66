"""Kernels and images, cut and put together: what the algorithms are made of.

Read `part(x, i, j)` as ``x[i, j]``, and a tensor made `like_products` as one of zeros: both are longer here only for
the older of PyTorch's two vmaps, which gradients of many directions at once (``is_grads_batched``) go through.

Legend: as in `algorithms`.
"""

import torch.nn.functional as F
from torch import Tensor

from dcgan.conv_transpose.arithmetic import Geometry, Pair, inserted_zeros

ALL = slice(None)


def spread(x: Tensor, step: Pair) -> Tensor:
    """With zeros between the pixels, or the taps, of ``x`` ``(A, B, H, W)``, so that these are ``step`` apart."""
    a, b, h, w = x.shape
    x = F.pad(x.reshape(a, b, h, 1, w, 1), (0, inserted_zeros(step[1]), 0, 0, 0, inserted_zeros(step[0])))
    x = x.reshape(a, b, h * step[0], w * step[1])
    return part(x, ALL, ALL, slice((h - 1) * step[0] + 1), slice((w - 1) * step[1] + 1))


def kernel_blocks(weight: Tensor, geometry: Geometry) -> Tensor:
    """The kernel ``(C, O, K, L)`` in blocks as large as the stride: ``(down, across, C, sh, sw, O)``.

    Zeros fill the last blocks where the kernel does not come out even. A lone pixel meets no other: all of its kernel is
    one block.
    """
    kernel = weight if max(geometry.dilation) == 1 else spread(weight, geometry.dilation)
    c, outputs, tall, wide = kernel.shape
    sh = tall if geometry.input_size[0] == 1 else geometry.stride[0]
    sw = wide if geometry.input_size[1] == 1 else geometry.stride[1]
    down, across = -(-tall // sh), -(-wide // sw)
    if (down * sh, across * sw) != (tall, wide):  # padding by nothing would still copy all weights
        kernel = F.pad(kernel, (0, across * sw - wide, 0, down * sh - tall))
    return kernel.reshape(c, outputs, down, sh, across, sw).permute(2, 4, 0, 3, 5, 1)


def cropped(full: Tensor, geometry: Geometry) -> Tensor:
    """What is wanted of the full output: cropped, and extended by zeros where it is too short."""
    (top, left), (y, x), (height, width) = geometry.padding, geometry.output_size, full.shape[2:]
    return bordered(full, -left, left + x - width, -top, top + y - height)


def bordered(image: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """With so many zeros around it; where a number is negative, with less of the image, or of the zeros across from it.

    `torch.nn.functional.pad` would cut first, and find too little where all of the image goes.
    """
    more = [max(0, zeros) for zeros in (left, right, top, bottom)]
    image = F.pad(image, more) if any(more) else image
    height, width = image.shape[2:]
    rows = slice(max(0, -top), height - max(0, -bottom))
    return part(image, ALL, ALL, rows, slice(max(0, -left), width - max(0, -right)))


def part(x: Tensor, *index: slice) -> Tensor:
    """``x[index]``; where that is all of ``x`` it would be an alias, unknown to the older vmap."""
    return x[(None, *index)][0]


def like_products(x: Tensor, weight: Tensor) -> Tensor:
    """A tensor to make others like, to put products into: under PyTorch's older vmap, a batch if a factor is."""
    return x.new_zeros(()) * weight.new_zeros(())
