"""The sizes of convolutions and transposed convolutions, one axis at a time.

Letters as in the article and in arXiv 1603.07285: input size ``W1``, output size ``W2``, kernel ``F``,
stride ``S``, padding ``P``. A dilated kernel spans ``d * (F - 1) + 1`` pixels, and that span takes the
place of ``F`` in every formula. All sizes are in pixels.
"""


def kernel_span(kernel_size: int, dilation: int = 1) -> int:
    """Pixels from the first to the last tap of a kernel, both included."""
    return dilation * (kernel_size - 1) + 1


def conv_output_size(
    size: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> int:
    """Output size of a convolution: ``W2 = floor((W1 - F + 2P) / S) + 1``.

    The floor is why one ``W2`` can come from several ``W1``, see `conv_input_sizes`.
    """
    return (size + 2 * padding - kernel_span(kernel_size, dilation)) // stride + 1


def conv_input_sizes(
    output_size: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> range:
    """All ``stride`` input sizes that a convolution maps to ``output_size``, smallest first.

    The ``i``-th of them is what the transposed convolution gives with ``output_padding=i``.
    """
    smallest = conv_transpose_output_size(output_size, kernel_size, stride, padding, 0, dilation)
    return range(smallest, smallest + stride)


def transpose_padding(kernel_size: int, padding: int = 0, dilation: int = 1) -> int:
    """Padding of the convolution that computes the transpose: ``P_T = F - P - 1``.

    Negative where the padding is larger than ``F - 1``: then the input is cropped instead.
    """
    return kernel_span(kernel_size, dilation) - padding - 1


def inserted_zeros(stride: int) -> int:
    """Zeros between neighbouring input pixels in the transpose of a strided convolution: ``S - 1``."""
    return stride - 1


def conv_transpose_output_size(
    size: int, kernel_size: int, stride: int = 1, padding: int = 0, output_padding: int = 0, dilation: int = 1
) -> int:
    """Output size of a transposed convolution: ``W1 = (W2 - 1) S - 2P + F + output_padding``."""
    span = kernel_span(kernel_size, dilation)
    return (size - 1) * stride - 2 * padding + span + output_padding


def output_padding_for(
    output_size: int, size: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> int:
    """The ``output_padding`` with which a transposed convolution turns ``size`` into ``output_size``.

    This is what the argument is for: the strided convolution floors away up to ``stride - 1`` pixels,
    and its mirror needs to be told which of the possible input sizes it came from.

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
