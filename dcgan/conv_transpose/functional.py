"""`conv_transpose2d`: the arguments checked, the algorithm chosen, the bias added."""

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from dcgan.conv_transpose.algorithms import ALGORITHMS, algorithm_named
from dcgan.conv_transpose.arithmetic import Geometry, Pair, full_padding, same_crop
from dcgan.conv_transpose.convolution import in_graph
from dcgan.conv_transpose.gradients import Derivative, derivative, is_autocast_on

AXES = ("height", "width")
NAMED_PADDINGS = ("valid", "same", "full")
Padding = str | int | Sequence[int] | Sequence[Sequence[int]]


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
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
        padding: rows and columns cropped from each side of the full output. Beyond PyTorch's function:
            ``((top, bottom), (left, right))``, where a negative number extends by zeros, or the padding
            of the convolution that this undoes, see `crops`: ``"valid"``, ``"same"`` or ``"full"``.
        output_padding: further rows and columns at the bottom and the right. They are computed like all
            others, not filled with zeros. Less than the stride or less than the dilation.
        groups: number of independent blocks of channels.
        dilation: step between the taps of the kernel.
        algorithm: a name in `dcgan.conv_transpose.ALGORITHMS`.

    Returns:
        ``(N, O, Y, X)`` or ``(O, Y, X)`` with
        ``Y = (H - 1) * stride - top - bottom + dilation * (K - 1) + output_padding + 1``, in the dtype of
        the input, or that of autocast. Float16 and bfloat16 are computed in float32 on the CPU and
        rounded once.

    Raises:
        RuntimeError: for shapes and values that PyTorch's function refuses, naming the argument.
        TypeError, ValueError: for what is no tensor and no integer; for an unknown algorithm or padding.
    """
    compute = algorithm_named(algorithm)
    input, weight = _as_autocast_has_it("input", input), _as_autocast_has_it("weight", weight)
    bias = bias if bias is None else _as_autocast_has_it("bias", bias)
    geometry = _checked_geometry(
        input,
        weight,
        bias,
        stride=_pair("stride", stride),
        padding=padding,
        output_padding=_pair("output_padding", output_padding),
        groups=groups,
        dilation=_pair("dilation", dilation),
    )
    batch, dtype = input if input.dim() == 4 else input.unsqueeze(0), input.dtype
    if dtype in (torch.float16, torch.bfloat16) and input.device.type == "cpu":
        batch, weight, bias = batch.float(), weight.float(), bias if bias is None else bias.float()
    # A graph gets the plain operations, whose gradients the compiler finds; it knows no `Function` with jvp.
    apply = derivative if in_graph() and compute is not ALGORITHMS["matrix"] else Derivative.apply
    output: Tensor = apply("output", batch, weight, geometry, compute)
    if bias is not None:
        output = output + bias.view(-1, 1, 1)
    return output.to(dtype) if input.dim() == 4 else output.to(dtype).squeeze(0)


def crops(padding: Padding, geometry: Geometry) -> tuple[Pair, Pair]:
    """What ``padding`` crops from the full output of ``geometry``: ``(top, bottom), (left, right)``.

    ``"valid"`` is nothing, ``"same"`` leaves ``stride`` times the input's size, ``"full"`` is ``F - 1``.

    Raises:
        ValueError: for an unknown name.
        RuntimeError: for negative numbers that are not given side by side, or for too many.
        TypeError: for what is not a number.
    """
    axes = list(
        zip(geometry.input_size, geometry.kernel_size, geometry.stride, geometry.dilation, strict=True)
    )
    if isinstance(padding, str):
        check_named(padding)
        if padding == "same":
            top_bottom, left_right = (same_crop(*axis) for axis in axes)
            return top_bottom, left_right
        height, width = (full_padding(axis[1], axis[3]) if padding == "full" else 0 for axis in axes)
    elif isinstance(padding, Iterable) and any(isinstance(side, Sequence) for side in padding):
        if not all(isinstance(side, Sequence) and len(side) == 2 for side in padding) or len(padding) != 2:
            raise RuntimeError(f"padding must be ((top, bottom), (left, right)), got padding={padding!r}")
        vertical, horizontal = (_pair("padding", side) for side in padding)
        return vertical, horizontal
    else:
        height, width = _pair("padding", padding)
        if min(height, width) < 0:
            raise RuntimeError(f"padding must be at least 0, got padding={(height, width)}")
    return (height, height), (width, width)


def sized(
    input: Tensor,
    output_size: tuple[int, ...],
    padding: Padding,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[Padding, Sequence[int]]:
    """The padding and the output_padding with which an output has the last two of ``output_size``.

    Raises:
        ValueError: if there are none, or if ``output_size`` has neither 2 elements nor one per dimension.
    """
    if len(output_size) not in (2, input.dim()):
        raise ValueError(
            f"output_size must have 2 or {input.dim()} elements for {input.dim()}D input, "
            f"got output_size={output_size}"
        )
    size, wanted = (input.shape[-2], input.shape[-1]), output_size[-2:]
    steps, spread = _pair("stride", stride), _pair("dilation", dilation)
    geometry = Geometry(size, _pair("kernel_size", kernel_size), steps, (0, 0), spread, 1, (0, 0))
    if isinstance(padding, str) and padding == "same":
        axes = zip(size, kernel_size, stride, dilation, wanted, strict=True)
        return [same_crop(*axis) for axis in axes], (0, 0)
    cropped = zip(geometry.full_size, crops(padding, geometry), strict=True)
    least = [full - before - after for full, (before, after) in cropped]
    extra = [one - small for one, small in zip(wanted, least, strict=True)]
    if not all(0 <= more < step for more, step in zip(extra, steps, strict=True)):
        most = [small + step - 1 for small, step in zip(least, steps, strict=True)]
        raise ValueError(
            f"requested an output size of {wanted}, but valid sizes range from {least} to {most} "
            f"(for an input of size {list(input.shape)})"
        )
    return padding, extra


def check_named(padding: str) -> None:
    """Refuse a padding that is a word, but none of `NAMED_PADDINGS`, with a ValueError."""
    if padding not in NAMED_PADDINGS:
        raise ValueError(f"padding={padding!r} is unknown; choose {', '.join(NAMED_PADDINGS)} or numbers")


def _as_autocast_has_it(name: str, tensor: Tensor) -> Tensor:
    """Autocast runs convolutions in its lower precision, except for float64 and what is not floating."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"conv_transpose2d(): {name} must be a tensor, got {tensor!r}")
    device = tensor.device.type
    eligible = tensor.is_floating_point() and tensor.dtype != torch.float64
    return tensor.to(torch.get_autocast_dtype(device)) if eligible and is_autocast_on(device) else tensor


