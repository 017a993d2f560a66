"""The layer `ConvTranspose2d` and its lazy variant."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from dcgan.conv_transpose.algorithms import algorithm_named
from dcgan.conv_transpose.functional import conv_transpose2d
from dcgan.conv_transpose.geometry import Padding, check_named, sized

# `torch.fx.symbolic_trace` cannot trace the argument checks in these functions; it records a call as one node.
torch.fx.wrap("conv_transpose2d")
torch.fx.wrap("sized")


class ConvTranspose2d(torch.nn.ConvTranspose2d):
    """A drop-in replacement for `torch.nn.ConvTranspose2d` with its own forward and backward pass.

    It is a subclass, so everything but the arithmetic is the same by construction: constructor arguments
    and their errors, weight shape ``(in, out / groups, K, L)``, initial values under the same seed,
    ``state_dict``, and every ``isinstance`` check in PyTorch.

    Args:
        in_channels: ``C``.
        out_channels: ``O``.
        kernel_size: ``(K, L)``, or one number for both axes, as for all sizes.
        stride: see `conv_transpose2d`, which also describes the arguments below.
        padding: numbers, ``"valid"``, ``"same"``, ``"full"``, or ``((top, bottom), (left, right))``.
        *args, **kwargs: the remaining arguments of `torch.nn.ConvTranspose2d`, in its order.
        algorithm: how to compute the output.
    """

    algorithm: str = "auto"  # set on the class, so a PyTorch layer whose class is changed to this one has it

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: Padding = 0,
        *args: Any,
        algorithm: str = "auto",
        **kwargs: Any,
    ) -> None:
        named = isinstance(padding, str)
        uneven = isinstance(padding, Iterable) and any(isinstance(side, list | tuple) for side in padding)
        # PyTorch's constructor expects numbers; names and nested pairs bypass it and are assigned below.
        usual: Any = 0 if named or uneven else padding
        super().__init__(in_channels, out_channels, kernel_size, stride, usual, *args, **kwargs)  # type: ignore[arg-type]
        algorithm_named(algorithm)  # fails here for an unknown name, not in the first forward pass
        self.algorithm = algorithm
        if isinstance(padding, str):
            check_named(padding)
        if named or uneven:
            self.padding = padding  # type: ignore[assignment]

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, O, Y, X)``, or ``(C, H, W)`` to ``(O, Y, X)``.

        Args:
            input: the input.
            output_size: the requested size, ``(Y, X)`` or with the leading dimensions as well; it replaces
                ``output_padding``.

        Raises:
            ValueError: if this geometry cannot produce ``output_size``.
        """
        padding: Padding = self.padding
        output_padding: Sequence[int] = self.output_padding
        if output_size is not None:
            sizes = (self.kernel_size, self.stride, self.dilation)
            padding, output_padding = sized(input, output_size, self.padding, *sizes)
        return conv_transpose2d(
            input,
            self.weight,
            self.bias,
            self.stride,
            padding,
            output_padding,
            self.groups,
            self.dilation,
            algorithm=self.algorithm,
        )

    def extra_repr(self) -> str:
        """Return the built-in layer's text, followed by the algorithm unless it is ``"auto"``."""
        chosen = "" if self.algorithm == "auto" else f", algorithm={self.algorithm!r}"
        return str(super().extra_repr()) + chosen  # type: ignore[no-untyped-call]


class LazyConvTranspose2d(torch.nn.LazyConvTranspose2d, ConvTranspose2d):  # type: ignore[misc]
    """A `ConvTranspose2d` that takes ``in_channels`` from its first input, as PyTorch's lazy layer does.

    It inherits from both layers, so that even the first forward pass is this package's own.

    Args:
        *args, **kwargs: the arguments of `ConvTranspose2d` without ``in_channels``.
        algorithm: how to compute the output.
    """

    cls_to_become = ConvTranspose2d

    def __init__(self, *args: Any, algorithm: str = "auto", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        algorithm_named(algorithm)
        self.algorithm = algorithm
