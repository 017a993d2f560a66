"""`ConvTranspose2d`: the layer, and its lazy variant."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from dcgan.conv_transpose.algorithms import algorithm_named
from dcgan.conv_transpose.functional import conv_transpose2d
from dcgan.conv_transpose.geometry import Padding, check_named, sized

# Nodes of a graph: `torch.fx.symbolic_trace` cannot look into the checks.
torch.fx.wrap("conv_transpose2d")
torch.fx.wrap("sized")


class ConvTranspose2d(torch.nn.ConvTranspose2d):
    """A drop-in for `torch.nn.ConvTranspose2d` whose forward and backward pass are this package's own.

    A subclass, so that what is not arithmetic is the same by construction: constructor arguments and
    their errors, weight shape ``(in, out / groups, K, L)``, initial values under the same seed,
    ``state_dict`` and everything in PyTorch that asks ``isinstance``.

    Args:
        in_channels: ``C``.
        out_channels: ``O``.
        kernel_size: ``(K, L)`` or one number for both, like all sizes.
        stride: see `conv_transpose2d`, like those that follow.
        padding: also ``"valid"``, ``"same"``, ``"full"`` and ``((top, bottom), (left, right))``.
        *args, **kwargs: the others of `torch.nn.ConvTranspose2d`, in its order.
        algorithm: how to compute it.
    """

    algorithm: str = "auto"  # also of a layer of PyTorch's whose class is changed to this one

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
        # What PyTorch's constructor would take apart is kept from it.
        usual: Any = 0 if named or uneven else padding
        super().__init__(in_channels, out_channels, kernel_size, stride, usual, *args, **kwargs)  # type: ignore[arg-type]
        algorithm_named(algorithm)  # an unknown name is an error here, not in the first forward pass
        self.algorithm = algorithm
        if isinstance(padding, str):
            check_named(padding)
        if named or uneven:
            self.padding = padding  # type: ignore[assignment]

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """``(N, C, H, W)`` or ``(C, H, W)`` in, the same with ``O`` channels and the output's size out.

        Args:
            input: the input.
            output_size: the size wanted, as ``(Y, X)`` or with the sizes before these; it replaces
                ``output_padding``.

        Raises:
            ValueError: if the geometry does not give ``output_size``.
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
        """That of the built-in layer, and the algorithm where one was chosen."""
        chosen = "" if self.algorithm == "auto" else f", algorithm={self.algorithm!r}"
        return str(super().extra_repr()) + chosen  # type: ignore[no-untyped-call]


class LazyConvTranspose2d(torch.nn.LazyConvTranspose2d, ConvTranspose2d):  # type: ignore[misc]
    """A `ConvTranspose2d` that takes ``in_channels`` from its first input, as PyTorch's lazy layer does.

    Both are its base, so that already the first forward pass is ours.

    Args:
        *args, **kwargs: those of `ConvTranspose2d` without ``in_channels``.
        algorithm: how to compute it.
    """

    cls_to_become = ConvTranspose2d

    def __init__(self, *args: Any, algorithm: str = "auto", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        algorithm_named(algorithm)
        self.algorithm = algorithm
