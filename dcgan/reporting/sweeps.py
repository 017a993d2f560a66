"""The directories of a sweep -> its runs, in groups whose runs differ only in the seed."""

import json
import re
import statistics
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dcgan import checkpoint
from dcgan.config import Config, flatten, is_incidental
from dcgan.errors import UserError
from dcgan.evaluation.measures import HEADLINES
from dcgan.tracking import read_metrics

SAME = 1e-3  # distances within this relative difference were computed in the same way, perhaps on another machine


@dataclass
class Run:
    """One run of a sweep, as its directory describes it."""

    path: Path
    settings: dict[str, Any]  # flat, without settings that do not change the result
    data: str  # fingerprint of the pictures
    step: int
    steps: int
    records: list[dict[str, float]]  # the lines of metrics.jsonl
    parameters: int  # of the generator
    conditional: bool  # whether it was given labels, which it is only if there are any

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.settings["seed"])

    def curve(self, name: str) -> dict[int, float]:
        """Return the values of a metric by step."""
        return {int(record["step"]): record[name] for record in self.records if name in record}

    def last(self, name: str) -> float | None:
        """Return the newest value of a metric, or None."""
        return next((record[name] for record in reversed(self.records) if name in record), None)

    @property
    def evaluated(self) -> int:
        """The step of the newest evaluation; 0 if there is none."""
        return next(
            (int(r["step"]) for r in reversed(self.records) if any(key.startswith("evaluation/") for key in r)), 0
        )

    @property
    def _speeds(self) -> dict[int, float]:
        return self.curve("speed/images_per_second")

    @property
    def _first_step(self) -> int:
        """The step that the run began from; if it continued another run, approximately: that of its first record."""
        own = is_incidental("resume", self.settings.get("resume", "auto"))
        return 0 if own else next(iter(self._speeds), 0)

    @property
    def speed(self) -> float | None:
        """Images per second over all training steps, excluding evaluations."""
        counts = [step - before for before, step in pairwise([self._first_step, *self._speeds])]
        return statistics.harmonic_mean(self._speeds.values(), counts) if sum(counts) else None

    @property
    def seconds(self) -> float | None:
        """Seconds spent in training steps and their checkpoints."""
        steps = self.step - self._first_step
        return steps * int(self.settings["batch_size"]) / self.speed if self.speed else None


@dataclass
class Sweep:
    """The runs that can be compared, and remarks about them and about the others."""

    path: Path
    groups: dict[str, list[Run]]  # by the settings that differ, except the seed
    remarks: list[str]
    against: dict[str, str] = field(default_factory=dict)  # settings of the groups that others are compared with

    @property
    def measures(self) -> list[str]:
        """The names of the measures that at least one run has."""
        names: dict[str, None] = {}
        for run in self.runs:
            for record in run.records:
                names |= {key.split("/", 1)[1]: None for key in record if key.startswith("evaluation/")}
        return list(names)

    @property
    def compared(self) -> dict[str, str]:
        """The group with which each other group is compared.

        This is the first one. If several have the settings ``against``, as in a grid, it is the one of these that has
        all other settings in common.
        """
        settings = {label: _settings(runs[0]) for label, runs in self.groups.items()}
        first, *others = settings
        if sum(self.against.items() <= own.items() for own in settings.values()) < 2 or not self.against:
            return dict.fromkeys(others, first)
        return {
            label: other
            for label, own in settings.items()
            for other, its in settings.items()
            if other != label and its == own | self.against
        }

    def floor(self, name: str) -> float | None:
        """Return the measure of real pictures, from the first run that has it."""
        return next((v for run in self.runs if (v := run.last(f"evaluation_floor/{name}")) is not None), None)

    @property
    def runs(self) -> list[Run]:
        """All runs."""
        return [run for runs in self.groups.values() for run in runs]


