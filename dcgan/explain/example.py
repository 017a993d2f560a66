"""One transposed convolution, its arithmetic as text, and its output."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dcgan.conv_transpose import arithmetic, conv_transpose2d
from dcgan.errors import UserError

MOST_CELLS = 12  # per side, so that the numbers are readable; twice as many in the larger maps


@dataclass
class Example:
    """One transposed convolution.

    Raises:
        UserError: if its sizes are impossible, or too large to look at.
    """

    input_size: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    output_padding: int = 0
    dilation: int = 1

    def __post_init__(self) -> None:
        for setting in ("input_size", "kernel_size", "stride", "padding", "output_padding", "dilation"):
            bound = 0 if "padding" in setting else 1
            if getattr(self, setting) < bound:
                raise UserError(f"{setting}={getattr(self, setting)} must be at least {bound}")
        if self.output_padding >= max(self.stride, self.dilation):
            raise UserError(
                f"output_padding={self.output_padding} must be smaller than stride={self.stride} or "
                f"dilation={self.dilation}: beyond that, the output is as long as that of a larger input"
            )
        if self.output_size < 1:
            raise UserError(f"padding={self.padding} crops all of the output; set it to less")
        largest = max(self.full_size + self.output_padding, self.inserted_size + 2 * max(self.border))
        if largest > 2 * MOST_CELLS or max(self.input_size, self.span) > MOST_CELLS:
            raise UserError(
                f"this example has maps of {largest} x {largest} cells, too many to look at; set a smaller "
                "input_size, kernel_size, stride or dilation"
            )

    @property
    def span(self) -> int:
        """Pixels that the dilated kernel spans."""
        return arithmetic.effective_kernel_size(self.kernel_size, self.dilation)

    @property
    def output_size(self) -> int:
        """Size of the output, ``W1``."""
        return self.full_size - 2 * self.padding + self.output_padding

    @property
    def full_size(self) -> int:
        """Size of the output before it is cropped."""
        return arithmetic.full_output_size(self.input_size, self.kernel_size, self.stride, self.dilation)

    @property
    def inserted_size(self) -> int:
        """Size of the input with zeros between its pixels."""
        return (self.input_size - 1) * self.stride + 1

    @property
    def border(self) -> tuple[int, int]:
        """Zeros before and after the zero-inserted input; a negative number crops."""
        before = arithmetic.transpose_padding(self.kernel_size, self.padding, self.dilation)
        return before, before + self.output_padding

    @property
    def input(self) -> Tensor:
        """The input ``(I, I)``: 1, 2, 3, ..."""
        return _counted(self.input_size)

    @property
    def kernel(self) -> Tensor:
        """The kernel ``(F, F)``: 1, 2, 3, ..."""
        return _counted(self.kernel_size)

    @property
    def output(self) -> Tensor:
        """The output ``(O, O)``."""
        return transposed(self, self.input[None])[0]


def text(example: Example) -> str:
    """Return the arithmetic, line by line."""
    e, (before, after) = example, example.border
    zeros = arithmetic.inserted_zeros(e.stride)
    possible = arithmetic.conv_input_sizes(e.input_size, e.kernel_size, e.stride, e.padding, e.dilation)
    spans = f", spread over {e.span} pixels by dilation {e.dilation}" if e.dilation > 1 else ""
    sizes = [f"{size} (output_padding {extra})" for extra, size in enumerate(possible) if size > 0]
    shared = f"The convolution maps {len(sizes)} input sizes to {e.input_size}: {', '.join(sizes)}"
    alone = shared if len(sizes) > 1 else "No other size gives that"
    back = arithmetic.conv_output_size(e.output_size, e.kernel_size, e.stride, e.padding, e.dilation)
    beyond = f"Not {e.input_size}: output_padding {e.output_padding} is not smaller than the stride {e.stride}"
    least, most = arithmetic.overlap(e.kernel_size, e.stride, e.dilation)
    uneven = "so that a constant input comes out uneven unless the weights make up for it (Odena et al. 2016)"
    even = f"{most} everywhere: with equal weights a constant input stays even there"
    overlap = f"{least} to {most}, {uneven}" if least < most else even
    after_sum = e.padding - e.output_padding
    uncovered = f"{after_sum} after" if after_sum >= 0 else f"and {-after_sum} of zeros added after"
    return "\n".join(
        [
            f"Transposed convolution: input {e.input_size}, kernel {e.kernel_size}{spans}, stride {e.stride}, "
            f"padding {e.padding}, output_padding {e.output_padding}",
            f"Output size    W1 = (W2 - 1) S - 2P + F + output_padding = ({e.input_size} - 1) {e.stride} - "
            f"2 * {e.padding} + {e.span} + {e.output_padding} = {e.output_size}",
            f"As a convolution    S - 1 = {_zeros(zeros)} between the pixels: {e.input_size} -> {e.inserted_size}; "
            f"P_T = F - P - 1 = {_zeros(before)} before and {_zeros(after)} after: "
            f"{e.inserted_size + before + after}; stride 1, kernel flipped: "
            f"{e.inserted_size + before + after} - {e.span} + 1 = {e.output_size}",
            f"As a sum    each input pixel adds its copy of the kernel ({e.span} x {e.span}) to a full output of "
            f"{e.full_size} x {e.full_size}, of which {_rows(e.padding)} cropped before, {uncovered}",
            f"Overlap    taps that meet at an output pixel, along an axis and away from the border: {overlap}",
            f"The way back    W2 = floor((W1 - F + 2P) / S) + 1 = floor(({e.output_size} - {e.span} + {2 * e.padding}) "
            f"/ {e.stride}) + 1 = {back}. {alone if back == e.input_size else beyond}",
        ]
    )


def _zeros(count: int) -> str:
    return f"{count} zero{'s' * (count != 1)}" if count >= 0 else f"{count}, so that {-count} are cropped,"


def _rows(count: int) -> str:
    return f"{count} row{'s' * (count != 1)} and column{'s' * (count != 1)} {'is' if count == 1 else 'are'}"


def _counted(size: int) -> Tensor:
    return torch.arange(1.0, size**2 + 1).view(size, size)


def transposed(example: Example, images: Tensor) -> Tensor:
    """Apply the example to inputs ``(N, I, I)``; return ``(N, O, O)``."""
    return conv_transpose2d(
        images[:, None],
        example.kernel[None, None],
        stride=example.stride,
        padding=example.padding,
        output_padding=example.output_padding,
        dilation=example.dilation,
        algorithm="scatter",
    )[:, 0]
