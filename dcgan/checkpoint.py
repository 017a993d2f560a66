"""Checkpoints: written whole or not at all, verified before use, never unpickled freely.

One file holds the whole state, as tensors and primitives, so that no two parts can disagree.
"""

import io
import logging
import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from dcgan.atomic import of_steps, replacing
from dcgan.errors import UserError, is_out_of_memory

log = logging.getLogger(__name__)

FORMAT_VERSION = 1


def save(directory: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write ``state`` as the checkpoint of ``step``, then delete all but the newest ``keep``.

    Raises:
        OSError, RuntimeError: as `write`.
    """
    path = directory / f"step-{step:08d}.pt"
    write(path, {"step": step, **state})
    found = _newest_first(directory)
    later = found.index(path)  # those of later steps were passed over when the run resumed: they are damaged
    # Also delete what a killed process left of an unfinished checkpoint.
    for old in [*found[:later], *found[later + keep :], *directory.glob(".step-*.pt")]:
        old.unlink(missing_ok=True)
    return path


def write(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` in the format that `load` reads.

    The file appears under its name only when it is complete and on the disk; if the process is killed
    before that, an earlier file of this name stays as it was.

    Raises:
        OSError, RuntimeError: if the file cannot be written (torch reports a full disk as either).
    """
    with replacing(path) as partial, partial.open("wb") as file:
        torch.save({"format_version": FORMAT_VERSION, **state}, file)
        file.flush()
        os.fsync(file.fileno())


def load(path: Path) -> dict[str, Any]:
    """Read the state in ``path``, with its tensors on the CPU.

    Raises:
        UserError: if the file is missing, damaged, of another format version, or not a checkpoint.
        OSError: if the file cannot be read; it may be sound.
    """
    try:
        file = io.BytesIO(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"there is no checkpoint {path}") from error
    except IsADirectoryError as error:
        raise UserError(f"{path} is a directory; name one of the files in its checkpoints/") from error
    try:
        # torch.load ignores the archive's checksums: it would load a flipped bit without complaint.
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"{damaged} does not match its checksum")
        file.seek(0)
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive can raise anything
        if is_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is damaged or no checkpoint of dcgan.train ({reason})") from error
    version = state.get("format_version") if isinstance(state, dict) else None
    if version != FORMAT_VERSION:
        raise UserError(
            f"{path} has checkpoint format {version}, this program reads {FORMAT_VERSION}; "
            "use the version of dcgan that wrote it"
        )
    return state


def load_training(path: Path) -> dict[str, Any]:
    """`load` a checkpoint that a training saved.

    Raises:
        UserError: as `load`; also if another part of this program wrote the file.
    """
    state = load(path)
    if "config" not in state:
        raise UserError(f"{path} is no checkpoint of dcgan.train; choose one in a run's checkpoints/")
    return state


def newest(directory: Path) -> dict[str, Any] | None:
    """The state of the newest sound checkpoint; None if the directory has no checkpoint.

    A damaged checkpoint is skipped with a warning, and the one before it is tried.

    Raises:
        UserError: if there are checkpoints but none is sound; None would silently restart the training.
        OSError: if one cannot be read; the one before would silently undo steps.
    """
    reasons = []
    for path in _newest_first(directory):
        try:
            return load(path)
        except UserError as error:
            log.warning("%s; trying the one before", error)
            reasons.append(str(error))
    if reasons:
        raise UserError(
            f"none of the {len(reasons)} checkpoints in {directory} can be used ({reasons[0]}); "
            "delete the directory to begin anew"
        )
    return None


def _newest_first(directory: Path) -> list[Path]:
    return of_steps(directory, ".pt")[::-1]
