"""Transposed convolutions of TensorFlow, Keras, JAX and ONNX, translated.

All frameworks crop the same full output, ``(size - 1) * stride + dilation * (kernel - 1) + 1`` long. They differ
in what they crop and in how they lay out the weight. The functions ``*_crop`` return, for one axis, the pair
``(before, after)`` that `conv_transpose2d` takes as ``padding=(pair of the height, pair of the width)``; a
negative number extends the output with zeros. PyTorch's own pair is ``(padding, padding - output_padding)``, which
cannot express an uneven crop whose larger half is at the end. Ports of *same* layers with kernel 3 or 5 and
stride 2 are therefore silently shifted by one pixel.

Sources: each framework's documentation and, where that is silent, its results.
"""

from torch import Tensor

from dcgan.conv_transpose.arithmetic import Pair, effective_kernel_size, full_output_size, same_crop


def tensorflow_crop(
    size: int, kernel_size: int, stride: int, padding: str, output_size: int | None = None, dilation: int = 1
) -> Pair:
    """The crop of `tf.nn.conv2d_transpose`.

    Args:
        size: input size along the axis.
        kernel_size: taps.
        stride: ``strides`` along the axis.
        padding: ``"SAME"`` or ``"VALID"``, in upper or lower case.
        output_size: the axis's entry of ``output_shape``; the default is the largest possible for *same* and
            the whole full output for *valid*.
        dilation: step between the taps.

    Raises:
        ValueError: if the forward convolution would not map ``output_size`` to ``size``, or for any other
            padding.
    """
    if _named(padding) == "same":
        return same_crop(size, kernel_size, stride, dilation, output_size)
    full = full_output_size(size, kernel_size, stride, dilation)
    output_size = full if output_size is None else output_size
    if not full <= output_size < full + stride:
        raise ValueError(
            f"no valid convolution of kernel_size={kernel_size}, stride={stride} turns size {output_size} "
            f"into {size}; output_size can be {full} to {full + stride - 1}"
        )
    return 0, full - output_size


def keras_crop(
    size: int,
    kernel_size: int,
    stride: int,
    padding: str = "valid",
    output_padding: int | None = None,
    dilation: int = 1,
) -> Pair:
    """The crop of `keras.layers.Conv2DTranspose`.

    Args:
        size: input size along the axis.
        kernel_size: taps.
        stride: ``strides`` along the axis.
        padding: ``"same"`` or ``"valid"``.
        output_padding: as in Keras, where None is not 0: it extends a smaller output to ``size * stride``.
        dilation: ``dilation_rate``.

    Raises:
        ValueError: for any other padding.
    """
    span = effective_kernel_size(kernel_size, dilation)
    if _named(padding) == "valid":
        return 0, span - max(span, stride) if output_padding is None else -output_padding
    if output_padding is None:
        return same_crop(size, kernel_size, stride, dilation)
    full = full_output_size(size, kernel_size, stride, dilation)
    wanted = (size - 1) * stride + span % 2 + output_padding
    before = max(full - wanted, 0) // 2
    return before, full - wanted - before


def jax_crop(
    size: int,
    kernel_size: int,
    stride: int,
    padding: str | Pair = "SAME",
    dilation: int = 1,
    *,
    consistent: bool = False,
) -> Pair:
    """The crop of `jax.lax.conv_transpose` and `flax.linen.ConvTranspose`.

    Args:
        size: input size along the axis.
        kernel_size: taps.
        stride: ``strides`` along the axis.
        padding: ``"SAME"``, ``"VALID"``, or a pair: the zeros before and after the zero-inserted input.
        dilation: ``rhs_dilation``.
        consistent: ``use_consistent_padding=True``, which makes a pair the forward convolution's padding.

    Raises:
        ValueError: for any other padding.
    """
    if not isinstance(padding, str):
        last = effective_kernel_size(kernel_size, dilation) - 1
        return padding if consistent else (last - padding[0], last - padding[1])
    return keras_crop(size, kernel_size, stride, padding, None, dilation)


def onnx_crop(
    size: int,
    kernel_size: int,
    stride: int = 1,
    pads: Pair = (0, 0),
    output_padding: int = 0,
    dilation: int = 1,
    *,
    auto_pad: str = "NOTSET",
    output_size: int | None = None,
) -> Pair:
    """The crop of ONNX's ``ConvTranspose`` operator.

    With ``SAME_*`` the output size is ``size * stride``, as the standard says; onnxruntime makes it smaller if the
    stride is larger than the dilated kernel and ``output_padding`` together.

    Args:
        size: input size along the axis.
        kernel_size: taps.
        stride: the axis's entry of ``strides``; likewise for the arguments below that ONNX takes as lists.
        pads: the crop before and after.
        output_padding: additional pixels at the end.
        dilation: step between the taps.
        auto_pad: ``"NOTSET"``, ``"SAME_UPPER"``, ``"SAME_LOWER"`` or ``"VALID"``.
        output_size: the axis's entry of ``output_shape``, which replaces ``pads``.

    Raises:
        ValueError: for any other ``auto_pad``.
    """
    if auto_pad not in ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"):
        raise ValueError(f"auto_pad={auto_pad!r} is unknown; choose NOTSET, SAME_UPPER, SAME_LOWER or VALID")
    full = full_output_size(size, kernel_size, stride, dilation)
    if output_size is None and auto_pad.startswith("SAME"):
        output_size = size * stride
    if output_size is None:
        before, after = pads if auto_pad == "NOTSET" else (0, 0)
        return before, after - output_padding
    total = full + output_padding - output_size
    # Python's division rounds down, as the operator's tests require for a negative total, too.
    before = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
    return before, full - output_size - before


def keras_weight(kernel: Tensor) -> Tensor:
    """Return a TensorFlow or Keras kernel ``(K, L, O, C)`` as ``(C, O, K, L)``."""
    return kernel.permute(3, 2, 0, 1)


def jax_weight(kernel: Tensor, *, transpose_kernel: bool = False) -> Tensor:
    """Return a JAX or Flax kernel as ``(C, O, K, L)``.

    Args:
        kernel: ``(K, L, C, O)``, or ``(K, L, O, C)`` with ``transpose_kernel``.
        transpose_kernel: the argument of that name. Without it JAX correlates the zero-inserted input with the
            kernel as it is, so the weight of the transposed convolution is the mirror image of the kernel.
    """
    return kernel.permute(3, 2, 0, 1) if transpose_kernel else kernel.permute(2, 3, 0, 1).flip(2, 3)


def _named(padding: str) -> str:
    if padding.lower() not in ("same", "valid"):
        raise ValueError(f"padding={padding!r} is unknown; choose same or valid")
    return padding.lower()
