"""Downloads by torchvision, first into a temporary directory, so that a set's own directory never holds half of it."""

import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from dcgan.config import DataConfig
from dcgan.errors import UserError

Found = TypeVar("Found")

log = logging.getLogger(__name__)


def found_or_downloaded(
    config: DataConfig, root: Path, find: Callable[[], Found | None], fetch: Callable[[str], object]
) -> Found:
    """Return what ``find`` finds, after calling ``fetch`` if necessary.

    Args:
        config: says whether downloads are allowed.
        root: the directory of the set.
        find: looks for the set and returns None if it is missing.
        fetch: downloads the set into the directory that it is given.

    Raises:
        UserError: if the set is missing, and may not or cannot be downloaded.
    """
    found = find()
    if found is not None:
        return found
    hint = "set data.root= to the directory that holds its files, or train on data=mnist5k, which is here"
    if not config.download:
        raise UserError(f"data={config.name} is not in {root}, and data.download=false; {hint}")
    there = root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".lock"):
            found = find()  # another process may have fetched it by now
            if found is None:
                _fetch(root, fetch)
                found = find()
    except UserError:
        raise
    except Exception as error:  # every downloader raises its own kinds of errors
        if not there:
            shutil.rmtree(root, ignore_errors=True)
        reason = " ".join(str(error).split())
        raise UserError(f"data={config.name} is not in {root} and cannot be downloaded ({reason}); {hint}") from error
    assert found is not None
    return found


def _fetch(root: Path, fetch: Callable[[str], object]) -> None:
    log.info("downloading to %s", root)
    for old in root.glob(".download-*"):  # left by a process that was killed
        shutil.rmtree(old)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as aside:
        fetch(aside)
        for path in Path(aside).iterdir():
            path.replace(root / path.name)