def read(path: Path, against: str | None = None) -> Sweep:
    """Read the runs in a directory.

    Args:
        path: the directory.
        against: the settings of the runs that others are compared with, such as ``"model.upsample=builtin"``.

    Raises:
        UserError: if the directory is not that of a sweep, or holds no finished run, or none with these settings.
    """
    if not path.is_dir():
        raise UserError(
            f"sweep={path} is no directory; python -m dcgan.train -m ... sweep=NAME makes outputs/sweeps/NAME"
        )
    if (path / "config.yaml").exists():
        raise UserError(f"sweep={path} is one run; give the directory that it lies in")
    runs, remarks = [], []
    for directory in sorted(config.parent for config in path.glob("*/config.yaml")):
        found = _read_run(directory)
        if isinstance(found, Run):
            runs.append(found)
        else:
            remarks.append(found)
    if not runs:
        raise UserError(f"sweep={path} holds no run that has a checkpoint; {'; '.join(remarks) or 'it is empty'}")
    kept = _comparable(runs, remarks)
    if not kept:
        raise UserError(f"sweep={path} holds no finished run; {'; '.join(remarks)}")
    chosen = {} if against is None else _chosen(kept, against)
    sweep = Sweep(path, grouped(kept, chosen), remarks + _incomparable(kept), chosen)
    for label, runs in sweep.groups.items():
        if label not in sweep.compared and not chosen.items() <= _settings(runs[0]).items():
            sweep.remarks.append(f"{label} is compared with nothing: no run has {against} and its other settings")
    return sweep


def _chosen(runs: list[Run], against: str) -> dict[str, str]:
    """Parse ``against``, and write its values as the runs do."""
    keys = differing(runs)
    if not keys:
        raise UserError(f"against={against}: the runs differ in nothing but their seeds; leave it out")
    chosen: dict[str, str] = {}
    for part in re.split(r",(?![^\[]*\])", against):  # at commas, but not within brackets
        key, _, value = map(str.strip, part.partition("="))
        key = f"{key}.name" if f"{key}.name" in keys else key
        if key not in keys or key in chosen:
            raise UserError(f"against={against}: {key!r} must be one of {', '.join(keys)}, and given once")
        values = dict.fromkeys(_settings(run)[key] for run in runs)
        same = [known for known in values if known == value or _parsed(known) == _parsed(value)]
        if not same:
            raise UserError(f"against={against}: {key} is {' or '.join(values)} in these runs")
        chosen[key] = same[0]
    if not any(chosen.items() <= _settings(run).items() for run in runs):
        raise UserError(f"against={against}: no run has all of these")
    return chosen


def differing(runs: list[Run]) -> list[str]:
    """The names of the settings in which the runs differ, without the seed."""
    keys = sorted({key for run in runs for key in run.settings} - {"seed"})
    return [key for key in keys if len({plain(run.settings.get(key)) for run in runs}) > 1]


def _parsed(text: str) -> Any:
    """What a value on the command line means, so that .5 equals 0.5 and [0, 1] equals [0,1]."""
    try:
        return OmegaConf.from_dotlist([f"value={text}"])["value"]
    except (OmegaConfBaseException, YAMLError):
        return text


def _settings(run: Run) -> dict[str, str]:
    """The settings that runs of one group have in common, as text."""
    return {key: plain(value) for key, value in run.settings.items() if key != "seed"}


def _incomparable(runs: list[Run]) -> list[str]:
    """Say which measures of the runs cannot be compared."""
    remarks = []
    if any(_floors_differ(runs, distance) for distance in HEADLINES):
        remarks.append(
            "the distances are not comparable: their floors differ from run to run, so they were measured by different "
            "classifiers or with different evaluate_samples"
        )
    if mixes_diversities(runs):
        remarks.append(
            "diversity is not comparable: in conditional runs it is that of pictures of one class, in the others that of all"
        )
    return remarks


def mixes_diversities(runs: list[Run]) -> bool:
    """Whether the diversity of some runs is that of pictures of one class, and of others that of all pictures."""
    return len({run.conditional for run in runs}) > 1


