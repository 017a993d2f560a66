"""A whole training run: build, resume and loop, in one process or several. The command is in `train`."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from dcgan import cuda_graphs, data, engine, evaluation, parallel, provenance, run_directory, sampling
from dcgan.atomic import write_text
from dcgan.config import Config
from dcgan.device import choose_device
from dcgan.engine import TrainState
from dcgan.evaluation import Evaluator
from dcgan.images import grid
from dcgan.tracking import Tracker
from dcgan.watch import Watch

log = logging.getLogger(__name__)


def train(config: Config, run_dir: Path | str) -> int:
    """Train, or resume training, in ``run_dir``, which no other run may be using; return the exit code."""
    run_dir = Path(run_dir)
    with parallel.all_or_none():
        # --- Build ---
        device = choose_device(config.device)
        found = data.load(config.data)
        augment, on_device = config.data.augment, config.data.on_device
        batches = data.Batches(found.shown, config.batch_size, config.seed, device, augment, on_device, shared=True)
        num_classes = len(found.train.classes) if config.model.conditional else 0
        state = engine.build(config, num_classes, device)
        # A checkpoint's record of its origin. The fingerprint is of all training pictures, not only data.limit of them.
        metadata: dict[str, Any] = {
            "config": config.to_plain(),
            "num_classes": num_classes,
            "classes": found.train.classes[:num_classes],
            "class_counts": np.bincount(found.shown.labels, minlength=num_classes)[:num_classes].tolist(),
            "data_fingerprint": found.train.fingerprint,
            "provenance": provenance.provenance(device),
        }

        # --- Resume ---
        if parallel.is_main():
            run_directory.resume(state, config, run_dir, metadata)
    if parallel.world_size() > 1:
        state.load_state_dict(parallel.broadcast(state.state_dict()))
    if state.step >= config.steps:
        log.info("%s is finished: step %d of %d", run_dir, state.step, config.steps)
        return 0
    evaluator = None
    with parallel.all_or_none():
        if parallel.is_main():
            if config.evaluate_every:
                evaluator = evaluation.Evaluator(found, config.evaluate_samples, num_classes > 0, device)
            write_settings(run_dir, config, state, len(found.shown), len(found.held_out), metadata["provenance"])
            run_directory.list_skipped(run_dir, found.skipped)

    if parallel.is_main():
        stopped_by = loop(config, run_dir, state, batches, evaluator, metadata)
    else:
        stopped_by = worker_loop(config, state, batches, conditional=num_classes > 0)
    if state.step < config.steps:
        log.info("stopped and saved at step %d; the same command goes on from there", state.step)
    else:
        log.info("finished: %s", run_dir)
    return 128 + stopped_by if stopped_by else 0


def loop(
    config: Config,
    run_dir: Path,
    state: TrainState,
    batches: data.Batches,
    evaluator: Evaluator | None,
    metadata: dict[str, Any],
) -> int:
    """Train until all steps are done or a signal arrives; return the number of the signal, or 0."""
    num_classes, watch = metadata["num_classes"], Watch()
    best = run_directory.Best(run_dir, afresh=state.step == 0)
    latents, labels, columns = sampling.fixed_inputs(state.generator_ema, num_classes)
    train_step = cuda_graphs.train_step_on(batches.device, config)
    stopped_by, step = 0, state.step
    losses: dict[str, float] = {}  # of the newest record
    results: dict[str, float] = {}  # of the newest evaluation

    def due(every: int) -> bool:
        return every > 0 and (step % every == 0 or step == config.steps)

    distance = evaluator.headline if evaluator else None
    tracker = Tracker(run_dir, state.step, config.steps, config.batch_size, distance)
    with tracker, noted_signals() as received:
        if tracker.fresh or state.step == 0:
            tracker.text("settings", (run_dir / "config.yaml").read_text("utf-8"))
            examples = batches.data.examples(columns, sampling.GRID_ROWS, by_class=num_classes > 0)
            tracker.picture(0, "real", grid(examples, columns))
        while state.step < config.steps and not (stopped_by := parallel.all_reduce_max(received())):
            step = state.step + 1
            real, classes = batches[state.step]
            asked = classes if num_classes else None
            result = train_step(state, config, real, asked, statistics=due(config.log_every))
            tracker.advance()
            if due(config.log_every):
                scalars = {name: float(value) for name, value in result.items()}
                tracker.scalars(step, scalars)
                tracker.warn(step, watch.look(step, scalars))
                losses |= {name: value for name, value in scalars.items() if name.startswith("loss/")}
            if due(config.sample_every):
                with tracker.aside():
                    samples = sampling.generate(state.generator_ema, latents, labels)
                    tracker.picture(step, "samples", grid(samples, columns))
            if evaluator is not None and due(config.evaluate_every):
                with tracker.aside():
                    images = sampling.generate_many(state.generator_ema, evaluator.count, evaluator.labels)
                    measures = evaluator(images)
                    tracker.measures(step, evaluation.scalars(measures), evaluation.summary(measures))
                    best.offer(state, metadata, evaluator.headline, measures[evaluator.headline].value)
                results = {name: measure.value for name, measure in measures.items()}
                tracker.warn(step, watch.look_at_measures(step, results))
            if due(config.checkpoint_every) and step < config.steps:
                run_directory.save(state, config, run_dir, metadata)
        run_directory.save(state, config, run_dir, metadata, last=True)
        if state.step == config.steps:
            tracker.finish(config.to_plain(), results or losses)
    return stopped_by or parallel.all_reduce_max(received())


def worker_loop(config: Config, state: TrainState, batches: data.Batches, conditional: bool) -> int:
    """The `loop` of torchrun's other processes: the same steps, but only the main process writes anything."""
    stopped_by = 0
    with noted_signals() as received:
        while state.step < config.steps and not (stopped_by := parallel.all_reduce_max(received())):
            real, classes = batches[state.step]
            engine.train_step(state, config, real, classes if conditional else None, statistics=False)
    return stopped_by or parallel.all_reduce_max(received())


def write_settings(
    run_dir: Path, config: Config, state: TrainState, count: int, held_out: int, made_with: dict[str, str]
) -> None:
    """Write the run's settings to config.yaml, and log what is about to be trained; warn if no step has its penalty."""
    write_text(run_dir / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config.to_plain())))
    height, width = config.data.image_size
    generator, discriminator = (
        f"{sum(parameter.numel() for parameter in network.parameters()):,}"
        for network in (state.generator, state.discriminator)
    )
    log.info(
        "%s: %s pictures of %d x %d (%s held out), generator of %s and discriminator of %s parameters",
        *(run_dir, f"{count:,}", height, width, f"{held_out:,}", generator, discriminator),
    )
    log.info(", ".join(f"{key} {value}" for key, value in made_with.items()))
    every = config.loss.penalty_every
    if config.loss.is_penalised and config.steps < every:
        log.warning(
            "no step has a penalty, because loss.penalty_every=%d is more than there are steps; set it to less", every
        )


@contextmanager
def noted_signals() -> Iterator[Callable[[], int]]:
    """Note Ctrl-C and SIGTERM instead of ending the process; yield a function that returns the last signal, or 0.

    A Ctrl-C after a noted signal ends the process at once; the checkpoints on the disk stay valid.
    """
    received = [0]

    def note(number: int, _: object) -> None:
        if number == signal.SIGINT and received[-1]:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: received[-1]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
