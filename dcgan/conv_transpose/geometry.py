"""`Geometry`, all sizes of a call, and how the arguments become one: checks of numbers, words and shapes."""

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dcgan.conv_transpose.arithmetic import Pair, full_output_size, full_padding, same_crop

AXES = ("height", "width")
NAMED_PADDINGS = ("valid", "same", "full")
Padding = str | int | Sequence[int] | Sequence[Sequence[int]]


class Geometry(NamedTuple):
    """All sizes of one transposed convolution, as ``(height, width)`` pairs, and the window that it returns.

    Every framework's transposed convolution returns a window of the same full output. The window begins at
    ``padding``, which may be negative, and has size ``output_size``. Where it reaches beyond the full output,
    it is zero.
    """

    input_size: Pair
    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    output_size: Pair

    @property
    def full_size(self) -> Pair:
        """Output size before any cropping."""
        axes = zip(self.input_size, self.kernel_size, self.stride, self.dilation, strict=True)
        height, width = (full_output_size(*axis) for axis in axes)
        return height, width


def geometry_of(
    input_size: torch.Size,
    weight_size: torch.Size,
    bias_size: torch.Size | None,
    stride: Pair,
    padding: str | Pair | tuple[Pair, Pair],
    output_padding: Pair,
    groups: int,
    dilation: Pair,
) -> Geometry:
    """Return the geometry of a valid call; raise an error that names the argument and its value for any other.

    Raises:
        RuntimeError, TypeError, ValueError: as in `conv_transpose2d`.
    """
    _check_sizes(input_size, weight_size, bias_size, groups)
    for name, numbers, least in (
        ("output_padding", output_padding, 0),
        ("stride", stride, 1),
        ("dilation", dilation, 1),
    ):
        if min(numbers) < least:
            raise RuntimeError(f"{name} must be at least {least}, got {name}={numbers}")
    for axis, extra, step, spread in zip(AXES, output_padding, stride, dilation, strict=True):
        if extra >= step and extra >= spread:
            raise RuntimeError(
                "output_padding must be smaller than stride or dilation, but along the "
                f"{axis} output_padding={extra}, stride={step}, dilation={spread}"
            )
    if padding == "same" and any(output_padding):
        raise ValueError(f"padding='same' already says the output's size; it leaves no output_padding={output_padding}")
    (h, w), (k, l) = input_size[-2:], weight_size[2:]
    full = Geometry((h, w), (k, l), stride, (0, 0), dilation, groups, (0, 0))
    (top, bottom), (left, right) = _crops(padding, full)
    height, width = (size + extra for size, extra in zip(full.full_size, output_padding, strict=True))
    output_size = (height - top - bottom, width - left - right)
    if min(output_size) < 1:
        raise RuntimeError(
            f"output size {output_size} is too small: padding={padding} crops all of the output of "
            f"an input of size {list(input_size)}"
        )
    return full._replace(padding=(top, left), output_size=output_size)


