"""The directories of a sweep -> its runs, in groups that differ in nothing but the seed."""

import json
import statistics
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from dcgan import checkpoint
from dcgan.config import Config, flatten, is_incidental
from dcgan.errors import UserError

SAME = 1e-3  # distances that differ by so small a share were computed in the same way, if on another machine


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
    def _speeds(self) -> dict[int, float]:
        return self.curve("speed/images_per_second")

    @property
    def _first_step(self) -> int:
        """The step that it began from, about: of one that went on from another's state, its first record."""
        own = is_incidental("resume", self.settings.get("resume", "auto"))
        return 0 if own else next(iter(self._speeds), 0)

    @property
    def speed(self) -> float | None:
        """Images per second over all training steps, without evaluations."""
        counts = [step - before for before, step in pairwise([self._first_step, *self._speeds])]
        return statistics.harmonic_mean(self._speeds.values(), counts) if sum(counts) else None

    @property
    def seconds(self) -> float | None:
        """Time spent in training steps and their checkpoints."""
        steps = self.step - self._first_step
        return steps * int(self.settings["batch_size"]) / self.speed if self.speed else None


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

    def floor(self, name: str) -> float | None:
        """The measure of real pictures, of the first run that has it."""
        return next((v for run in self.runs if (v := run.last(f"evaluation_floor/{name}")) is not None), None)

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
    floors = [floor for run in kept if (floor := run.last("evaluation_floor/frechet_classifier_distance"))]
    if floors and max(floors) > (1 + SAME) * min(floors):
        remarks.append(
            "the distances are not comparable: real pictures have other ones from run to run, so that they were measured "
            "by several classifiers or with other evaluate_samples"
        )
    return Sweep(path, grouped(kept), remarks)


def _comparable(runs: list[Run], remarks: list[str]) -> list[Run]:
    """The finished ones on the same pictures, each once; of the others a remark is added."""
    of_data = statistics.mode(run.data for run in runs)
    kept: dict[str, Run] = {}
    for run in runs:
        left_out = f"{run.path.name} is left out: "
        if run.data != of_data:
            remarks.append(f"{left_out}it was trained on other pictures than most")
        elif run.step < run.steps:
            remarks.append(f"{left_out}it is at step {run.step} of {run.steps}, the same command finishes it")
        elif (same := kept.setdefault(_plain(run.settings), run)) is not run:  # a number twice is no second seed
            remarks.append(f"{left_out}its settings are those of {same.path.name}")
        elif run.records and not any(key.startswith("evaluation/") for record in run.records for key in record):
            remarks.append(f"{run.path.name} has no evaluation; it was run with evaluate_every=0")
    return list(kept.values())


def _read_run(directory: Path) -> "Run | str":
    """A run, or a sentence about why there is none."""
    try:
        state = checkpoint.newest(directory / "checkpoints")
    except UserError as error:
        return str(error)
    if state is None:
        return f"{directory.name} has no checkpoint yet; the same command goes on with it"
    # A setting that is younger than the run was at its default.
    whole = flatten(Config().to_plain()) | flatten(state["config"])
    settings = {key: value for key, value in whole.items() if not is_incidental(key, value)}
    metrics = directory / "metrics.jsonl"
    records = []
    for line in metrics.read_text().splitlines() if metrics.exists() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue  # cut short by a kill; the run drops it when it goes on
    parameters = sum(
        tensor.numel() for name, tensor in state["generator"].items() if not name.endswith(("mean", "var", "tracked"))
    )
    return Run(directory, settings, state["data_fingerprint"], state["step"], settings["steps"], records, parameters)


def grouped(runs: list[Run]) -> dict[str, list[Run]]:
    """By the settings in which the runs differ, but for the seed; first the group that others are compared with.

    That is the one from which all differ least, and of several the nearest to the defaults. Where each of the others
    has settings of its own, only these are named; in a grid, all that differ.
    """
    keys = sorted({key for run in runs for key in run.settings} - {"seed"})
    differing = [key for key in keys if len({_plain(run.settings.get(key)) for run in runs}) > 1]
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(_plain(run.settings.get(key)) for key in differing), []).append(run)
    defaults = flatten(Config().to_plain())
    usual = tuple(_plain(defaults.get(key)) for key in differing)

    def apart(one: tuple[str, ...], other: tuple[str, ...]) -> int:
        return sum(a != b for a, b in zip(one, other, strict=True))

    base = min(groups, key=lambda group: (sum(apart(group, other) for other in groups), apart(group, usual)))
    order = sorted(groups, key=lambda group: (apart(group, base), apart(group, usual)))

    def label(group: tuple[str, ...]) -> str:
        pairs = zip(differing, group, base, strict=True)
        own = [f"{key}={value}" for key, value, first in pairs if grid or value != first]
        return ", ".join(own) or ("base" if differing else "all alike")

    grid = len(differing) == 1 or sum(apart(group, base) for group in groups) > len(differing)
    return {label(group): sorted(groups[group], key=lambda run: run.seed) for group in order}


def _plain(value: Any) -> str:
    return json.dumps(value).replace('"', "").replace(" ", "")
