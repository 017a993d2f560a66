"""The runs of a sweep -> the differences that exceed those between seeds: a table, sentences and pictures.

``sweeps`` reads the run directories, ``pictures`` draws, and this module writes ``report.md`` and ``runs.csv``.
"""

import csv
import io
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dcgan.atomic import replacing, write_text
from dcgan.config import Config, flatten
from dcgan.reporting.pictures import draw_curves, draw_grids, draw_spectrum
from dcgan.reporting.sweeps import Sweep, differing, mixes_diversities, plain, read

__all__ = ["Sweep", "compare", "read", "table", "verdict", "write"]

CONFIDENCE = 0.95
CLAIMED = (  # measures that the sentences are about; the first three available ones also become curves
    *("frechet_classifier_distance", "sliced_wasserstein_distance", "class_agreement", "coverage"),
    *("diversity", "checkerboard"),
)


@dataclass(frozen=True)
class Difference:
    """The difference of a measure between two settings: its mean over the seeds, and the confidence interval."""

    name: str
    mean: float
    low: float
    high: float
    seeds: int  # number of seeds that both settings have
    others: int = 0  # number of seeds that only one of them has

    @property
    def is_claimed(self) -> bool:
        """Whether zero lies outside the interval; False if there is no interval."""
        return self.low > 0 or self.high < 0

    @property
    def cell(self) -> str:
        """The text for a table."""
        if self.seeds < 2:
            return "-"
        bold = "**" * self.is_claimed
        mean, low, high = (_number(value, 2, "+") for value in (self.mean, self.low, self.high))
        few = f"{self.seeds} seeds in common" * (self.others > 0)
        interval = "" if math.isnan(self.low) else f"{low} to {high}"
        remark = ", ".join(filter(None, [interval, few]))
        return f"{bold}{mean}{bold}" + (f" ({remark})" if remark else "")

    @property
    def words(self) -> str:
        """The phrase for a sentence."""
        way = "higher" if self.mean > 0 else "lower"
        return f"a {way} {self.name.replace('_', ' ')} ({_number(self.mean, 3, '+')})"


def write(sweep: Sweep) -> str:
    """Write ``report.md``, its pictures and ``runs.csv`` into the sweep's directory, and return the report."""
    measures = sweep.measures
    lines = [f"# {sweep.path.name}", "", table(sweep), "", f"{next(iter(sweep.groups))}: {base(sweep)}.", ""]
    lines += [f"- {remark}" for remark in sweep.remarks] + [""] * bool(sweep.remarks)
    left_out = {"diversity"} if mixes_diversities(sweep.runs) else set()
    told = [name for name in CLAIMED if name in measures and name not in left_out]
    if sweep.compared and told:
        lines += verdict(sweep, told)
    pictures = {
        "samples": draw_grids(sweep),
        "curves": draw_curves(sweep, told[:3]) if told else None,
        "spectrum": draw_spectrum(sweep),
    }
    for name, figure in pictures.items():
        if isinstance(figure, str):
            lines += [f"- {figure}", ""]
        elif figure is not None:
            with replacing(sweep.path / f"{name}.png") as partial:
                figure.savefig(partial)
            lines += [f"![{name}]({name}.png)", ""]
    text = "\n".join(lines)
    write_text(sweep.path / "report.md", text)
    write_text(sweep.path / "runs.csv", runs_as_csv(sweep))
    return text


def table(sweep: Sweep) -> str:
    """Return a Markdown table: a row per setting with mean and deviation over its seeds, and the floor as last row."""
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
    floors = [_spread([sweep.floor(name)]) for name in measures]
    lines.append("| *real pictures* | | " + " | ".join(floors) + " | | | | |")
    return "\n".join(lines)


def runs_as_csv(sweep: Sweep) -> str:
    """Return one line per run, for other programs: its settings that differ, its last measures and what it took."""
    keys = [*differing(sweep.runs), "seed"]
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["run", *keys, *sweep.measures, "training_seconds", "images_per_second", "parameters", "peak_gb"])
    for run in sweep.runs:
        measures = [run.last(f"evaluation/{name}") for name in sweep.measures]
        took = [run.seconds, run.speed, run.parameters, run.last("memory/peak_gb")]
        lines.writerow([run.path.name, *(plain(run.settings.get(key)) for key in keys), *measures, *took])
    return text.getvalue()


