"""``python -m dcgan.train``: compose the settings, build, resume, train; the exit code tells how it ended.

0 finished, 1 an error of one sentence, 130 and 143 interrupted and terminated after saving.
"""

import logging
import os
import shutil
import signal
import sys
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import hydra
from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dcgan import cli
from dcgan.config import Config
from dcgan.errors import UserError

if TYPE_CHECKING:
    import torch

    from dcgan.data import Batches
    from dcgan.engine import TrainState
    from dcgan.evaluation import Evaluator

log = logging.getLogger("dcgan.train")  # __name__ is "__main__" under python -m

LOCK, LOG = ".lock", "run.log"


def train(config: Config, run_dir: Path) -> int:
    """Train, or go on training, in ``run_dir``, which nobody else uses; returns the exit code."""
    from dcgan import data, engine, evaluation, parallel, run_directory
    from dcgan.device import choose_device
    from dcgan.tracking import log_to

    if parallel.first():
        log_to(run_dir / LOG)
    else:
        logging.disable()

    with parallel.together():
        # --- Build ---
        device = choose_device(config.device)
        found = data.load(config.data)
        augment, on_device = config.data.augment, config.data.on_device
        batches = data.Batches(
            found.shown, config.batch_size, config.seed, device, augment, on_device, shared=True
        )
        num_classes = len(found.train.classes) if config.model.conditional else 0
        state = engine.build(config, num_classes, device)
        # What a checkpoint says of where it comes from, beside the state. The pictures are all that could be shown.
        fingerprint = found.train.fingerprint
        origin = {"config": config.to_plain(), "num_classes": num_classes, "data_fingerprint": fingerprint}

        # --- Resume ---
        if parallel.first():
            run_directory.resume(state, config, run_dir, origin)
    if parallel.count() > 1:
        state.load_state_dict(parallel.from_first(state.state_dict()))
    if state.step >= config.steps:
        log.info("%s is finished: step %d of %d", run_dir, state.step, config.steps)
        return 0
    evaluator = None
    with parallel.together():
        if parallel.first():
            describe(run_dir, config, state, len(found.shown), len(found.held_out), device)
            run_directory.list_skipped(run_dir, found.skipped)
            if config.evaluate_every:
                evaluator = evaluation.Evaluator(found, config.evaluate_samples, num_classes > 0, device)

    if parallel.first():
        stopped_by = loop(config, run_dir, state, batches, evaluator, origin)
    else:
        stopped_by = follow(config, state, batches, conditional=num_classes > 0)
    if state.step < config.steps:
        log.info("stopped and saved at step %d; the same command goes on from there", state.step)
    else:
        log.info("finished: %s", run_dir)
    return 128 + stopped_by if stopped_by else 0


def loop(
    config: Config,
    run_dir: Path,
    state: "TrainState",
    batches: "Batches",
    evaluator: "Evaluator | None",
    origin: dict[str, Any],
) -> int:
    """Step until all are done or a signal comes; returns the signal's number, or 0."""
    from dcgan import engine, evaluation, parallel, run_directory, sampling
    from dcgan.images import grid
    from dcgan.tracking import Tracker
    from dcgan.watch import Watch

    num_classes, watch = origin["num_classes"], Watch()
    best = run_directory.Best(run_dir, afresh=state.step == 0)
    latents, labels, columns = sampling.fixed_inputs(state.generator_ema, num_classes)
    stopped_by = 0
    losses: dict[str, float] = {}  # the newest
    results: dict[str, float] = {}  # of the newest evaluation

    def due(every: int) -> bool:
        return every > 0 and (state.step % every == 0 or state.step == config.steps)

    about = (run_dir, state.step, config.steps, config.batch_size, evaluator.headline if evaluator else None)
    with Tracker(*about) as tracker, StopSignals() as stop:
        if tracker.fresh or state.step == 0:
            tracker.text("settings", (run_dir / "config.yaml").read_text())
            examples = batches.data.examples(columns, sampling.GRID_ROWS, by_class=num_classes > 0)
            tracker.picture(0, "real", grid(examples, columns))
        while state.step < config.steps and not (stopped_by := parallel.most(stop.received)):
            real, classes = batches[state.step]
            result = engine.train_step(state, config, real, classes if num_classes else None)
            tracker.advance()
            if due(config.log_every):
                scalars = {name: float(value) for name, value in result.items()}
                tracker.scalars(state.step, scalars)
                tracker.warn(state.step, watch.look(state.step, scalars | results))
                losses |= {name: value for name, value in scalars.items() if name.startswith("loss/")}
            if due(config.sample_every):
                samples = sampling.generate(state.generator_ema, latents, labels)
                tracker.picture(state.step, "samples", grid(samples, columns))
            if evaluator is not None and due(config.evaluate_every):
                with tracker.aside():
                    count, asked = evaluator.count, evaluator.labels
                    measures = evaluator(sampling.generate_many(state.generator_ema, count, asked))
                    tracker.measures(state.step, evaluation.scalars(measures), evaluation.summary(measures))
                    best.offer(state, origin, evaluator.headline, measures[evaluator.headline].value)
                results = {name: measure.value for name, measure in measures.items()}
            if due(config.checkpoint_every) and state.step < config.steps:
                run_directory.save(state, config, run_dir, origin)
        run_directory.save(state, config, run_dir, origin, last=True)
        if state.step == config.steps:
            tracker.finish(config.to_plain(), results or losses)
    return stopped_by or parallel.most(stop.received)


