"""`conv_transpose2d`: the arguments checked, the algorithm chosen, the bias added."""

from collections.abc import Sequence

from torch import Tensor

from dcgan.conv_transpose.algorithms import ALGORITHMS, Algorithm, Geometry, Pair
from dcgan.conv_transpose.arithmetic import conv_transpose_output_size
from dcgan.conv_transpose.gradients import Derivative

AXES = ("height", "width")


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
    *,
    algorithm: str = "auto",
) -> Tensor:
    """Transposed convolution, with the arguments and the result of `torch.nn.functional.conv_transpose2d`.

    Args:
        input: ``(N, C, H, W)`` or ``(C, H, W)``.
        weight: ``(C, O / groups, K, L)``.
        bias: ``(O,)`` or None.
        stride: step between the places where neighbouring input pixels put their kernels.
        padding: rows and columns cropped from each side of the full output.
        output_padding: further rows and columns at the bottom and the right. They are computed like all
            others, not filled with zeros. Less than the stride or less than the dilation.
        groups: number of independent blocks of channels.
        dilation: step between the taps of the kernel.
        algorithm: ``"auto"`` (the fastest, at present always ``"gemm"``) or a name in
            `dcgan.conv_transpose.ALGORITHMS`. All give the same numbers up to rounding.

    Returns:
        ``(N, O, Y, X)`` or ``(O, Y, X)`` with
        ``Y = (H - 1) * stride - 2 * padding + dilation * (K - 1) + output_padding + 1``.

    Raises:
        RuntimeError: for shapes and values that PyTorch's function refuses, naming the argument.
        ValueError: for an unknown algorithm.
    """
    compute = algorithm_named(algorithm)
    geometry = _checked_geometry(
        input,
        weight,
        bias,
        stride=_pair("stride", stride),
        padding=_pair("padding", padding),
        output_padding=_pair("output_padding", output_padding),
        groups=groups,
        dilation=_pair("dilation", dilation),
    )
    batch = input if input.dim() == 4 else input.unsqueeze(0)
    output: Tensor = Derivative.apply("output", batch, weight, geometry, compute)
    if bias is not None:
        output = output + bias.view(-1, 1, 1)
    return output if input.dim() == 4 else output.squeeze(0)


def algorithm_named(name: str) -> Algorithm:
    """The algorithm that ``algorithm=name`` asks for.

    Raises:
        ValueError: if there is none of that name.
    """
    if name == "auto":
        return ALGORITHMS["gemm"]
    if name not in ALGORITHMS:
        known = ", ".join(["auto", *ALGORITHMS])
        raise ValueError(f"algorithm={name!r} is unknown; choose one of {known}")
    return ALGORITHMS[name]


def _pair(name: str, value: int | Sequence[int]) -> Pair:
    values = (value,) * 2 if isinstance(value, int) else tuple(value)
    if len(values) == 1:
        values *= 2
    if not all(isinstance(v, int) for v in values):
        raise TypeError(f"conv_transpose2d(): {name} must be ints, got {value!r}")
    if len(values) != 2:
        raise RuntimeError(f"expected {name} to be one integer or a list of 2, got {name}={value!r}")
    return values[0], values[1]


def _two(sizes: Sequence[int]) -> Pair:
    return sizes[0], sizes[1]


def _checked_geometry(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: Pair,
    padding: Pair,
    output_padding: Pair,
    groups: int,
    dilation: Pair,
) -> Geometry:
    """The geometry of a valid call; one sentence naming the argument and its value for any other."""
    if input.dim() not in (3, 4):
        raise RuntimeError(
            "Expected 3D (unbatched) or 4D (batched) input to conv_transpose2d, "
            f"but got input of size: {list(input.shape)}"
        )
    if weight.dim() != 4:
        raise RuntimeError(f"weight must be (in, out / groups, H, W), got size {list(weight.shape)}")
    for name, pair, least in (
        ("padding", padding, 0),
        ("output_padding", output_padding, 0),
        ("stride", stride, 1),
        ("dilation", dilation, 1),
    ):
        if min(pair) < least:
            raise RuntimeError(f"{name} must be at least {least}, got {name}={pair}")
    _check_channels(input, weight, bias, groups)
    if 0 in input.shape[-2:]:
        raise RuntimeError(f"input must have at least one pixel, got size {list(input.shape)}")
    for axis, extra, step, spread in zip(AXES, output_padding, stride, dilation, strict=True):
        if extra >= step and extra >= spread:
            raise RuntimeError(
                "output_padding must be smaller than stride or dilation, but along the "
                f"{axis} output_padding={extra}, stride={step}, dilation={spread}"
            )
    input_size, kernel_size = _two(input.shape[-2:]), _two(weight.shape[2:])
    axes = zip(input_size, kernel_size, stride, padding, output_padding, dilation, strict=True)
    output_size = _two([conv_transpose_output_size(*axis) for axis in axes])
    if min(output_size) < 1:
        raise RuntimeError(
            f"output size {output_size} is too small: padding={padding} crops all of the output of "
            f"an input of size {list(input.shape)}"
        )
    return Geometry(input_size, kernel_size, stride, padding, dilation, groups, output_size)


def _check_channels(input: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    channels = input.shape[-3]
    if groups < 1:
        raise RuntimeError(f"groups must be at least 1, got groups={groups}")
    if 0 in weight.shape:
        raise RuntimeError(f"weight must not be empty, got size {list(weight.shape)}")
    if weight.shape[0] % groups:
        raise RuntimeError(f"groups={groups} must divide the {weight.shape[0]} input channels of weight")
    if channels != weight.shape[0]:
        raise RuntimeError(
            f"weight of size {list(weight.shape)} expects input with {weight.shape[0]} channels, "
            f"got input of size {list(input.shape)} with {channels}"
        )
    outputs = weight.shape[1] * groups
    if bias is not None and tuple(bias.shape) != (outputs,):
        raise RuntimeError(f"bias must be of size [{outputs}], got size {list(bias.shape)}")
    tensors = {"input": input, "weight": weight} | ({} if bias is None else {"bias": bias})
    if len({tensor.dtype for tensor in tensors.values()}) > 1:
        dtypes = ", ".join(f"{name} is {tensor.dtype}" for name, tensor in tensors.items())
        raise RuntimeError(f"input, weight and bias must have one dtype, but {dtypes}")
