"""The article made visible: one transposed convolution as text, as a matrix, and step by step.

Everything is square and of one channel. Input and kernel hold the numbers 1, 2, 3, ... in reading order, so
that one can see where each goes, and that the kernel is flipped.

Colours are those of `dcgan.plots`, which survive printing and colour blindness.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dcgan.conv_transpose import arithmetic, conv_transpose2d
from dcgan.errors import UserError
from dcgan.images import save_gif
from dcgan.plots import COLOURS, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CELLS = 12  # of a side, so that the numbers in them can be read
INPUT, CURRENT, EXTRA = COLOURS["sky"], COLOURS["orange"], COLOURS["green"]
ZERO, DONE, LINE = "#D0D0D0", "#FFFFFF", "#606060"
DPI = 80
LEGEND = "orange: what meets now    green: what output_padding adds, computed like the rest    grey: "
FRAME_MS, LAST_FRAME_MS = 500, 3000


@dataclass
class Example:
    """One transposed convolution.

    Raises:
        UserError: if it cannot be, or is too large to look at.
    """

    input_size: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    output_padding: int = 0
    dilation: int = 1

    def __post_init__(self) -> None:
        least = {
            "input_size": 1,
            "kernel_size": 1,
            "stride": 1,
            "padding": 0,
            "output_padding": 0,
            "dilation": 1,
        }
        for setting, bound in least.items():
            if getattr(self, setting) < bound:
                raise UserError(f"{setting}={getattr(self, setting)} must be at least {bound}")
        if self.output_padding >= max(self.stride, self.dilation):
            raise UserError(
                f"output_padding={self.output_padding} must be smaller than stride={self.stride} or "
                f"dilation={self.dilation}: {self.stride} input sizes of the convolution share one output"
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
        return arithmetic.kernel_span(self.kernel_size, self.dilation)

    @property
    def output_size(self) -> int:
        """``W1``."""
        return arithmetic.conv_transpose_output_size(
            *(
                self.input_size,
                self.kernel_size,
                self.stride,
                self.padding,
                self.output_padding,
                self.dilation,
            )
        )

    @property
    def full_size(self) -> int:
        """Of the output before it is cropped."""
        return (self.input_size - 1) * self.stride + self.span

    @property
    def inserted_size(self) -> int:
        """Of the input with zeros between its pixels."""
        return (self.input_size - 1) * self.stride + 1

    @property
    def border(self) -> tuple[int, int]:
        """Zeros around that, before and after; fewer than none where they are cropped."""
        before = arithmetic.transpose_padding(self.kernel_size, self.padding, self.dilation)
        return before, before + self.output_padding

    @property
    def input(self) -> Tensor:
        """``(I, I)``: 1, 2, 3, ..."""
        return _counted(self.input_size)

    @property
    def kernel(self) -> Tensor:
        """``(F, F)``: 1, 2, 3, ..."""
        return _counted(self.kernel_size)

    @property
    def output(self) -> Tensor:
        """``(O, O)``."""
        return _transposed(self, self.input)


def text(example: Example) -> str:
    """The arithmetic, line by line."""
    e, (before, after) = example, example.border
    zeros = arithmetic.inserted_zeros(e.stride)
    possible = arithmetic.conv_input_sizes(e.input_size, e.kernel_size, e.stride, e.padding, e.dilation)
    spans = f", spread over {e.span} pixels by dilation {e.dilation}" if e.dilation > 1 else ""
    sizes = ", ".join(f"{size} (output_padding {extra})" for extra, size in enumerate(possible))
    shared = f"The convolution maps {len(possible)} input sizes to {e.input_size}: {sizes}"
    return "\n".join(
        [
            f"Transposed convolution: input {e.input_size}, kernel {e.kernel_size}{spans}, stride {e.stride}, "
            f"padding {e.padding}, output_padding {e.output_padding}",
            f"Output size    W1 = (W2 - 1) S - 2P + F + output_padding = ({e.input_size} - 1) {e.stride} - "
            f"2 * {e.padding} + {e.span} + {e.output_padding} = {e.output_size}",
            f"As a convolution    S - 1 = {zeros} zeros between the pixels: {e.input_size} -> {e.inserted_size}; "
            f"P_T = F - P - 1 = {before} zeros before and {after} after: "
            f"{e.inserted_size + before + after}; stride 1, kernel flipped: "
            f"{e.inserted_size + before + after} - {e.span} + 1 = {e.output_size}",
            f"As a sum    each input pixel adds its copy of the kernel to {e.full_size} x {e.full_size} pixels, of which "
            f"{e.padding} are cropped before and {e.padding - e.output_padding} after"
            + (" (fewer than none: computed beyond)" if e.output_padding > e.padding else ""),
            f"The way back    W2 = floor((W1 - F + 2P) / S) + 1 = floor(({e.output_size} - {e.span} + {2 * e.padding}) "
            f"/ {e.stride}) + 1 = {e.input_size}. {shared if e.stride > 1 else 'No other size gives that'}",
        ]
    )


def draw_matrix(example: Example) -> "Figure":
    """The convolution's matrix C and its transpose, as heat maps: a sparse dense layer, and the way back."""
    inputs, columns = example.input_size, []
    for pixel in range(inputs**2):
        one = torch.zeros(inputs**2)
        one[pixel] = 1
        columns.append(_transposed(example, one.view(inputs, inputs)).flatten())
    transpose = torch.stack(columns, dim=1)  # (output pixels, input pixels)
    zeros = 1 - float((transpose != 0).float().mean())
    widths = [float(transpose.shape[0]), float(transpose.shape[1]) + 4]
    whole, axes = figure(12, 5, 2, widths=widths, dpi=DPI)
    for axis, matrix, title in (
        (axes[0], transpose.T, "C, the convolution"),
        (axes[1], transpose, "transpose of C"),
    ):
        # Zeros stay white: that most of the matrix is zeros is what there is to see.
        shown = axis.imshow(
            matrix.where(matrix != 0, torch.nan).numpy(), cmap="cividis_r", vmin=1, interpolation="nearest"
        )
        axis.set(
            title=f"{title}\n{matrix.shape[0]} x {matrix.shape[1]}", xlabel="pixel in", ylabel="pixel out"
        )
        axis.locator_params(integer=True)
    whole.colorbar(shown, ax=axes, label="weight of the kernel")
    whole.suptitle(f"Every row is one dense unit; {zeros:.0%} of the weights are zeros")
    return whole