def _is_size(value: Any) -> bool:
    """Whether it is an integer, or stands for one in a graph."""
    return isinstance(value, Integral | torch.SymInt) and not isinstance(value, bool)


def _pair(name: str, value: Any) -> Pair:
    values = tuple(value) if isinstance(value, Iterable) else (value,)
    if len(values) == 1:
        values *= 2
    if not all(map(_is_size, values)):
        raise TypeError(f"conv_transpose2d(): {name} must be ints, got {value!r}")
    if len(values) != 2:
        raise RuntimeError(f"expected {name} to be one integer or a list of 2, got {name}={value!r}")
    return values[0], values[1]


def _checked_geometry(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: Pair,
    padding: Padding,
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
        ("output_padding", output_padding, 0),
        ("stride", stride, 1),
        ("dilation", dilation, 1),
    ):
        if min(pair) < least:
            raise RuntimeError(f"{name} must be at least {least}, got {name}={pair}")
    _check_tensors(input, weight, bias, groups)
    for axis, extra, step, spread in zip(AXES, output_padding, stride, dilation, strict=True):
        if extra >= step and extra >= spread:
            raise RuntimeError(
                "output_padding must be smaller than stride or dilation, but along the "
                f"{axis} output_padding={extra}, stride={step}, dilation={spread}"
            )
    if isinstance(padding, str) and padding == "same" and any(output_padding):
        raise ValueError(
            f"padding='same' already says the output's size; it leaves no output_padding={output_padding}"
        )
    (h, w), (k, l) = input.shape[-2:], weight.shape[2:]
    full = Geometry((h, w), (k, l), stride, (0, 0), dilation, groups, (0, 0))
    (top, bottom), (left, right) = crops(padding, full)
    height, width = (size + extra for size, extra in zip(full.full_size, output_padding, strict=True))
    output_size = (height - top - bottom, width - left - right)
    if min(output_size) < 1:
        raise RuntimeError(
            f"output size {output_size} is too small: padding={padding} crops all of the output of "
            f"an input of size {list(input.shape)}"
        )
    return full._replace(padding=(top, left), output_size=output_size)


def _check_tensors(input: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    channels = input.shape[-3]
    if not _is_size(groups):
        raise TypeError(f"conv_transpose2d(): groups must be an int, got {groups!r}")
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
    if 0 in input.shape[-2:]:
        raise RuntimeError(f"input must have at least one pixel, got size {list(input.shape)}")
    tensors = {"input": input, "weight": weight} | ({} if bias is None else {"bias": bias})
    if len({tensor.dtype for tensor in tensors.values()}) > 1:
        dtypes = ", ".join(f"{name} is {tensor.dtype}" for name, tensor in tensors.items())
        raise RuntimeError(f"input, weight and bias must have one dtype, but {dtypes}")