def base(sweep: Sweep) -> str:
    """Describe how the first group differs from the defaults."""
    own, usual = sweep.runs[0].settings, flatten(Config().to_plain())
    changed = [f"{key}={value}" for key, value in own.items() if key != "seed" and value != usual.get(key)]
    return f"the defaults but for {', '.join(changed)}" if changed else "the defaults"


def compare(sweep: Sweep, name: str) -> list[Difference]:
    """Compare settings in one measure, as `Sweep.compared` says, paired by the seeds that both have."""
    from scipy import stats  # noqa: PLC0415 - takes a second

    known = {
        label: {run.seed: value for run in runs if (value := run.last(f"evaluation/{name}")) is not None}
        for label, runs in sweep.groups.items()
    }
    found = []
    for values, base in ((known[label], known[other]) for label, other in sweep.compared.items()):
        differences = np.array([values[seed] - base[seed] for seed in values.keys() & base.keys()])
        mean = low = high = math.nan
        if len(differences) > 1:
            rounding = 1e-9 * np.abs(differences).max()
            mean = 0.0 if abs(differences.mean()) <= rounding < math.inf else float(differences.mean())
            if np.ptp(differences) > rounding:  # equal differences are chance, not certainty
                low, high = map(float, stats.ttest_1samp(differences, 0).confidence_interval(CONFIDENCE))
        found.append(Difference(name, mean, low, high, len(differences), len(values.keys() ^ base.keys())))
    return found


def verdict(sweep: Sweep, names: Sequence[str]) -> list[str]:
    """Return a sentence per setting on what differs by more than the seeds, then a Markdown table of all intervals."""
    columns = [compare(sweep, name) for name in names]
    bases = {*sweep.compared.values()}
    head = f"against {', '.join(f'{key}={value}' for key, value in sweep.against.items()) or next(iter(bases))}"
    lines = []
    rows = [f"| {head} | " + " | ".join(name.replace("_", " ") for name in names) + " |"]
    rows.append("| --- |" + " ---: |" * len(names))
    for (label, first), found in zip(sweep.compared.items(), zip(*columns, strict=True), strict=True):
        claims = [difference.words for difference in found if difference.is_claimed]
        if all(difference.seeds < 2 for difference in found):
            lines.append(f"- {label} and {first} have too few seeds in common to say anything.")
        elif all(difference.mean == 0 and math.isnan(difference.low) for difference in found):
            lines.append(f"- {label} gives the very numbers of {first}: the setting has had no effect.")
        elif not claims:
            lines.append(f"- {label} and {first} differ in nothing by more than the seeds do.")
        else:
            lines.append(f"- {label} has {', '.join(claims)} than {first}, and else no more than the seeds do.")
        rows.append(f"| {label} | " + " | ".join(difference.cell for difference in found) + " |")
    known = sum(math.isfinite(difference.low) for found in columns for difference in found)
    about = f"Mean difference and {CONFIDENCE:.0%} interval, paired by seed; bold where zero is not in it. "
    if known:
        about += (
            f"Of {known} such intervals {known * (1 - CONFIDENCE):.2g} are expected to exclude zero by chance alone."
        )
    return [*lines, "", *rows, "", about.strip(), ""]


def _spread(values: Sequence[float | None]) -> str:
    """Format the mean and standard deviation of the known values."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = _number(statistics.mean(known), 3)
    return f"{mean} ± {_number(statistics.stdev(known), 2)}" if len(known) > 1 else mean


def _number(value: float, digits: int, sign: str = "") -> str:
    """Format with ``digits`` significant digits; large values get all their digits instead of an exponent."""
    return f"{value:{sign},.0f}" if abs(value) >= 10**digits - 0.5 else f"{value:{sign}.{digits}g}"
