"""``python -m dcgan.train``: compose the settings, build, resume, train; the exit code tells how it ended.

0 finished, 1 an error of one sentence, 130 and 143 interrupted and terminated after saving.
"""

import logging
import os
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import hydra
from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dcgan import cli
from dcgan.config import Config, Device, differences
from dcgan.errors import UserError

if TYPE_CHECKING:
    import torch

    from dcgan.engine import TrainState

log = logging.getLogger("dcgan.train")  # __name__ is "__main__" under python -m

LOCK, LOG = ".lock", "run.log"


def train(config: Config, run_dir: Path) -> int:
    """Train, or go on training, in ``run_dir``, which nobody else uses; returns the exit code."""
    # Importing torch takes seconds, for which --help and a mistyped setting should not have to wait.
    from dcgan import data, engine, sampling
    from dcgan.images import grid
    from dcgan.tracking import Tracker, log_to

    log_to(run_dir / LOG)

    # --- Build ---
    device = choose_device(config.device)
    images, held_out, skipped, _ = data.load(config.data)
    augment, on_device = config.data.augment, config.data.on_device
    batches = data.Batches(images, config.batch_size, config.seed, device, augment, on_device)
    num_classes = len(images.classes) if config.model.conditional else 0
    state = engine.build(config, num_classes, device)
    # What a checkpoint says of where it comes from, beside the state.
    origin = {"config": config.to_plain(), "num_classes": num_classes, "data_fingerprint": images.fingerprint}

    # --- Resume ---
    resume(state, config, run_dir, origin)
    if state.step >= config.steps:
        log.info("%s is finished: step %d of %d", run_dir, state.step, config.steps)
        return 0
    describe(run_dir, config, state, len(images), len(held_out), device)
    list_skipped(run_dir, skipped)
    latents, labels, columns = sampling.fixed_inputs(config.model.latent_dim, num_classes)

    def due(every: int) -> bool:
        return every > 0 and (state.step % every == 0 or state.step == config.steps)

    # --- Train ---
    scalars: dict[str, float] = {}
    with Tracker(run_dir, state.step, config.steps, config.batch_size) as tracker, StopSignals() as stop:
        if state.step == 0:
            tracker.text("settings", (run_dir / "config.yaml").read_text())
            examples = images.examples(columns, sampling.GRID_ROWS, by_class=num_classes > 0)
            tracker.picture(0, "real", grid(examples, columns))
        while state.step < config.steps and not stop.received:
            real, classes = batches[state.step]
            result = engine.train_step(state, config, real, classes if num_classes else None)
            tracker.advance()
            if due(config.log_every):
                scalars = {name: float(value) for name, value in result.items()}
                tracker.scalars(state.step, scalars)
            if due(config.sample_every):
                samples = sampling.generate(state.generator_ema, latents, labels)
                tracker.picture(state.step, "samples", grid(samples, columns))
            if due(config.checkpoint_every) and state.step < config.steps:
                save(state, config, run_dir, origin)
        save(state, config, run_dir, origin, last=True)
        if not stop.received:
            losses = {name: value for name, value in scalars.items() if name.startswith("loss/")}
            tracker.finish(config.to_plain(), losses)

    if stop.received:
        log.info("stopped and saved at step %d; the same command goes on from there", state.step)
        return 128 + stop.received
    log.info("finished: %s", run_dir)
    return 0


