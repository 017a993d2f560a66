"""The runs of a sweep -> what differs by more than the seeds do: a table, sentences, and pictures."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from dcgan import checkpoint
from dcgan.config import INCIDENTAL, Config, flatten
from dcgan.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CONFIDENCE = 0.95
TOLD = (  # measures about which sentences are written; the first three become curves
    *("frechet_classifier_distance", "sliced_wasserstein_distance", "class_agreement", "coverage"),
    *("diversity", "checkerboard"),
)
# Okabe and Ito's, which differ in brightness too; with the line styles they survive printing.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7", "#B0A000")
STYLES = ("-", "--", "-.", ":")
GRID_ROWS = 4  # of each sample grid that is shown


@dataclass
class Run:
    """One run of a sweep, as it left its directory."""

    path: Path
    settings: dict[str, Any]  # flat, without what does not change the result
    data: str  # fingerprint of the pictures
    step: int
    steps: int
    records: list[dict[str, float]]  # the lines of metrics.jsonl
    parameters: int  # of the generator

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.settings["seed"])

    def curve(self, name: str) -> dict[int, float]:
        """Step: value."""
        return {int(record["step"]): record[name] for record in self.records if name in record}

    def last(self, name: str) -> float | None:
        """The newest value."""
        return next((record[name] for record in reversed(self.records) if name in record), None)

    @property
    def speed(self) -> float | None:
        """Images per second over all training steps, without evaluations."""
        speeds = self.curve("speed/images_per_second")
        return statistics.harmonic_mean(speeds.values()) if speeds else None

    @property
    def seconds(self) -> float | None:
        """Time spent in training steps."""
        return self.step * int(self.settings["batch_size"]) / self.speed if self.speed else None


@dataclass
class Sweep:
    """The runs that can be compared, and what could not be read."""

    path: Path
    groups: dict[str, list[Run]]  # by what was set differently, but for the seed
    remarks: list[str]

    @property
    def measures(self) -> list[str]:
        """Names of the measures that any run has."""
        names: dict[str, None] = {}
        for run in self.runs:
            for record in run.records:
                names |= {key.split("/", 1)[1]: None for key in record if key.startswith("evaluation/")}
        return list(names)

    @property
    def runs(self) -> list[Run]:
        """All of them."""
        return [run for runs in self.groups.values() for run in runs]


def read(path: Path) -> Sweep:
    """The runs in a directory.

    Raises:
        UserError: if there is none.
    """
    if not path.is_dir():
        raise UserError(
            f"sweep={path} is no directory; python -m dcgan.train -m ... sweep=NAME makes outputs/sweeps/NAME"
        )
    runs, remarks = [], []
    for directory in sorted(entry for entry in path.iterdir() if entry.is_dir()):
        found = _read_run(directory)
        if isinstance(found, Run):
            runs.append(found)
        else:
            remarks.append(found)
    if not runs:
        raise UserError(
            f"sweep={path} holds no run that has a checkpoint; {'; '.join(remarks) or 'it is empty'}"
        )
    of_data = statistics.mode(run.data for run in runs)
    for run in runs:
        if run.data != of_data:
            remarks.append(f"{run.path.name} is left out: it was trained on other pictures than most")
        elif run.step < run.steps:
            remarks.append(
                f"{run.path.name} is left out: it is at step {run.step} of {run.steps}, the same command finishes it"
            )
        elif run.last("speed/images_per_second") is not None and not _evaluated(run):
            remarks.append(f"{run.path.name} has no evaluation; it was run with evaluate_every=0")
    kept = [run for run in runs if run.data == of_data and run.step >= run.steps]
    if not kept:
        raise UserError(f"sweep={path} holds no finished run; {'; '.join(remarks)}")
    return Sweep(path, _grouped(kept), remarks)


def write(sweep: Sweep) -> str:
    """Write ``report.md`` and its pictures into the sweep's directory; returns the text."""
    measures = sweep.measures
    lines = [f"# {sweep.path.name}", "", table(sweep), ""]
    lines += [f"- {remark}" for remark in sweep.remarks] + [""] * bool(sweep.remarks)
    told = [name for name in TOLD if name in measures]
    if len(sweep.groups) > 1:
        lines += [f"- {sentence}" for name in told for sentence in sentences(sweep, name)]
        lines += ["", "Each interval stands for itself: of twenty, one is expected to be wrong.", ""]
    pictures = {"samples": draw_grids(sweep), "curves": draw_curves(sweep, told[:3]) if told else None}
    for name, figure in pictures.items():
        if figure is not None:
            figure.savefig(sweep.path / f"{name}.png")
            lines += [f"![{name}]({name}.png)", ""]
    text = "\n".join(lines)
    (sweep.path / "report.md").write_text(text)
    return text