def zero_insert_frames(example: Example) -> Iterator["Figure"]:
    """The article's picture: zeros between, a border, and the flipped kernel passing over; a frame a pixel."""
    before, after = example.border
    spread, real = torch.zeros(2, example.inserted_size, example.inserted_size)
    spread[:: example.stride, :: example.stride] = example.input
    real[:: example.stride, :: example.stride] = 1
    padded, real = (F.pad(t, (before, after, before, after)) for t in (spread, real))
    flipped, output = example.kernel.flip(0, 1), example.output
    taps = torch.arange(example.kernel_size) * example.dilation
    edge = example.output_size - example.output_padding
    for row, column in itertools.product(range(example.output_size), repeat=2):
        under = padded[row + taps][:, column + taps]
        colours = _colours(padded, lambda r, c: INPUT if real[r, c] else ZERO)
        for r, c in itertools.product((row + taps).tolist(), (column + taps).tolist()):
            colours[r][c] = CURRENT
        results = _colours(output, lambda r, c: EXTRA if max(r, c) >= edge else DONE)
        results[row][column] = CURRENT
        whole, (left, middle, right) = figure(13, 5, 3, dpi=DPI)
        side = max(len(padded), len(output))
        done = functools.partial(_reached, row, column)
        _cells(
            left,
            padded,
            colours,
            f"input: {example.stride - 1} zeros between, {before} before, {after} after",
            side,
        )
        _cells(middle, flipped, _colours(flipped, lambda r, c: CURRENT), "kernel, flipped", side)
        _cells(right, output, results, "output", side, done)
        products = [f"{a:g}·{b:g}" for a, b in zip(under.flatten(), flipped.flatten(), strict=True) if a]
        whole.suptitle(
            f"{' + '.join(products) or 'only zeros'} = {output[row, column]:g}", fontsize=12, wrap=True
        )
        whole.supxlabel(LEGEND + "zeros that are put in", fontsize=10)
        yield whole


