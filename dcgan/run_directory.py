"""Resume a run from its directory, and save checkpoints and other records there."""

import logging
import math
from pathlib import Path
from typing import Any

from dcgan import checkpoint, provenance
from dcgan.atomic import write_text
from dcgan.config import Config, differences
from dcgan.engine import TrainState
from dcgan.errors import SET_ANOTHER_NAME, UserError, is_out_of_memory

log = logging.getLogger(__name__)


def resume(state: TrainState, config: Config, run_dir: Path, metadata: dict[str, Any]) -> None:
    """Load into ``state`` the newest checkpoint of the run directory, or else the one that ``resume`` names.

    Raises:
        UserError: if the directory belongs to a run with other settings or pictures, if it holds a run although
            ``resume=never``, or if the named checkpoint does not fit.
    """
    own = checkpoint.newest(run_dir / "checkpoints")
    if own is not None:
        if config.resume == "never":
            raise UserError(f"resume=never, but {run_dir} holds a run; delete it or {SET_ANOTHER_NAME}")
        if config.resume not in ("auto", own["config"]["resume"]):
            raise UserError(f"{run_dir} holds a run that did not begin from resume={config.resume}; {SET_ANOTHER_NAME}")
        changed = differences(own["config"], metadata["config"])
        if own["data_fingerprint"] != metadata["data_fingerprint"]:
            changed.append("the pictures themselves")
        if changed:
            raise UserError(
                f"{run_dir} belongs to a run with other settings ({'; '.join(changed)}); {SET_ANOTHER_NAME}, "
                f"and resume={run_dir}/checkpoints/step-{own['step']:08d}.pt to start from where it is"
            )
        # The first start decides from which checkpoint the run began, even if the present one leaves resume= out.
        config.resume = metadata["config"]["resume"] = own["config"]["resume"]
        other = f"another version of dcgan; use the version that wrote them, or {SET_ANOTHER_NAME}"
        _load(state, own, f"{run_dir} holds networks of {other}")
    elif config.resume not in ("auto", "never"):
        start = checkpoint.load_training(Path(config.resume))
        if start["step"] >= config.steps:
            raise UserError(f"resume={config.resume} is at step {start['step']} already; set steps to more")
        shaping = ("model.", "data.image_size", "data.channels", "loss.auxiliary_classifier")
        changed = [change for change in differences(start["config"], metadata["config"]) if change.startswith(shaping)]
        if start["num_classes"] != metadata["num_classes"]:
            changed.append(f"{start['num_classes']} classes, now {metadata['num_classes']}")
        why = "; ".join(changed) or "it is of another version of dcgan"
        _load(state, start, f"resume={config.resume} holds networks of another shape ({why})")
    if own is not None or state.step:
        log.info("resumed at step %d", state.step)
    # Checkpoints of earlier versions do not say what they were made with.
    changed = [] if own is None else provenance.changes(own.get("provenance", {}), metadata["provenance"])
    if changed and state.step < config.steps:
        log.warning("numbers may differ from those of an uninterrupted run: %s", "; ".join(changed))


def _load(state: TrainState, saved: dict[str, Any], unfit: str) -> None:
    """Load a checkpoint into the state; raise a `UserError` with the sentence ``unfit`` if its networks do not fit."""
    try:
        state.load_state_dict(saved)
    except (RuntimeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(unfit) from error


def save(state: TrainState, config: Config, run_dir: Path, metadata: dict[str, Any], *, last: bool = False) -> None:
    """Write a checkpoint. A failure is only logged as a warning, unless it is the ``last`` checkpoint.

    Raises:
        UserError: if the ``last`` checkpoint cannot be written.
    """
    directory = run_dir / "checkpoints"
    try:
        checkpoint.save(directory, state.step, {**metadata, **state.state_dict()}, config.checkpoint_keep)
    except (OSError, RuntimeError) as error:
        if last:
            raise UserError(
                f"the checkpoint of step {state.step} cannot be written to {directory} ({error}); "
                "make room and run the same command again"
            ) from error
        log.warning("no checkpoint at step %d (%s); training goes on", state.step, error)


class Best:
    """Keeps the checkpoint with the best evaluation so far as ``best.pt``: a GAN's last is often not its best.

    Args:
        run_dir: the run directory.
        afresh: whether the run starts at step 0, so that an existing ``best.pt`` is ignored.
    """

    def __init__(self, run_dir: Path, *, afresh: bool) -> None:
        self.path = run_dir / "checkpoints" / "best.pt"
        self.value, self.measure = math.inf, ""
        if self.path.exists() and not afresh:
            try:
                # best.pt may be newer than the checkpoint being resumed; the run will reach it again.
                evaluation = checkpoint.load(self.path)["evaluation"]
                self.value, self.measure = evaluation["value"], evaluation["measure"]
            except UserError as error:
                log.warning("%s; the next evaluation replaces it", error)
            except KeyError:
                log.warning("%s is not of an evaluation; the next evaluation replaces it", self.path)

    def offer(self, state: TrainState, metadata: dict[str, Any], measure: str, value: float) -> None:
        """Keep ``state`` if ``value`` is the lowest so far; lower is better."""
        least = self.value if measure == self.measure else math.inf
        if not value < least:  # also true if value is nan
            return
        evaluation = {"measure": measure, "value": value}
        try:
            checkpoint.write(self.path, {**metadata, **state.state_dict(), "evaluation": evaluation})
        except (OSError, RuntimeError) as error:
            log.warning("best.pt cannot be written (%s); training goes on", error)
        else:
            self.value, self.measure = value, measure


def list_skipped(run_dir: Path, skipped: dict[str, str]) -> None:
    """List the skipped files, with the reasons, in ``skipped.txt`` in the run directory."""
    if skipped:
        lines = [f"{name}\t{reason}\n" for name, reason in skipped.items()]
        write_text(run_dir / "skipped.txt", "".join(lines))
        log.warning("%d files were skipped, listed in %s", len(skipped), run_dir / "skipped.txt")
