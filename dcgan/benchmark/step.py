"""Measure how long a whole training step takes with each way to upsample."""

import dataclasses
import statistics
from collections.abc import Callable
from typing import NamedTuple

import torch

from dcgan import cuda_graphs, engine
from dcgan.benchmark.turns import extra_memory, in_turns, memory_given_back
from dcgan.choices import Algorithm, Upsample
from dcgan.config import Config

CLASSES = 10  # of a conditional run
REFERENCE = Upsample.builtin


class Row(NamedTuple):
    """The measurements of one way to upsample."""

    upsample: Upsample
    seconds: float  # of a step, median
    ratio: float  # median of the ratios to the built-in layer within a turn
    images: float  # per second
    peak: int | None  # bytes beyond those held before


def measure(config: Config, device: torch.device, seconds: float) -> list[Row]:
    """Measure all ways to upsample, in turns, on images of noise.

    Args:
        config: a run's settings; ``model.upsample`` is ignored.
        device: where to measure.
        seconds: how long to repeat the steps; at least 5 turns.
    """
    with memory_given_back():
        steps = {upsample: _steps(config, upsample, device, engine.train_step) for upsample in Upsample}
        peaks = {upsample: extra_memory(function, device) for upsample, function in steps.items()}
    if device.type == "cuda":  # record them, as training does; after `peaks`, as a recording keeps its memory
        for upsample in Upsample:
            steps[upsample] = _steps(config, upsample, device, cuda_graphs.train_step_on(device, config))
            steps[upsample]()  # in_turns makes the second call, which records
    times = in_turns({str(upsample): function for upsample, function in steps.items()}, device, seconds)
    rows = []
    for upsample in steps:
        step = statistics.median(times[upsample]) / config.loss.penalty_every
        pairs = zip(times[upsample], times[REFERENCE], strict=True)
        ratio = statistics.median(mine / theirs for mine, theirs in pairs)
        rows.append(Row(upsample, step, ratio, config.batch_size / step, peaks[upsample]))
    return rows


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| upsample | ms a step | ratio | images/s | peak MB |", "| --- | ---: | ---: | ---: | ---: |"]
    for row in rows:
        peak = "" if row.peak is None else f"{row.peak / 1e6:.0f}"
        lines.append(f"| {row.upsample} | {row.seconds * 1e3:.1f} | {row.ratio:.2f} | {row.images:,.0f} | {peak} |")
    return "\n".join(lines)


def _steps(
    config: Config, upsample: Upsample, device: torch.device, train_step: Callable[..., object]
) -> Callable[[], None]:
    """Return a function that runs the steps from one penalty to the next, so that each turn has one penalty."""
    algorithm = config.model.algorithm if upsample is Upsample.scratch else Algorithm.auto
    model = dataclasses.replace(config.model, upsample=upsample, algorithm=algorithm)
    config = dataclasses.replace(config, model=model, steps=max(config.steps, config.loss.penalty_every))
    classes = CLASSES if config.model.conditional else 0
    state = engine.build(config, classes, device)
    shape = (config.batch_size, config.data.channels, *config.data.image_size)
    images = torch.rand(shape, device=device) * 2 - 1
    labels = torch.arange(config.batch_size, device=device) % CLASSES if classes else None

    def steps() -> None:
        state.step = 0  # in every call: beyond the run's last step the learning rate would be negative
        for _ in range(config.loss.penalty_every):
            train_step(state, config, images, labels)

    return steps