def scatter_frames(example: Example) -> Iterator["Figure"]:
    """The definition: each input pixel adds its copy of the kernel where it lands; a frame a pixel."""
    first, end = example.padding, example.padding + example.output_size
    side = max(example.full_size, end)
    total = torch.zeros(side, side)
    taps = torch.arange(example.kernel_size) * example.dilation

    def kept(row: int, column: int) -> str:
        if min(row, column) < first or max(row, column) >= end:
            return ZERO
        return EXTRA if max(row, column) >= end - example.output_padding else DONE

    for row, column in itertools.product(range(example.input_size), repeat=2):
        rows, columns = row * example.stride + taps, column * example.stride + taps
        value = example.input[row, column]
        total[rows[:, None], columns] += value * example.kernel
        colours, here = _colours(total, kept), _colours(example.input, lambda r, c: INPUT)
        here[row][column] = CURRENT
        for r, c in itertools.product(rows.tolist(), columns.tolist()):
            colours[r][c] = CURRENT
        whole, (left, middle, right) = figure(13, 5, 3, dpi=DPI)
        copy = _colours(example.kernel, lambda r, c: CURRENT)
        _cells(left, example.input, here, "input", side)
        _cells(middle, value * example.kernel, copy, f"{value:g} x kernel, as it is", side)
        _cells(right, total, colours, "the sum so far", side)
        whole.supxlabel(LEGEND + "what padding crops", fontsize=10)
        yield whole


def save_animation(figures: Iterator["Figure"], path: Path) -> None:
    """Write figures as a GIF that stops at its last frame for a while."""
    frames = []
    for whole in figures:
        whole.canvas.draw()
        frames.append(Image.fromarray(np.asarray(whole.canvas.buffer_rgba())))  # type: ignore[attr-defined]
    save_gif(frames, path, FRAME_MS, LAST_FRAME_MS)


def _counted(size: int) -> Tensor:
    return torch.arange(1.0, size**2 + 1).view(size, size)


def _transposed(example: Example, image: Tensor) -> Tensor:
    output = conv_transpose2d(
        *(image[None, None], example.kernel[None, None], None, example.stride, example.padding),
        *(example.output_padding, 1, example.dilation),
        algorithm="scatter",
    )
    return output[0, 0]


Colour = Callable[[int, int], str]


def _colours(numbers: Tensor, colour: Colour) -> list[list[str]]:
    height, width = numbers.shape
    return [[colour(row, column) for column in range(width)] for row in range(height)]


def _reached(row: int, column: int, r: int, c: int) -> bool:
    return (r, c) <= (row, column)


def _cells(
    axis: "Axes",
    numbers: Tensor,
    colours: list[list[str]],
    title: str,
    side: int,
    seen: Callable[[int, int], bool] | None = None,
) -> None:
    """Numbers in squares, in a panel with room for ``side`` x ``side``; those not ``seen`` yet stay blank."""
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    height, width = numbers.shape
    for row, line in enumerate(colours):
        for column, colour in enumerate(line):
            axis.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, edgecolor=LINE))
            if seen is None or seen(row, column):
                place = (column + 0.5, row + 0.5)
                axis.text(
                    *place,
                    f"{numbers[row, column]:g}",
                    ha="center",
                    va="center",
                    fontsize=min(14, 100 / side),
                )
    axis.text(width / 2, -0.2, title, ha="center", va="bottom", fontsize=11)
    middle, half = (width / 2, height / 2), side / 2 + 0.5
    axis.set(
        xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] + half, middle[1] - half), aspect="equal"
    )
    axis.axis("off")
