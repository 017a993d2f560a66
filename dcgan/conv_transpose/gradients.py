"""Gradients of the transposed convolution, of every order, from one trilinear form.

With ``T(x, w)`` the transposed convolution, ``C(y, w)`` the convolution of the same geometry and
``W(x, y)`` the correlation of an input with an output::

    <T(x, w), y>  =  <C(y, w), x>  =  <W(x, y), w>

One number from an input, a weight and an output, linear in each of the three. Its derivative by any one
of them needs the other two, and is again linear in these; so the derivatives of `T`, `C` and `W` are `T`,
`C` and `W`, and no order of differentiation leads to a transposed convolution of the framework.
"""

import inspect
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from dcgan.conv_transpose.algorithms import Algorithm
from dcgan.conv_transpose.arithmetic import Geometry, Pair, conv_output_size
from dcgan.conv_transpose.convolution import convolve, correlate, is_channels_last, strides_of
from dcgan.conv_transpose.cutting import bordered
from dcgan.conv_transpose.graphs import nests_forward_mode, plain_only

# Asked once: in a graph PyTorch 2.11 cannot answer.
AUTOCAST = {device for device in ("cpu", "cuda", "mps", "xpu") if torch.amp.is_autocast_available(device)}
ROLES = ("input", "weight", "output")


def by_convolution(weight: Tensor, y: Tensor, geometry: Geometry) -> Tensor:
    """The derivative by the input: the convolution that the transposed one is the transpose of."""
    y, padding = _uncropped(y, geometry)
    return convolve(y, weight, geometry.stride, padding, geometry.dilation, geometry.groups)


def by_correlation(x: Tensor, y: Tensor, geometry: Geometry) -> Tensor:
    """The derivative by the weight."""
    y, padding = _uncropped(y, geometry)
    how = (geometry.kernel_size, geometry.stride, padding, geometry.dilation, geometry.groups)
    return correlate(y, x, *how)


def derivative(wanted: str, first: Tensor, second: Tensor, geometry: Geometry, algorithm: Algorithm) -> Tensor:
    """The derivative of the form by the role ``wanted``, given the other two in the order of `ROLES`.

    ``wanted="output"`` is the transposed convolution, computed by ``algorithm``. In channels_last if one of the two is.
    """
    operator = {"output": algorithm, "input": by_convolution, "weight": by_correlation}[wanted]
    with without_autocast(first.device.type):
        return _in_format(operator(first, second, geometry), first, second)


class Derivative(Function):
    """`derivative`, itself differentiable: by reverse mode, forward mode and vmap, again and again."""

    forward = staticmethod(derivative)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep both factors."""
        ctx.wanted, first, second, *ctx.how = inputs
        ctx.save_for_backward(first, second)
        ctx.save_for_forward(first, second)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The same form once more, with the gradient in the role that was wanted."""
        given = [role for role in ROLES if role != ctx.wanted]
        saved = ctx.saved_tensors  # asked for once: activation checkpointing computes them anew, and only once
        values = {role: value.conj() for role, value in zip(given, saved, strict=True)}
        # The gradient may come in either format; that of the factors decides, as with PyTorch's layer.
        as_it_is = plain_only() or is_channels_last(grad) == any(map(is_channels_last, saved))
        values[ctx.wanted] = grad if as_it_is else _in_format(grad, *saved)
        # Nobody differentiates this pass any further? Then without the machinery for it.
        apply = Derivative.apply if torch.is_grad_enabled() else derivative
        first, second = (
            apply(role, *(values[other] for other in ROLES if other != role), *ctx.how) if needed else None
            for role, needed in zip(given, ctx.needs_input_grad[1:3], strict=True)
        )
        return None, first, second, None, None

    @staticmethod
    def jvp(ctx: Any, _: None, d_first: Tensor, d_second: Tensor, *__: None) -> Tensor:
        """The product rule.

        Raises:
            NotImplementedError: within a further forward mode, of which PyTorch would lose a part in silence.
        """
        if nests_forward_mode():
            raise NotImplementedError(
                "forward mode within forward mode takes plain operations: not algorithm='matrix', nor an output made outside"
            )
        first, second = ctx.saved_tensors
        left: Tensor = Derivative.apply(ctx.wanted, d_first, second, *ctx.how)
        right: Tensor = Derivative.apply(ctx.wanted, first, d_second, *ctx.how)
        return left + right

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        wanted: str,
        first: Tensor,
        second: Tensor,
        geometry: Geometry,
        algorithm: Algorithm,
    ) -> tuple[Tensor, int]:
        """Many at once are one: a larger batch where they share the weight, else more groups."""
        size, given = info.batch_size, [role for role in ROLES if role != wanted]
        shared = "weight" in given and in_dims[1 + given.index("weight")] is None
        folded = []
        for role, tensor, dim in zip(given, (first, second), in_dims[1:3], strict=True):
            if shared and role == "weight":
                folded.append(tensor)
                continue
            stacked = tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            axis = 0 if shared or role == "weight" else 1  # the axis that grows
            folded.append(stacked.movedim(0, axis).flatten(axis, axis + 1))
        if not shared:
            geometry = geometry._replace(groups=geometry.groups * size)
        axis = 0 if shared or wanted == "weight" else 1
        result: Tensor = Derivative.apply(wanted, *folded, geometry, algorithm)
        return result.unflatten(axis, (size, -1)), axis


# Computed once: PyTorch would do it anew in every call, for a tenth of what the call of a small layer costs.
derivative.__signature__ = inspect.signature(derivative)  # type: ignore[attr-defined]


def is_autocast_on(device: str) -> bool:
    """Whether operators compute in a lower precision there; not on a device that knows no such thing."""
    return device in AUTOCAST and torch.is_autocast_enabled(device)


def without_autocast(device: str) -> Any:
    """A context in which operators compute in the dtype of what they are given."""
    if is_autocast_on(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def _in_format(result: Tensor, *factors: Tensor) -> Tensor:
    last = any(map(is_channels_last, factors))
    strides = strides_of(result.shape, last)
    graph = plain_only()
    if not graph and result.stride() == strides and not result._is_view():
        return result
    # The older vmap knows no contiguous(memory_format=torch.channels_last).
    result = result.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2) if last else result.contiguous()
    if graph:
        return result
    # As a tensor of its own: a view that a `Function` has made may not be changed in place, as by ReLU(inplace=True).
    unaliased: Tensor = torch.ops.aten._unsafe_view(result, result.shape)
    if last and 1 in result.shape:  # where several strides are possible, and shall still tell the format
        unaliased.as_strided_(result.shape, strides)
    return unaliased


def _uncropped(y: Tensor, geometry: Geometry) -> tuple[Tensor, Pair]:
    """An output and a padding with which a convolution gives the size of the input exactly.

    That is so for the output as it is, unless its window begins before the full output, or ends so far
    behind it that a convolution would find room for a further row.
    """
    if _fits(geometry):
        return y, geometry.padding
    (top, left), (height, width) = geometry.padding, geometry.full_size
    return bordered(y, left, width - left - y.shape[3], top, height - top - y.shape[2]), (0, 0)


def _fits(g: Geometry) -> bool:
    axes = zip(g.output_size, g.kernel_size, g.stride, g.padding, g.dilation, strict=True)
    return min(g.padding) >= 0 and tuple(conv_output_size(*axis) for axis in axes) == g.input_size
