"""A sweep -> its pictures: learning curves, samples side by side, and spectra."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from dcgan.atomic import of_steps
from dcgan.errors import UserError
from dcgan.evaluation.pixels import spectrum
from dcgan.images import read_picture
from dcgan.plots import GREY, figure, legend, logarithmic, looks
from dcgan.reporting.sweeps import Sweep
from dcgan.sampling import GRID_ROWS, generate_many, load_generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = 4  # rows shown of each sample grid
SPECTRUM_IMAGES = 1000  # per run, and as many real ones


def draw_curves(sweep: Sweep, names: Sequence[str]) -> "Figure":
    """Draw a panel per measure: the mean over the seeds, a band from minimum to maximum, and the floor dotted."""
    whole, panels = figure(5.5 * len(names), 4.5, len(names))
    for axis, name in zip(panels, names, strict=True):
        for (label, runs), (colour, style) in zip(sweep.groups.items(), looks(), strict=False):
            curves = [curve for run in runs if (curve := run.curve(f"evaluation/{name}"))]
            if not curves:
                continue
            steps = sorted(set.intersection(*(set(curve) for curve in curves)))
            values = np.array([[curve[step] for step in steps] for curve in curves])
            axis.plot(steps, values.mean(0), style, color=colour, label=label, marker="o", markersize=3)
            axis.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)
        floor = sweep.floor(name)
        if floor is not None:
            axis.axhline(floor, color=GREY, linestyle=":", label="real pictures")
        axis.set(xlabel="step", title=name.replace("_", " "))
        if "distance" in name:
            logarithmic(axis)
        axis.grid(alpha=0.3)
    legend(whole, panels[0])
    return whole


def draw_grids(sweep: Sweep) -> "Figure | None":
    """Draw the last samples of each setting's first seed side by side; they share their latents."""
    shown = []
    for label, runs in sweep.groups.items():
        grids = of_steps(runs[0].path / "samples", ".png")
        if grids:
            picture = read_picture(grids[-1])
            height = 2 + (picture.height - 2) // GRID_ROWS * ROWS
            shown.append((label, np.asarray(picture.convert("RGB").crop((0, 0, picture.width, height)))))
    if not shown:
        return None
    columns = min(len(shown), 2)
    rows = -(-len(shown) // columns)
    whole, panels = figure(6 * columns, 2.9 * rows, len(shown), columns)
    for axis, (label, pixels) in zip(panels, shown, strict=True):
        axis.imshow(pixels, interpolation="nearest")
        axis.set_title(label, fontsize=9)
        axis.axis("off")
    return whole


def draw_spectrum(sweep: Sweep) -> "Figure | str":
    """Draw the samples' power at each frequency, and its ratio to that of real pictures.

    Without the real pictures or a generator, return a sentence that says why there is no spectrum.
    """
    try:
        generators = {run.path: load_generator(run.path) for run in sweep.runs}
        found = generators[sweep.runs[0].path].pictures()
    except UserError as error:
        return f"there is no spectrum: {error}"
    # Spread the rows over the set, which may be sorted.
    rows = np.linspace(0, len(found.train) - 1, min(SPECTRUM_IMAGES, len(found.train))).astype(int)
    real, labels = spectrum(found.train[rows]), torch.from_numpy(found.train.labels[rows])
    frequencies = np.arange(len(real)) / (2 * (len(real) - 1))
    whole, (power, ratio) = figure(12, 4.5, 2)
    for (label, runs), (colour, style) in zip(sweep.groups.items(), looks(), strict=False):
        shares = []
        for run in runs:
            trained = generators[run.path]
            asked = labels if trained.num_classes else None
            shares.append(spectrum(generate_many(trained.network, len(labels), asked)))
        share = torch.stack(shares).mean(0)
        power.plot(frequencies, share, style, color=colour, label=label)
        ratio.plot(frequencies, share / real, style, color=colour)
    power.plot(frequencies, real, ":", color=GREY, label="real pictures")
    ratio.axhline(1, color=GREY, linestyle=":")
    logarithmic(power)
    logarithmic(ratio)
    power.set(xlabel="cycles per pixel", title="share of the power")
    ratio.set(
        xlabel="cycles per pixel; stride 2 repeats at 0.5, twice at 0.25",
        title="over that of real pictures",
    )
    for axis in (power, ratio):
        axis.grid(alpha=0.3)
    legend(whole, power)
    return whole
