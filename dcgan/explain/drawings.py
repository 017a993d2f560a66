"""Draw an example's matrix, and animate two ways to compute it, step by step."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dcgan.explain.example import Example, transposed
from dcgan.images import save_gif
from dcgan.plots import COLOURS, figure
from dcgan.progress import Progress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INPUT, CURRENT, EXTRA = COLOURS["sky"], COLOURS["orange"], COLOURS["green"]
ZERO, DONE, LINE = "#D0D0D0", "#FFFFFF", "#606060"
DPI = 80
LEGEND = "orange: what meets now    green: what output_padding adds, computed like the rest    grey: "
FRAME_MS, LAST_FRAME_MS = 500, 3000


def draw_matrix(example: Example) -> "Figure":
    """Draw the convolution's matrix C, a sparse dense layer, and its transpose, the way back, as heat maps."""
    ones = torch.eye(example.input_size**2).view(-1, example.input_size, example.input_size)
    transpose = transposed(example, ones).flatten(1).T  # (output pixels, input pixels)
    largest = max(1, float(transpose.max()))  # at least 1, as the matrix may hold only zeros
    zeros = 1 - float((transpose != 0).float().mean())
    widths = [float(transpose.shape[0]), float(transpose.shape[1]) + 4]
    whole, axes = figure(12, 5, 2, widths=widths, dpi=DPI)
    for axis, matrix, title in (
        (axes[0], transpose.T, "C, the convolution"),
        (axes[1], transpose, "transpose of C"),
    ):
        # Zeros stay white, to show that they are most of the matrix.
        shown = axis.imshow(
            matrix.where(matrix != 0, torch.nan).numpy(),
            cmap="cividis_r",
            vmin=1,
            vmax=largest,
            interpolation="nearest",
        )
        axis.set(title=f"{title}\n{matrix.shape[0]} x {matrix.shape[1]}", xlabel="pixel in", ylabel="pixel out")
        axis.locator_params(integer=True)
    whole.colorbar(shown, ax=axes, label="weight of the kernel")
    whole.suptitle(f"Every row is one dense unit; {zeros:.0%} of the weights are zeros")
    return whole


def zero_insert_frames(example: Example) -> Iterator["Figure"]:
    """Draw the textbook's picture, a frame per output pixel: the flipped kernel passes over the zero-inserted input."""
    before, after = example.border
    spread, real = torch.zeros(2, example.inserted_size, example.inserted_size)
    spread[:: example.stride, :: example.stride] = example.input
    real[:: example.stride, :: example.stride] = 1
    padded, real = (F.pad(t, (before, after, before, after)) for t in (spread, real))
    flipped, output = example.kernel.flip(0, 1), example.output
    taps = np.arange(example.kernel_size) * example.dilation
    edge = example.output_size - example.output_padding
    for row, column in itertools.product(range(example.output_size), repeat=2):
        under = padded[row + taps][:, column + taps]
        colours = np.where(real, INPUT, ZERO)
        colours[np.ix_(row + taps, column + taps)] = CURRENT
        results = np.full(output.shape, EXTRA)
        results[:edge, :edge] = DONE
        results[row, column] = CURRENT
        whole, (left, middle, right) = figure(13, 5, 3, dpi=DPI)
        side = max(len(padded), len(output))
        title = f"input and zeros: {example.stride - 1} between, {before} before, {after} after"
        _cells(left, padded, colours, title, side)
        _cells(middle, flipped, CURRENT, "kernel, flipped", side)
        _cells(right, output, results, "output", side, last=(row, column))
        products = [f"{a:g}·{b:g}" for a, b in zip(under.flatten(), flipped.flatten(), strict=True) if a]
        whole.suptitle(f"{' + '.join(products) or 'only zeros'} = {output[row, column]:g}", fontsize=12, wrap=True)
        whole.supxlabel(LEGEND + "zeros that are put in", fontsize=10)
        yield whole


def scatter_frames(example: Example) -> Iterator["Figure"]:
    """Draw the definition, a frame per input pixel: each pixel adds its copy of the kernel to the output."""
    first, end = example.padding, example.padding + example.output_size
    side = max(example.full_size, end)
    total = torch.zeros(side, side)
    taps = np.arange(example.kernel_size) * example.dilation

    kept = np.full(total.shape, ZERO)
    kept[first:end, first:end] = EXTRA
    kept[first : end - example.output_padding, first : end - example.output_padding] = DONE
    for row, column in itertools.product(range(example.input_size), repeat=2):
        rows, columns = row * example.stride + taps, column * example.stride + taps
        value = example.input[row, column]
        total[rows[:, None], columns] += value * example.kernel
        colours, here = kept.copy(), np.full(example.input.shape, INPUT)
        here[row, column] = CURRENT
        colours[np.ix_(rows, columns)] = CURRENT
        whole, (left, middle, right) = figure(13, 5, 3, dpi=DPI)
        _cells(left, example.input, here, "input", side)
        _cells(middle, value * example.kernel, CURRENT, f"{value:g} x kernel, as it is", side)
        _cells(right, total, colours, "the sum so far", side)
        whole.supxlabel(LEGEND + "what padding crops", fontsize=10)
        yield whole


def save_animation(figures: Iterator["Figure"], path: Path) -> None:
    """Write figures as a GIF that pauses on its last frame; on a terminal, show how many are drawn."""
    frames = []
    for whole in Progress(figures, f"drawing {path.name}", unit="frame"):
        whole.canvas.draw()
        frames.append(Image.fromarray(np.asarray(whole.canvas.buffer_rgba())))
    save_gif(frames, path, FRAME_MS, LAST_FRAME_MS)


def _cells(
    axis: "Axes", numbers: Tensor, colours: Any, title: str, side: int, last: tuple[int, int] | None = None
) -> None:
    """Draw numbers in squares, in a panel with room for ``side`` x ``side``; squares after ``last`` stay blank."""
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    height, width = numbers.shape
    colours, font_size = np.broadcast_to(colours, numbers.shape), min(14, 100 / side)
    for row, column in itertools.product(range(height), range(width)):
        square = Rectangle((column, row), 1, 1, facecolor=colours[row, column], edgecolor=LINE)
        axis.add_patch(square)
        if last is None or (row, column) <= last:
            words = f"{numbers[row, column]:g}"
            axis.text(column + 0.5, row + 0.5, words, ha="center", va="center", fontsize=font_size)
    axis.text(width / 2, -0.2, title, ha="center", va="bottom", fontsize=11)
    middle, half = (width / 2, height / 2), side / 2 + 0.5
    axis.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] + half, middle[1] - half), aspect="equal")
    axis.axis("off")