def table(sweep: Sweep) -> str:
    """Markdown: a row for each setting, mean and deviation over its seeds; the last row is the floor."""
    measures = sweep.measures
    columns = [
        "seeds",
        *(name.replace("_", " ") for name in measures),
        "training, s",
        "images/s",
        "generator, M",
        "memory, GB",
    ]
    lines = ["| | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for label, runs in sweep.groups.items():
        cells = [str(len(runs))]
        cells += [_spread([run.last(f"evaluation/{name}") for run in runs]) for name in measures]
        cells += [_spread([run.seconds for run in runs]), _spread([run.speed for run in runs])]
        cells.append(f"{runs[0].parameters / 1e6:.2f}")
        cells.append(_spread([run.last("memory/peak_gb") for run in runs]))
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    floors = [_spread([run.last(f"evaluation_floor/{name}") for run in sweep.runs[:1]]) for name in measures]
    lines.append("| *real pictures* | | " + " | ".join(floors) + " | | | | |")
    return "\n".join(lines)


def sentences(sweep: Sweep, name: str) -> list[str]:
    """What can be said of one measure: each setting against the first, paired over the seeds both have."""
    from scipy import stats  # noqa: PLC0415 - takes a second

    (first, base), *others = sweep.groups.items()
    measure, said = name.replace("_", " "), []
    for label, runs in others:
        pairs = [
            (run.last(f"evaluation/{name}"), partner.last(f"evaluation/{name}"))
            for run in runs
            for partner in base
            if run.seed == partner.seed
        ]
        known = [(new, old) for new, old in pairs if new is not None and old is not None]
        if len(known) < 2:
            said.append(f"{label} against {first}: {len(known)} common seed says nothing about {measure}.")
            continue
        new, old = np.array(known).T
        interval = stats.ttest_rel(new, old).confidence_interval(CONFIDENCE)
        low, high = float(interval.low), float(interval.high)
        about = f"{new.mean() - old.mean():+.3g}, {CONFIDENCE:.0%} interval {low:+.3g} to {high:+.3g}, {len(known)} seeds"
        if low > 0 or high < 0:
            said.append(f"{label} has a {'higher' if low > 0 else 'lower'} {measure} than {first} ({about}).")
        else:
            said.append(
                f"{label} and {first} do not differ in {measure} by more than the seeds do ({about})."
            )
    return said


def draw_curves(sweep: Sweep, names: Sequence[str]) -> "Figure":
    """A panel for each measure: the mean over the seeds, the band from least to most, the floor dotted."""
    figure, panels = _figure(5.5 * len(names), 4.5, len(names))
    for axis, name in zip(panels, names, strict=True):
        for number, (label, runs) in enumerate(sweep.groups.items()):
            curves = [curve for run in runs if (curve := run.curve(f"evaluation/{name}"))]
            if not curves:
                continue
            steps = sorted(set.intersection(*(set(curve) for curve in curves)))
            values = np.array([[curve[step] for step in steps] for curve in curves])
            colour, style = COLOURS[number % len(COLOURS)], STYLES[number % len(STYLES)]
            axis.plot(steps, values.mean(0), style, color=colour, label=label, marker="o", markersize=3)
            axis.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)
        floor = sweep.runs[0].last(f"evaluation_floor/{name}")
        if floor is not None:
            axis.axhline(floor, color="#808080", linestyle=":", label="real pictures")
        axis.set(xlabel="step", title=name.replace("_", " "))
        if "distance" in name:
            axis.set_yscale("log")
        axis.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    return figure


