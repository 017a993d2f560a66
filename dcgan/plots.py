"""Shared by all plots: figures without a screen, and styles that survive printing and colour blindness."""

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which also differ in brightness.
COLOURS = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "red": "#D55E00",
    "blue": "#0072B2",
    "purple": "#CC79A7",
}
GREY = "#808080"
STYLES = ("-", "--", "-.", ":")


def looks() -> Iterator[tuple[str, str]]:
    """Colours and line styles for the lines of a plot, repeated endlessly."""
    return zip(itertools.cycle(COLOURS.values()), itertools.cycle(STYLES))


def figure(
    width: float,
    height: float,
    panels: int,
    columns: int | None = None,
    widths: Sequence[float] | None = None,
    dpi: int = 100,
) -> tuple["Figure", list["Axes"]]:
    """A figure and its panels, row by row.

    Args:
        width: in inches.
        height: in inches.
        panels: the number of panels.
        columns: the number of panels side by side; all by default.
        widths: relative widths of the columns.
        dpi: pixels per inch.
    """
    # Not with pyplot, which would look for a screen and keep every figure.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - takes a second
    from matplotlib.figure import Figure  # noqa: PLC0415

    whole = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(whole)
    columns = columns or panels
    grid = whole.subplots(-(-panels // columns), columns, squeeze=False, width_ratios=widths).flatten()
    for unused in grid[panels:]:
        unused.axis("off")
    return whole, list(grid[:panels])


def logarithmic(axis: "Axes") -> None:
    """Give an axis a logarithmic scale with plain numbers such as 60 and 0.1, instead of powers of ten."""
    from matplotlib.ticker import LogFormatter  # noqa: PLC0415

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""  # no label where labels would be crowded

    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(Plain())
    axis.yaxis.set_minor_formatter(Plain(minor_thresholds=(2, 0.5)))


def legend(whole: "Figure", axis: "Axes") -> None:
    """Put the legend of ``axis`` below all panels, where it hides nothing."""
    lines, names = axis.get_legend_handles_labels()
    whole.legend(lines, names, loc="outside lower center", ncols=4, fontsize=8)
