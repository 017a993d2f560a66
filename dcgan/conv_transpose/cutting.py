"""Operations that cut and assemble kernels and images, the building blocks of the algorithms.

Read `part(x, i, j)` as ``x[i, j]``, and `like_products(x, weight)` as ``x``. Both exist only for the older of PyTorch's
two vmaps, which computes gradients in many directions at once (``is_grads_batched``).

Legend: as in `algorithms`.
"""

import torch.nn.functional as F
from torch import Tensor

from dcgan.conv_transpose.arithmetic import Pair, inserted_zeros
from dcgan.conv_transpose.geometry import Geometry

ALL = slice(None)


def spread(x: Tensor, step: Pair) -> Tensor:
    """Insert zeros between the pixels, or the taps, of ``x`` ``(A, B, H, W)``, so that these are ``step`` apart."""
    a, b, h, w = x.shape
    x = F.pad(x.reshape(a, b, h, 1, w, 1), (0, inserted_zeros(step[1]), 0, 0, 0, inserted_zeros(step[0])))
    x = x.reshape(a, b, h * step[0], w * step[1])
    return part(x, ALL, ALL, slice((h - 1) * step[0] + 1), slice((w - 1) * step[1] + 1))


def kernel_blocks(weight: Tensor, geometry: Geometry) -> Tensor:
    """Divide the kernel ``(C, o, K, L)`` into blocks as large as the stride: ``(down, across, C, sh, sw, o)``.

    Zeros fill up the last blocks if the stride does not divide the kernel size. Along an axis with a single input pixel
    no kernel copies overlap, so one block spans the kernel.
    """
    kernel = weight if max(geometry.dilation) == 1 else spread(weight, geometry.dilation)
    c, outputs, tall, wide = kernel.shape
    sh = tall if geometry.input_size[0] == 1 else geometry.stride[0]
    sw = wide if geometry.input_size[1] == 1 else geometry.stride[1]
    down, across = -(-tall // sh), -(-wide // sw)
    if (down * sh, across * sw) != (tall, wide):  # padding by 0 would still copy the weight
        kernel = F.pad(kernel, (0, across * sw - wide, 0, down * sh - tall))
    return kernel.reshape(c, outputs, down, sh, across, sw).permute(2, 4, 0, 3, 5, 1)


def cropped(full: Tensor, geometry: Geometry) -> Tensor:
    """Return the window of the full output that `geometry` describes: cropped, and extended with zeros if too short."""
    (top, left), (y, x), (height, width) = geometry.padding, geometry.output_size, full.shape[2:]
    return bordered(full, -left, left + x - width, -top, top + y - height)


def bordered(image: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """Add this many zeros at each side; a negative number crops the image there, and then the zeros opposite.

    `torch.nn.functional.pad` would crop first, and fail if it has to crop more than the image.
    """
    more = [max(0, zeros) for zeros in (left, right, top, bottom)]
    image = F.pad(image, more) if any(more) else image
    height, width = image.shape[2:]
    rows = slice(max(0, -top), height - max(0, -bottom))
    return part(image, ALL, ALL, rows, slice(max(0, -left), width - max(0, -right)))


def part(x: Tensor, *index: slice) -> Tensor:
    """Return ``x[index]``, never an alias of all of ``x``, which the older vmap does not support."""
    return x[(None, *index)][0]


def like_products(x: Tensor, weight: Tensor) -> Tensor:
    """Return a scalar whose ``new_*`` methods make room for products: batched under the older vmap if a factor is."""
    return x.new_zeros(()) * weight.new_zeros(())
