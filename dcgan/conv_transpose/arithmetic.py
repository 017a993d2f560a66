"""The sizes of convolutions and transposed convolutions: formulas for one axis.

The letters follow Stanford's course CS231n, the rest Dumoulin and Visin 2016 (arXiv 1603.07285): input size
``W1``, output size ``W2``, kernel ``F``, stride ``S``, padding ``P``. A dilated kernel spans
``d * (F - 1) + 1`` pixels, and that span takes the place of ``F`` in every formula. All sizes are in pixels.
"""

Pair = tuple[int, int]


def effective_kernel_size(kernel_size: int, dilation: int = 1) -> int:
    """Pixels from the first to the last tap of a kernel, both included."""
    return dilation * (kernel_size - 1) + 1


def conv_output_size(size: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Output size of a convolution: ``W2 = floor((W1 - F + 2P) / S) + 1``.

    Because of the floor, several ``W1`` can give the same ``W2``, see `conv_input_sizes`.
    """
    return (size + 2 * padding - effective_kernel_size(kernel_size, dilation)) // stride + 1


def conv_input_sizes(output_size: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> range:
    """All ``stride`` input sizes that a convolution maps to ``output_size``, smallest first.

    The ``i``-th of them, counted from 0, is the transposed convolution's output size with ``output_padding=i``.
    """
    smallest = conv_transpose_output_size(output_size, kernel_size, stride, padding, 0, dilation)
    return range(smallest, smallest + stride)


def transpose_padding(kernel_size: int, padding: int = 0, dilation: int = 1) -> int:
    """Padding of the convolution that computes the transpose: ``P_T = F - P - 1``.

    It is negative if the padding is larger than ``F - 1``; the input is then cropped instead.
    """
    return effective_kernel_size(kernel_size, dilation) - padding - 1


def inserted_zeros(stride: int) -> int:
    """Zeros between neighbouring input pixels in the transpose of a strided convolution: ``S - 1``."""
    return stride - 1


def full_output_size(size: int, kernel_size: int, stride: int = 1, dilation: int = 1) -> int:
    """Output size before any cropping: ``(W2 - 1) S + F``. Every framework returns a window of it."""
    return (size - 1) * stride + effective_kernel_size(kernel_size, dilation)


def overlap(kernel_size: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """The fewest and the most taps that meet at an output pixel, along an axis and away from the border.

    If the two differ, equal weights turn a constant input into an uneven output: a checkerboard (Odena et al. 2016).
    """
    counts = [sum((pixel - tap * dilation) % stride == 0 for tap in range(kernel_size)) for pixel in range(stride)]
    return min(counts), max(counts)


def conv_transpose_output_size(
    size: int, kernel_size: int, stride: int = 1, padding: int = 0, output_padding: int = 0, dilation: int = 1
) -> int:
    """Output size of a transposed convolution: ``W1 = (W2 - 1) S - 2P + F + output_padding``."""
    return full_output_size(size, kernel_size, stride, dilation) - 2 * padding + output_padding


def output_padding_for(
    output_size: int, size: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> int:
    """The ``output_padding`` with which a transposed convolution turns ``size`` into ``output_size``.

    This is the purpose of the argument: the floor of a strided convolution drops up to ``stride - 1`` pixels,
    so its transpose must be told which of the possible input sizes to restore.

    Raises:
        ValueError: if no convolution of this geometry maps ``output_size`` to ``size``.
    """
    possible = conv_input_sizes(size, kernel_size, stride, padding, dilation)
    if output_size not in possible:
        raise ValueError(
            f"no output_padding turns size {size} into {output_size}: with kernel_size={kernel_size}, "
            f"stride={stride}, padding={padding}, dilation={dilation} the output can be "
            f"{possible.start} to {possible.stop - 1}"
        )
    return output_size - possible.start


def same_padding(size: int, kernel_size: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """*Same* padding of a convolution, ``(before, after)``, so that ``W2 = ceil(W1 / S)``.

    If the total is odd, the larger half goes to the end, as in TensorFlow.
    """
    output_size = -(-size // stride)
    total = max((output_size - 1) * stride + effective_kernel_size(kernel_size, dilation) - size, 0)
    return total // 2, total - total // 2


def full_padding(kernel_size: int, dilation: int = 1) -> int:
    """*Full* padding of a convolution, ``F - 1``: every output pixel that sees at least one input pixel is kept."""
    return effective_kernel_size(kernel_size, dilation) - 1


def same_crop(
    size: int, kernel_size: int, stride: int = 1, dilation: int = 1, output_size: int | None = None
) -> tuple[int, int]:
    """The crop ``(before, after)`` of the full output in the transpose of a *same* convolution.

    If the padding of that convolution is uneven, so is the crop. ``padding`` and ``output_padding`` cannot
    express such a crop: with kernel 3 and stride 2 it is (0, 1). A negative number extends the output.

    Args:
        size: input size of the transposed convolution.
        kernel_size: ``F``.
        stride: ``S``.
        dilation: step between the taps.
        output_size: one of the ``stride`` sizes that the *same* convolution maps to ``size``; the default is
            the largest of them, ``size * stride``.

    Raises:
        ValueError: if ``output_size`` is not one of these sizes.
    """
    output_size = size * stride if output_size is None else output_size
    if not (size - 1) * stride < output_size <= size * stride:
        raise ValueError(
            f"no same convolution of stride={stride} turns size {output_size} into {size}; "
            f"output_size can be {(size - 1) * stride + 1} to {size * stride}"
        )
    before, _ = same_padding(output_size, kernel_size, stride, dilation)
    return before, full_output_size(size, kernel_size, stride, dilation) - output_size - before