def sized(
    input: Tensor,
    output_size: Sequence[int],
    padding: Padding,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[Padding, Sequence[int]]:
    """Return the padding and the output_padding that give an output of height and width ``output_size[-2:]``.

    Raises:
        ValueError: if none do, or if ``output_size`` has neither 2 elements nor one per dimension.
    """
    if input.dim() not in (3, 4):  # `geometry_of` will reject this, after the output size, as PyTorch does
        return padding, (0, 0)
    output_size = tuple(output_size)
    if len(output_size) not in (2, input.dim()):
        raise ValueError(
            f"output_size must have 2 or {input.dim()} elements for {input.dim()}D input, got output_size={output_size}"
        )
    size, wanted = (input.shape[-2], input.shape[-1]), output_size[-2:]
    steps, spread = pair("stride", stride), pair("dilation", dilation)
    geometry = Geometry(size, pair("kernel_size", kernel_size), steps, (0, 0), spread, 1, (0, 0))
    if isinstance(padding, str) and padding == "same":
        axes = zip(size, kernel_size, stride, dilation, wanted, strict=True)
        return [same_crop(*axis) for axis in axes], (0, 0)
    cropped = zip(geometry.full_size, _crops(checked_padding(padding), geometry), strict=True)
    least = [full - before - after for full, (before, after) in cropped]
    extra = [one - small for one, small in zip(wanted, least, strict=True)]
    if not all(0 <= more < step for more, step in zip(extra, steps, strict=True)):
        most = [small + step - 1 for small, step in zip(least, steps, strict=True)]
        raise ValueError(
            f"requested an output size of {wanted}, but valid sizes range from {least} to {most} "
            f"(for an input of size {list(input.shape)})"
        )
    return padding, extra


def checked_padding(padding: Padding) -> str | Pair | tuple[Pair, Pair]:
    """Return a name, the crop of both sides along each axis, or ``(top, bottom), (left, right)``.

    Raises:
        ValueError: for an unknown name.
        RuntimeError: for a wrong count of numbers, or negative numbers unless all four sides are given.
        TypeError: for a value that is not an integer.
    """
    if isinstance(padding, str):
        check_named(padding)
        return padding
    if isinstance(padding, Iterable) and any(isinstance(side, Sequence) for side in padding):
        if len(padding) != 2 or not all(isinstance(side, Sequence) and len(side) == 2 for side in padding):
            raise RuntimeError(f"padding must be ((top, bottom), (left, right)), got padding={padding!r}")
        vertical, horizontal = (pair("padding", side) for side in padding)
        return vertical, horizontal
    both = pair("padding", padding)
    if min(both) < 0:
        raise RuntimeError(f"padding must be at least 0, got padding={both}")
    return both


def check_named(padding: str) -> None:
    """Raise a ValueError for a word that is not one of `NAMED_PADDINGS`."""
    if padding not in NAMED_PADDINGS:
        raise ValueError(f"padding={padding!r} is unknown; choose {', '.join(NAMED_PADDINGS)} or numbers")


def pair(name: str, value: Any) -> Pair:
    """Return one integer for both axes, or two integers, as a pair.

    Raises:
        TypeError: for a value that is not an integer.
        RuntimeError: for any other count.
    """
    if type(value) is tuple and len(value) == 2 and type(value[0]) is type(value[1]) is int:
        return value  # the usual case, kept fast: isinstance with an abstract class is slow
    values = tuple(value) if isinstance(value, Iterable) else (value,)
    if len(values) == 1:
        values *= 2
    if not all(map(_is_size, values)):
        raise TypeError(f"conv_transpose2d(): {name} must be ints, got {value!r}")
    if len(values) != 2:
        raise RuntimeError(f"expected {name} to be one integer or a list of 2, got {name}={value!r}")
    first, second = (int(one) if isinstance(one, Integral) else one for one in values)  # a SymInt stays a SymInt
    return first, second


def _crops(padding: str | Pair | tuple[Pair, Pair], geometry: Geometry) -> tuple[Pair, Pair]:
    """Return what ``padding`` crops from the full output of ``geometry``: ``(top, bottom), (left, right)``.

    ``"valid"`` crops nothing, ``"same"`` leaves ``stride`` times the input's size, ``"full"`` crops ``F - 1``.
    """
    g = geometry
    if padding == "same":
        axes = zip(g.input_size, g.kernel_size, g.stride, g.dilation, strict=True)
        before_after = [same_crop(*axis) for axis in axes]
    elif isinstance(padding, str):
        sides = map(full_padding, g.kernel_size, g.dilation) if padding == "full" else (0, 0)
        before_after = [(side, side) for side in sides]
    else:
        before_after = [side if isinstance(side, tuple) else (side, side) for side in padding]
    return before_after[0], before_after[1]


def _check_sizes(input_size: torch.Size, weight_size: torch.Size, bias_size: torch.Size | None, groups: int) -> None:
    if len(input_size) not in (3, 4):
        raise RuntimeError(
            "Expected 3D (unbatched) or 4D (batched) input to conv_transpose2d, "
            f"but got input of size: {list(input_size)}"
        )
    if len(weight_size) != 4:
        raise RuntimeError(f"weight must be (in, out / groups, H, W), got size {list(weight_size)}")
    channels = input_size[-3]
    if not _is_size(groups):
        raise TypeError(f"conv_transpose2d(): groups must be an int, got {groups!r}")
    if groups < 1:
        raise RuntimeError(f"groups must be at least 1, got groups={groups}")
    if 0 in weight_size:
        raise RuntimeError(f"weight must not be empty, got size {list(weight_size)}")
    if weight_size[0] % groups:
        raise RuntimeError(f"groups={groups} must divide the {weight_size[0]} input channels of weight")
    if channels != weight_size[0]:
        raise RuntimeError(
            f"weight of size {list(weight_size)} expects input with {weight_size[0]} channels, "
            f"got input of size {list(input_size)} with {channels}"
        )
    outputs = weight_size[1] * groups
    if bias_size is not None and tuple(bias_size) != (outputs,):
        raise RuntimeError(f"bias must be of size [{outputs}], got size {list(bias_size)}")
    if 0 in input_size[-2:]:
        raise RuntimeError(f"input must have at least one pixel, got size {list(input_size)}")


def _is_size(value: Any) -> bool:
    """Whether ``value`` is an integer, or a symbol for one in a graph; a bool is not."""
    return isinstance(value, Integral | torch.SymInt) and not isinstance(value, bool)
