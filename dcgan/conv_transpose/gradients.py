"""Gradients of the transposed convolution, of every order, from one trilinear form.

Let ``T(x, w)`` be the transposed convolution, ``C(y, w)`` the convolution of the same geometry, and
``W(x, y)`` the correlation of an input with an output. Then::

    <T(x, w), y>  =  <C(y, w), x>  =  <W(x, y), w>

This form maps an input, a weight and an output to one number, and is linear in each of the three. Its derivative
by any one of them depends on the other two, and is again linear in both. So the derivatives of `T`, `C` and `W`
are `T`, `C` and `W`, and no order of differentiation reaches a transposed convolution of the framework.
"""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from dcgan.conv_transpose.algorithms import Algorithm
from dcgan.conv_transpose.arithmetic import Pair, conv_output_size
from dcgan.conv_transpose.convolution import convolve, correlate, is_channels_last, strides_of
from dcgan.conv_transpose.cutting import bordered
from dcgan.conv_transpose.geometry import Geometry
from dcgan.conv_transpose.graphs import in_transform, nests_forward_mode, plain_only

# Computed once, here: PyTorch 2.11 cannot answer this in a graph.
AUTOCAST = {device for device in ("cpu", "cuda", "mps", "xpu") if torch.amp.is_autocast_available(device)}
ROLES = ("input", "weight", "output")


def by_convolution(weight: Tensor, y: Tensor, geometry: Geometry) -> Tensor:
    """The derivative by the input: the ordinary convolution of the same geometry."""
    y, padding = _uncropped(y, geometry)
    return convolve(y, weight, geometry.stride, padding, geometry.dilation, geometry.groups)


def by_correlation(x: Tensor, y: Tensor, geometry: Geometry) -> Tensor:
    """The derivative by the weight: the correlation of the input with the output."""
    y, padding = _uncropped(y, geometry)
    how = (geometry.kernel_size, geometry.stride, padding, geometry.dilation, geometry.groups)
    return correlate(y, x, *how)


def derivative(wanted: str, first: Tensor, second: Tensor, geometry: Geometry, algorithm: Algorithm) -> Tensor:
    """The derivative of the form by the role ``wanted``, given the other two factors in the order of `ROLES`.

    ``"output"`` is the transposed convolution, by ``algorithm``. The result is channels_last if either factor is.
    """
    operator = {"output": algorithm, "input": by_convolution, "weight": by_correlation}[wanted]
    with without_autocast(first.device.type):
        return _in_format(operator(first, second, geometry), first, second)


class Derivative(Function):
    """`derivative`, itself differentiable again and again: by reverse mode, forward mode and vmap."""

    forward = staticmethod(derivative)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Save both factors."""
        ctx.wanted, first, second, *ctx.how = inputs
        ctx.save_for_backward(first, second)
        ctx.save_for_forward(first, second)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Apply the same form again, with the gradient in the role that was wanted."""
        given = [role for role in ROLES if role != ctx.wanted]
        saved = ctx.saved_tensors  # read once: activation checkpointing recomputes them only once
        values = {role: value.conj() for role, value in zip(given, saved, strict=True)}
        # The gradient may arrive in either memory format; that of the factors decides, as in PyTorch's layer.
        as_it_is = plain_only() or is_channels_last(grad) == any(map(is_channels_last, saved))
        values[ctx.wanted] = grad if as_it_is else _in_format(grad, *saved)
        # If nothing differentiates this pass further, skip the machinery of `Function`.
        apply = differentiable if torch.is_grad_enabled() else derivative
        first, second = (
            apply(role, *(values[other] for other in ROLES if other != role), *ctx.how) if needed else None
            for role, needed in zip(given, ctx.needs_input_grad[1:3], strict=True)
        )
        return None, first, second, None, None

    @staticmethod
    def jvp(ctx: Any, _: None, d_first: Tensor, d_second: Tensor, *__: None) -> Tensor:
        """Apply the product rule.

        Raises:
            NotImplementedError: inside another forward mode, where PyTorch would silently lose a part.
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
        """Fold the mapped axis into the batch if the weight is shared, otherwise into the groups."""
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


class EagerDerivative(Derivative):
    """`Derivative` without what only `torch.func` needs, which takes a twentieth of the time of the smallest layers."""

    setup_context = Function.setup_context  # not overridden, so PyTorch passes the context to `forward`

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        """Compute the derivative and save both factors."""
        output = derivative(*inputs)
        Derivative.setup_context(ctx, inputs, output)
        return output


def differentiable(wanted: str, first: Tensor, second: Tensor, geometry: Geometry, algorithm: Algorithm) -> Tensor:
    """`derivative`, itself differentiable."""
    function = Derivative if in_transform() else EagerDerivative
    result: Tensor = function.apply(wanted, first, second, geometry, algorithm)
    return result


def is_autocast_on(device: str) -> bool:
    """Whether operators on ``device`` compute in a lower precision; False if the device has no autocast."""
    return device in AUTOCAST and torch.is_autocast_enabled(device)


def without_autocast(device: str) -> Any:
    """Return a context in which operators compute in the dtype of their arguments."""
    if is_autocast_on(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def _in_format(result: Tensor, *factors: Tensor) -> Tensor:
    last = any(map(is_channels_last, factors))
    strides = strides_of(result.shape, last)
    graph = plain_only()
    if not graph and result.stride() == strides and not result._is_view():
        return result
    # The older vmap does not support contiguous(memory_format=torch.channels_last).
    result = result.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2) if last else result.contiguous()
    if graph:
        return result
    # Return no view: a view made in a `Function` may not be changed in place, as by ReLU(inplace=True).
    unaliased: Tensor = torch.ops.aten._unsafe_view(result, result.shape)
    if last and 1 in result.shape:  # several strides are valid then; these identify the format
        unaliased.as_strided_(result.shape, strides)
    return unaliased


def _uncropped(y: Tensor, geometry: Geometry) -> tuple[Tensor, Pair]:
    """Return an output and a padding from which a convolution produces exactly the input's size.

    The output itself will do, unless its window begins before the full output, or ends where the convolution would
    find another number of positions than the input has pixels. It is then put back into the full output.
    """
    if _fits(geometry):
        return y, geometry.padding
    (top, left), (height, width) = geometry.padding, geometry.full_size
    return bordered(y, left, width - left - y.shape[3], top, height - top - y.shape[2]), (0, 0)


def _fits(g: Geometry) -> bool:
    axes = zip(g.output_size, g.kernel_size, g.stride, g.padding, g.dilation, strict=True)
    return min(g.padding) >= 0 and tuple(conv_output_size(*axis) for axis in axes) == g.input_size
