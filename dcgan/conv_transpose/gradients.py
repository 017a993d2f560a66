"""Gradients of the transposed convolution, of every order, from one trilinear form.

With ``T(x, w)`` the transposed convolution, ``C(y, w)`` the convolution of the same geometry and
``W(x, y)`` the correlation of an input with an output::

    <T(x, w), y>  =  <C(y, w), x>  =  <W(x, y), w>

One number from an input, a weight and an output, linear in each of the three. Its derivative by any one
of them needs the other two, and is again linear in these; so the derivatives of `T`, `C` and `W` are `T`,
`C` and `W`, and no order of differentiation leads to a transposed convolution of the framework.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.nn.grad import conv2d_weight

from dcgan.conv_transpose.algorithms import Algorithm, Geometry, Pair
from dcgan.conv_transpose.arithmetic import conv_output_size

ROLES = ("input", "weight", "output")


class Derivative(Function):
    """The derivative of the form by the role ``wanted``, given the other two in the order of `ROLES`.

    ``wanted="output"`` is the transposed convolution. Shapes: input ``(N, C, H, W)``, weight
    ``(C, O / groups, K, L)``, output ``(N, O, Y, X)``.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        wanted: str, first: Tensor, second: Tensor, geometry: Geometry, algorithm: Algorithm
    ) -> Tensor:
        """Compute it."""
        if wanted == "output":
            return algorithm(first, second, geometry)
        if wanted == "input":
            return _convolve(second, first, geometry)
        return _correlate(first, second, geometry)

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
        values = {role: value.conj() for role, value in zip(given, ctx.saved_tensors, strict=True)}
        values[ctx.wanted] = grad
        first, second = (
            Derivative.apply(role, *(values[other] for other in ROLES if other != role), *ctx.how)
            if needed
            else None
            for role, needed in zip(given, ctx.needs_input_grad[1:3], strict=True)
        )
        return None, first, second, None, None

    @staticmethod
    def jvp(ctx: Any, _: None, d_first: Tensor, d_second: Tensor, *__: None) -> Tensor:
        """The product rule."""
        first, second = ctx.saved_tensors
        left: Tensor = Derivative.apply(ctx.wanted, d_first, second, *ctx.how)
        right: Tensor = Derivative.apply(ctx.wanted, first, d_second, *ctx.how)
        return left + right


def _convolve(y: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """``C``: the convolution that the transposed convolution is the transpose of."""
    y, padding = _uncropped(y, geometry)
    return F.conv2d(y, weight, None, geometry.stride, padding, geometry.dilation, geometry.groups)


def _correlate(x: Tensor, y: Tensor, geometry: Geometry) -> Tensor:
    """``W``: how often, and how strongly, each tap of the kernel joins an input to an output pixel."""
    y, padding = _uncropped(y, geometry)
    shape = (x.shape[1], y.shape[1] // geometry.groups, *geometry.kernel_size)
    gradient: Tensor = conv2d_weight(
        y, shape, x, geometry.stride, padding, geometry.dilation, geometry.groups
    )
    return gradient


def _uncropped(y: Tensor, geometry: Geometry) -> tuple[Tensor, Pair]:
    """An output and a padding with which a convolution gives the size of the input exactly.

    That is so for the output as it is, unless ``output_padding`` reaches the stride (it may, with a
    dilated kernel): then a convolution would find room for a further row.
    """
    g = geometry
    axes = zip(g.output_size, g.kernel_size, g.stride, g.padding, g.dilation, strict=True)
    if tuple(conv_output_size(*axis) for axis in axes) == g.input_size:
        return y, g.padding
    (top, left), (height, width) = g.padding, g.full_size
    return F.pad(y, (left, width - left - y.shape[3], top, height - top - y.shape[2])), (0, 0)
