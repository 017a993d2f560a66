"""`ConvTranspose2d`: the layer."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dcgan.conv_transpose.functional import algorithm_named, conv_transpose2d


class ConvTranspose2d(torch.nn.ConvTranspose2d):
    """A drop-in for `torch.nn.ConvTranspose2d` whose forward and backward pass are this package's own.

    A subclass, so that what is not arithmetic is the same by construction: constructor arguments and
    their errors, weight shape ``(in, out / groups, K, L)``, initial values under the same seed,
    ``state_dict``, ``output_size`` and everything in PyTorch that asks ``isinstance``.

    Args:
        *args, **kwargs: those of `torch.nn.ConvTranspose2d`.
        algorithm: how to compute it, see `conv_transpose2d`.
    """

    def __init__(self, *args: Any, algorithm: str = "auto", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        algorithm_named(algorithm)  # an unknown name is an error here, not in the first forward pass
        self.algorithm = algorithm

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """``(N, C, H, W)`` or ``(C, H, W)`` in, the same with ``O`` channels and the output's size out.

        Args:
            input: the input.
            output_size: the size wanted, as ``(Y, X)``; replaces ``output_padding``.

        Raises:
            ValueError: if no ``output_padding`` gives ``output_size``.
        """
        assert not isinstance(self.padding, str)  # the built-in's annotation allows what its code does not
        output_padding = self._output_padding(
            input,
            None if output_size is None else list(output_size),
            list(self.stride),
            list(self.padding),
            list(self.kernel_size),
            2,
            list(self.dilation),
        )
        return conv_transpose2d(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            output_padding,
            self.groups,
            self.dilation,
            algorithm=self.algorithm,
        )

    def extra_repr(self) -> str:
        """That of the built-in layer, and the algorithm where one was chosen."""
        chosen = "" if self.algorithm == "auto" else f", algorithm={self.algorithm!r}"
        return str(super().extra_repr()) + chosen  # type: ignore[no-untyped-call]