def resume(state: "TrainState", config: Config, run_dir: Path, origin: dict[str, Any]) -> None:
    """Put ``state`` where the run directory, else the checkpoint that ``resume`` names, left it.

    Raises:
        UserError: if the directory belongs to a run with other settings or pictures, or holds a run and
            ``resume=never``, or if the checkpoint named does not fit.
    """
    from dcgan import checkpoint

    own = checkpoint.newest(run_dir / "checkpoints")
    if own is not None:
        if config.resume == "never":
            raise UserError(f"resume=never, but {run_dir} holds a run; delete it or set another name=")
        changed = differences(own["config"], origin["config"])
        if own["data_fingerprint"] != origin["data_fingerprint"]:
            changed.append("the pictures themselves")
        if changed:
            raise UserError(
                f"{run_dir} belongs to a run with other settings ({'; '.join(changed)}); set another name=, "
                f"and resume={run_dir}/checkpoints/step-{own['step']:08d}.pt to start from where it is"
            )
        state.load_state_dict(own)
    elif config.resume not in ("auto", "never"):
        start = checkpoint.load(Path(config.resume))
        if start["step"] >= config.steps:
            raise UserError(f"resume={config.resume} is at step {start['step']} already; set steps to more")
        try:
            state.load_state_dict(start)
        except (RuntimeError, ValueError) as error:
            changed = differences(start["config"], origin["config"])
            raise UserError(
                f"resume={config.resume} holds networks of another shape ({'; '.join(changed)})"
            ) from error
    if own is not None or state.step:
        log.info("resumed at step %d", state.step)


def save(
    state: "TrainState", config: Config, run_dir: Path, origin: dict[str, Any], *, last: bool = False
) -> None:
    """Write a checkpoint. One that fails on the way is reported; the ``last`` one is an error.

    Raises:
        UserError: if ``last`` and the disk does not take it.
    """
    from dcgan import checkpoint

    directory = run_dir / "checkpoints"
    try:
        checkpoint.save(directory, state.step, {**origin, **state.state_dict()}, config.checkpoint_keep)
    except (OSError, RuntimeError) as error:
        if last:
            raise UserError(
                f"the checkpoint of step {state.step} cannot be written to {directory} ({error}); "
                "make room and run the same command again"
            ) from error
        log.warning("no checkpoint at step %d (%s); training goes on", state.step, error)


def choose_device(wanted: Device) -> "torch.device":
    """The device to train on.

    Raises:
        UserError: if the one asked for is not there.
    """
    import torch

    there = {
        Device.cuda: torch.cuda.is_available(),
        Device.mps: torch.backends.mps.is_available(),
        Device.cpu: True,
    }
    if wanted is Device.auto:
        wanted = next(device for device, is_there in there.items() if is_there)
    if not there[wanted]:
        raise UserError(f"device={wanted} is not available here; leave it out or set device=cpu")
    return torch.device(wanted.value)


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


def list_skipped(run_dir: Path, skipped: dict[str, str]) -> None:
    """Write the files that are not trained on into the run directory."""
    if skipped:
        lines = [f"{name}\t{reason}\n" for name, reason in skipped.items()]
        (run_dir / "skipped.txt").write_text("".join(lines))
        log.warning("%d files were skipped, listed in %s", len(skipped), run_dir / "skipped.txt")


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


def train_alone(config: Config, run_dir: Path) -> int:
    """`train`, with the directory locked against other processes."""
    try:
        with FileLock(run_dir / LOCK, timeout=0):
            return train(config, run_dir)
    except Timeout as error:
        raise UserError(
            f"another process is training in {run_dir}; wait for it or set another name="
        ) from error


def discard_if_empty(run_dir: Path) -> None:
    """Leave no directory behind of a run that came to nothing: a log of the attempt is no run."""
    if {path.name for path in run_dir.iterdir()} <= {LOCK, LOG}:
        shutil.rmtree(run_dir)


@hydra.main(version_base="1.3", config_path=str(cli.CONFIG_DIR), config_name="train")
def job(composed: DictConfig) -> None:
    """One run, or one of those of ``-m``."""
    hydra_config = HydraConfig.get()
    run_dir = Path(os.path.relpath(hydra_config.runtime.output_dir))
    try:
        config = cli.to_config(composed)
        config.name = run_dir.name
        code = train_alone(config, run_dir)
    except KeyboardInterrupt:
        discard_if_empty(run_dir)
        raise
    except UserError as error:
        discard_if_empty(run_dir)
        if hydra_config.mode is RunMode.MULTIRUN:
            print(f"error: {run_dir.name}: {error}", file=sys.stderr)
            raise  # Hydra goes on with the other runs and raises the first such error at the end
        cli.fail(error)
    if code:
        sys.exit(code)


def main() -> None:
    """The command."""
    cli.register()
    cli.exit_on_error(job)


if __name__ == "__main__":
    main()
