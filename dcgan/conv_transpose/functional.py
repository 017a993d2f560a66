"""`conv_transpose2d`: check the arguments, run the chosen algorithm, add the bias."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dcgan.conv_transpose.algorithms import ALGORITHMS, algorithm_named
from dcgan.conv_transpose.geometry import Padding, checked_padding, geometry_of, pair
from dcgan.conv_transpose.gradients import derivative, differentiable, is_autocast_on
from dcgan.conv_transpose.graphs import plain_only

ARGUMENTS = ("input", "weight", "bias")


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
        stride: step between the kernel copies that neighbouring input pixels add to the output.
        padding: rows and columns cropped from each side of the full output. Beyond PyTorch's function, also
            ``((top, bottom), (left, right))``, where a negative number extends the output with zeros, or the
            name of the padding of the convolution to undo: ``"valid"``, ``"same"`` or ``"full"``.
        output_padding: rows and columns added at the bottom and the right. They hold the part of the full output that
            ``padding`` would have cropped, and zeros beyond it. Less than the stride or less than the dilation.
        groups: number of independent blocks of channels.
        dilation: step between the taps of the kernel.
        algorithm: a name in `dcgan.conv_transpose.ALGORITHMS`.

    Returns:
        ``(N, O, Y, X)`` or ``(O, Y, X)`` with
        ``Y = (H - 1) * stride - top - bottom + dilation * (K - 1) + output_padding + 1``, in the dtype of
        the input, or of autocast. On the CPU, float16 and bfloat16 are computed in float32 and rounded once.

    Raises:
        RuntimeError: for shapes and values that PyTorch's function rejects; the message names the argument.
        TypeError: if an argument is not a tensor, or not an integer, where one is required.
        ValueError: for an unknown algorithm or padding, or for ``output_padding`` with ``padding="same"``.
    """
    compute = algorithm_named(algorithm)
    input, weight, *rest = _of_one_dtype(input, weight, *(() if bias is None else (bias,)))
    bias = rest[0] if rest else None
    geometry = geometry_of(
        input.shape,
        weight.shape,
        bias if bias is None else bias.shape,
        pair("stride", stride),
        checked_padding(padding),
        pair("output_padding", output_padding),
        groups,
        pair("dilation", dilation),
    )
    batch, dtype = input if input.dim() == 4 else input.unsqueeze(0), input.dtype
    if dtype in (torch.float16, torch.bfloat16) and input.device.type == "cpu":
        batch, weight, bias = batch.float(), weight.float(), bias if bias is None else bias.float()
    # In a graph, PyTorch differentiates the plain operations itself; it cannot trace a `Function` that defines jvp.
    compute_output = derivative if plain_only() and compute is not ALGORITHMS["matrix"] else differentiable
    output = compute_output("output", batch, weight, geometry, compute)
    if bias is not None:
        output = output + bias.view(-1, 1, 1)
    return output.to(dtype) if input.dim() == 4 else output.to(dtype).squeeze(0)


def _of_one_dtype(*tensors: Tensor) -> list[Tensor]:
    """Return the tensors as autocast casts them: all floating dtypes but float64. Raise if the dtypes differ."""
    for name, tensor in zip(ARGUMENTS, tensors, strict=False):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"conv_transpose2d(): {name} must be a tensor, got {tensor!r}")
    device, cast = tensors[0].device.type, list(tensors)
    if is_autocast_on(device):
        lower = torch.get_autocast_dtype(device)
        eligible = [tensor.is_floating_point() and tensor.dtype != torch.float64 for tensor in cast]
        cast = [tensor.to(lower) if fits else tensor for tensor, fits in zip(cast, eligible, strict=True)]
    if any(tensor.dtype != cast[0].dtype for tensor in cast):
        dtypes = ", ".join(f"{name} is {tensor.dtype}" for name, tensor in zip(ARGUMENTS, cast, strict=False))
        raise RuntimeError(f"input, weight and bias must have one dtype, but {dtypes}")
    return cast