def follow(config: Config, state: "TrainState", batches: "Batches", conditional: bool) -> int:
    """What torchrun's other processes do of `loop`: the steps, and nothing that the first one writes."""
    from dcgan import engine, parallel

    stopped_by = 0
    with StopSignals() as stop:
        while state.step < config.steps and not (stopped_by := parallel.most(stop.received)):
            real, classes = batches[state.step]
            engine.train_step(state, config, real, classes if conditional else None)
    return stopped_by or parallel.most(stop.received)


def describe(
    run_dir: Path, config: Config, state: "TrainState", count: int, held_out: int, device: "torch.device"
) -> None:
    """Write the run's settings, and say in a line what is about to be trained."""
    (run_dir / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config.to_plain())))
    height, width = config.data.image_size
    generator, discriminator = (
        sum(parameter.numel() for parameter in network.parameters()) / 1e6
        for network in (state.generator, state.discriminator)
    )
    log.info(
        "%s: %s pictures of %d x %d (%s held out), generator %.2f M and discriminator %.2f M parameters, on %s",
        *(run_dir, f"{count:,}", height, width, f"{held_out:,}", generator, discriminator, device),
    )


class StopSignals:
    """While entered, Ctrl-C and SIGTERM are noted in `received` instead of ending the process.

    A second Ctrl-C ends it at once; the checkpoints on the disk stay valid.
    """

    def __init__(self) -> None:
        self.received: int = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received:
            raise KeyboardInterrupt
        self.received = number


def train_locked(config: Config, run_dir: Path) -> int:
    """`train`, with the directory locked against processes that are not of this run.

    Raises:
        UserError: also where memory does not suffice.
    """
    # Importing torch takes seconds, for which --help and a mistyped setting should not have to wait.
    from dcgan import parallel

    parallel.join()
    with ExitStack() as whole:
        with parallel.together():
            if parallel.first():
                whole.enter_context(locked(run_dir))
        try:
            return train(config, run_dir)
        except RuntimeError as error:
            if not any(words in str(error) for words in ("can't allocate memory", "out of memory")):
                raise
            raise UserError(
                f"there is too little memory for batch_size={config.batch_size}, model.width={config.model.width} and "
                f"data.image_size={list(config.data.image_size)}; set one of them to less"
            ) from error


def locked(run_dir: Path) -> AbstractContextManager[object]:
    """A lock that is held until it is left.

    Raises:
        UserError: if another process has it.
    """
    try:
        return FileLock(run_dir / LOCK, timeout=0).acquire()
    except Timeout as error:
        raise UserError(
            f"another process is training in {run_dir}; wait for it or set another name="
        ) from error


def discard_if_empty(run_dir: Path) -> None:
    """Leave no directory behind of a run that came to nothing: a log of the attempt is no run.

    Unless another process is at work in it, which may not have come to write anything yet.
    """
    if cli.speaks():
        with suppress(UserError), locked(run_dir):
            if {path.name for path in run_dir.iterdir()} <= {LOCK, LOG}:
                shutil.rmtree(run_dir)


@hydra.main(version_base="1.3", config_path=str(cli.CONFIG_DIR), config_name="train")
def job(composed: DictConfig) -> None:
    """One run, or one of those of ``-m``."""
    hydra_config = HydraConfig.get()
    run_dir = Path(os.path.relpath(hydra_config.runtime.output_dir))
    config = None
    try:
        config = cli.to_config(composed)
        cli.check_mode(config, run_dir)
        config.name = run_dir.name
        code = train_locked(config, run_dir)
    except KeyboardInterrupt:
        discard_if_empty(run_dir)
        raise
    except UserError as error:
        if config is not None:
            discard_if_empty(run_dir)
        else:  # a name= that was refused may be anybody's directory
            with suppress(OSError):
                run_dir.rmdir()
        if hydra_config.mode is RunMode.MULTIRUN:
            if cli.speaks():
                print(f"error: {run_dir.name}: {error}", file=sys.stderr)
            raise  # Hydra goes on with the other runs and raises the first such error at the end
        cli.fail(error)
    if code:
        sys.exit(code)


def main() -> None:
    """The command."""
    cli.register()
    for flag in {"-m", "--multirun"} & {*sys.argv}:  # anywhere, where Hydra wants it before the settings
        sys.argv.remove(flag)
        sys.argv.insert(1, flag)
    code = 0
    try:
        cli.exit_on_error(job)
    except SystemExit as ended:
        code = int(ended.code or 0)
    if "RANK" in os.environ:  # one of torchrun's processes
        from dcgan import parallel

        parallel.leave(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