def draw_grids(sweep: Sweep) -> "Figure | None":
    """The last samples of each setting's first seed, from the same latents, side by side."""
    shown = []
    for label, runs in sweep.groups.items():
        grids = sorted((runs[0].path / "samples").glob("step-*.png"))
        if grids:
            with Image.open(grids[-1]) as picture:
                height = 2 + (picture.height - 2) // 8 * GRID_ROWS
                shown.append((label, np.asarray(picture.convert("RGB").crop((0, 0, picture.width, height)))))
    if not shown:
        return None
    columns = min(len(shown), 2)
    rows = -(-len(shown) // columns)
    figure, panels = _figure(6 * columns, 2.9 * rows, len(shown), columns)
    for axis, (label, pixels) in zip(panels, shown, strict=True):
        axis.imshow(pixels, interpolation="nearest")
        axis.set_title(label, fontsize=9)
        axis.axis("off")
    return figure


def _read_run(directory: Path) -> "Run | str":
    """A run, or a sentence about why there is none."""
    try:
        state = checkpoint.newest(directory / "checkpoints")
    except UserError as error:
        return str(error)
    if state is None:
        return f"{directory.name} has no checkpoint yet; the same command goes on with it"
    settings = {key: value for key, value in flatten(state["config"]).items() if key not in INCIDENTAL}
    metrics = directory / "metrics.jsonl"
    records = []
    for line in metrics.read_text().splitlines() if metrics.exists() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue  # cut short by a kill; the run drops it when it goes on
    parameters = sum(
        tensor.numel()
        for name, tensor in state["generator"].items()
        if not name.endswith(("mean", "var", "tracked"))
    )
    return Run(
        directory, settings, state["data_fingerprint"], state["step"], settings["steps"], records, parameters
    )


def _evaluated(run: Run) -> bool:
    return any(key.startswith("evaluation/") for record in run.records for key in record)


def _grouped(runs: list[Run]) -> dict[str, list[Run]]:
    """By the settings in which the runs differ, but for the seed; the group nearest to the defaults first.

    Where each group but the first has settings of its own, only these are named; in a grid, all that differ.
    """
    keys = sorted({key for run in runs for key in run.settings} - {"seed"})
    differing = [key for key in keys if len({_plain(run.settings.get(key)) for run in runs}) > 1]
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(_plain(run.settings.get(key)) for key in differing), []).append(run)
    defaults = flatten(Config().to_plain())
    usual = tuple(_plain(defaults.get(key)) for key in differing)
    order = sorted(groups, key=lambda group: sum(a != b for a, b in zip(group, usual, strict=True)))

    def label(group: tuple[str, ...]) -> str:
        pairs = zip(differing, group, order[0], strict=True)
        own = [f"{key}={value}" for key, value, first in pairs if grid or value != first]
        return ", ".join(own) or ("the others' base" if differing else "all alike")

    changed = [sum(a != b for a, b in zip(group, order[0], strict=True)) for group in order[1:]]
    grid = len(differing) == 1 or sum(changed) > len(differing)
    return {label(group): sorted(groups[group], key=lambda run: run.seed) for group in order}


def _plain(value: Any) -> str:
    return json.dumps(value).replace('"', "").replace(" ", "")


def _spread(values: Sequence[float | None]) -> str:
    """Mean and standard deviation of what is known."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{statistics.mean(known):.3g}"
    return f"{mean} ± {statistics.stdev(known):.2g}" if len(known) > 1 else mean


def _figure(
    width: float, height: float, panels: int, columns: int | None = None
) -> tuple["Figure", list["Axes"]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - takes a second
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    columns = columns or panels
    grid = figure.subplots(-(-panels // columns), columns, squeeze=False).flatten()
    for unused in grid[panels:]:
        unused.axis("off")
    return figure, list(grid[:panels])