def _floors_differ(runs: list[Run], distance: str) -> bool:
    floors = [floor for run in runs if (floor := run.last(f"evaluation_floor/{distance}"))]
    return bool(floors) and max(floors) > (1 + SAME) * min(floors)


def _comparable(runs: list[Run], remarks: list[str]) -> list[Run]:
    """Return the finished runs on the same pictures, each once, and add remarks on the others."""
    of_data = statistics.mode(run.data for run in runs)
    kept: dict[str, Run] = {}
    for run in runs:
        left_out = f"{run.path.name} is left out: "
        if run.data != of_data:
            remarks.append(f"{left_out}it was trained on other pictures than most")
        elif run.step < run.steps:
            remarks.append(f"{left_out}it is at step {run.step} of {run.steps}, the same command finishes it")
        elif (same := kept.setdefault(plain(run.settings), run)) is not run:  # a repeated run is not a second seed
            remarks.append(f"{left_out}its settings are those of {same.path.name}")
        elif run.records and (evaluated := run.evaluated) != run.steps:
            state = f"was last evaluated at step {evaluated:,} of {run.steps:,}" if evaluated else "has no evaluation"
            remarks.append(f"{run.path.name} {state}; it was run with evaluate_every=0")
    return list(kept.values())


def _read_run(directory: Path) -> "Run | str":
    """Read a run, or return a sentence that says why that is impossible."""
    try:
        state = checkpoint.newest(directory / "checkpoints")
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"{directory.name} cannot be read ({error.strerror})"
    if state is None:
        return f"{directory.name} has no checkpoint yet; the same command goes on with it"
    # A setting that did not exist when the run was made had its default value.
    whole = flatten(Config().to_plain()) | flatten(state["config"])
    settings = {key: value for key, value in whole.items() if not is_incidental(key, value)}
    records = read_metrics(directory / "metrics.jsonl")
    parameters = sum(
        tensor.numel() for name, tensor in state["generator"].items() if not name.endswith(("mean", "var", "tracked"))
    )
    return Run(
        directory,
        settings,
        state["data_fingerprint"],
        state["step"],
        settings["steps"],
        records,
        parameters,
        conditional=state["num_classes"] > 0,
    )


def grouped(runs: list[Run], against: dict[str, str] | None = None) -> dict[str, list[Run]]:
    """Group runs by the settings that differ, except the seed; the first group is the base.

    The base is the group from which all others differ least, among those with the settings ``against`` if given; of
    several such groups, the nearest to the defaults. If each other group changes settings of its own, its label names
    only these; in a grid, all that differ.
    """
    keys = differing(runs)
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(plain(run.settings.get(key)) for key in keys), []).append(run)
    defaults = flatten(Config().to_plain())
    usual = tuple(plain(defaults.get(key)) for key in keys)

    def apart(one: tuple[str, ...], other: tuple[str, ...]) -> int:
        return sum(a != b for a, b in zip(one, other, strict=True))

    bases = [group for group in groups if (against or {}).items() <= dict(zip(keys, group, strict=True)).items()]
    base = min(bases, key=lambda group: (sum(apart(group, other) for other in groups), apart(group, usual)))
    order = sorted(groups, key=lambda group: (apart(group, base), apart(group, usual)))

    def label(group: tuple[str, ...]) -> str:
        pairs = zip(keys, group, base, strict=True)
        own = [f"{key}={value}" for key, value, first in pairs if grid or value != first]
        return ", ".join(own) or ("base" if keys else "all alike")

    grid = len(keys) == 1 or sum(apart(group, base) for group in groups) > len(keys)
    return {label(group): sorted(groups[group], key=lambda run: run.seed) for group in order}


def plain(value: Any) -> str:
    """A value as one would write it on the command line."""
    return json.dumps(value).replace('"', "").replace(" ", "")
