"""The sets whose pictures are separate files: any folder or zip archive, and CelebA."""

import logging
from itertools import takewhile
from pathlib import Path

import numpy as np

from dcgan.choices import OnBadFile
from dcgan.config import DataConfig
from dcgan.data.downloads import found_or_downloaded
from dcgan.data.files import Archive, Directory, Files, Source
from dcgan.data.pictures import BadPictureError
from dcgan.errors import UserError

log = logging.getLogger(__name__)

# Top-level directories that are parts of a set, not classes, and whether each part is held out.
PARTS = {"train": False, "training": False, "val": True, "valid": True, "validation": True, "test": True}
# Where CelebA's files may lie below data.root, in the layouts of its authors, torchvision and Kaggle.
CELEBA_PLACES = [f"{top}{part}" for top in ("", "celeba/", "CelebA/") for part in ("", "Img/", "Anno/", "Eval/")]
CELEBA_IMAGES = ("img_align_celeba/img_align_celeba", "img_align_celeba", "img_align_celeba.zip")


def folder(config: DataConfig, root: Path) -> Source:
    """Return any pictures; if all of them lie in subdirectories, those name the classes.

    Directories that contain everything do not count. ``train`` and ``test`` or ``val`` at the top are parts of the
    set.
    """
    if root.is_dir() and Path(config.store).resolve().is_relative_to(root.resolve()):
        raise UserError(
            f"data.root={root} holds data.store={config.store}, whose pictures would be taken for its own; move yours "
            "to a directory of their own, or set another data.store="
        )
    files = open_files(root)
    name = root.resolve().stem if root.is_file() else root.resolve().name
    parts = _without_common([name.split("/")[:-1] for name in files.names])
    tops = {below[0] if below else "" for below in parts}
    held_out = None
    kinds = {top.lower() for top in tops}
    if len(tops) > 1 and kinds <= PARTS.keys() and not all(PARTS[kind] for kind in kinds):
        held_out = np.array([PARTS[below[0].lower()] for below in parts])
        parts = _without_common([below[1:] for below in parts])
        tops = {below[0] if below else "" for below in parts}
    if len(tops) > 1 and "" in tops:
        outside = [name for name, below in zip(files.names, parts, strict=True) if not below]
        log.warning(
            "there are no classes: %d of the %d pictures, such as %s, lie beside the directories that would name them",
            *(len(outside), len(parts), outside[0]),
        )
    if len(tops) < 2 or "" in tops:
        return Source(name, files, np.zeros(len(parts), np.int64), [], held_out)
    classes = sorted(tops)
    numbers = {name: number for number, name in enumerate(classes)}
    return Source(name, files, np.array([numbers[below[0]] for below in parts], np.int64), classes, held_out)


def celeba(config: DataConfig, root: Path) -> Source:
    """Return CelebA's aligned faces, 178 x 218, RGB, with its partition and, given ``data.label``, an attribute."""
    files = found_or_downloaded(config, root, lambda: _find_celeba(root), _fetch_celeba)
    rows = {name.rpartition("/")[2]: row for row, name in enumerate(files.names)}
    partition = _table(files, root, "list_eval_partition")
    held_out = None
    if partition is None:
        log.warning("%s has no list_eval_partition.txt or .csv; a share of the pictures is held out", root)
    else:
        missing = sum(name not in rows for name in partition)
        if missing and config.on_bad_file is OnBadFile.error:
            raise UserError(
                f"data.root={root} has {len(rows)} pictures, but list_eval_partition names {missing} that are not "
                "there; extract the archive again, or set data.on_bad_file=skip to do without them"
            )
        held_out = np.array([partition.get(name, {"partition": "0"})["partition"] != "0" for name in rows])
    labels = np.zeros(len(rows), np.int64)
    if config.label is None:
        return Source("celeba", files, labels, [], held_out)
    attributes = _table(files, root, "list_attr_celeba")
    if attributes is None:
        raise UserError(f"data.label={config.label} needs list_attr_celeba.txt or .csv in data.root={root}")
    known = next(iter(attributes.values()))
    if config.label not in known:
        raise UserError(f"data.label={config.label} is unknown; choose one of {', '.join(known)}")
    try:
        labels = np.array([int(attributes[name][config.label] == "1") for name in rows], np.int64)
    except KeyError as error:
        raise UserError(f"list_attr_celeba has no line for {error}; download it again") from error
    return Source("celeba", files, labels, [f"not {config.label}", config.label], held_out)


def open_files(root: Path) -> Directory | Archive:
    """Open the pictures in a directory or zip archive.

    Raises:
        UserError: if ``root`` is neither, or holds no pictures.
    """
    if root.is_dir():
        return Directory(root)
    if root.is_file():
        return Archive(root)
    raise UserError(f"data.root={root} does not exist")


def _fetch_celeba(directory: str) -> None:
    from torchvision.datasets import CelebA  # noqa: PLC0415 - takes a second

    CelebA(directory, split="all", download=True)


def _find_celeba(root: Path) -> Files | None:
    if root.is_file():
        return Archive(root)
    found = (root / place / images for place in CELEBA_PLACES for images in CELEBA_IMAGES)
    path = next((path for path in found if path.exists()), None)
    return None if path is None else open_files(path)


def _table(files: Files, root: Path, name: str) -> dict[str, dict[str, str]] | None:
    """Read one of CelebA's lists, by picture, in the format of its authors (``.txt``) or of Kaggle (``.csv``)."""
    for suffix, separator in ((".csv", ","), (".txt", None)):
        places = (root / place / (name + suffix) for place in CELEBA_PLACES)
        path = next(filter(Path.is_file, places), None)
        try:
            text = path.read_text("utf-8") if path else None
            if text is None and isinstance(files, Archive):
                text = files.text(name + suffix)
            if text is None:
                continue
            lines = [line.split(separator) for line in text.splitlines() if line.strip()]
            if suffix == ".csv":
                header, lines = lines[0][1:], lines[1:]
            elif len(lines[0]) == 1:  # the number of pictures; the column names come next
                header, lines = lines[1], lines[2:]
            else:
                header = ["partition"]
            if not lines:
                raise ValueError("no pictures")
            return {line[0]: dict(zip(header, line[1:], strict=True)) for line in lines}
        except (IndexError, ValueError, BadPictureError) as error:
            raise UserError(f"{name}{suffix} of data.root={root} is cut short or no list; download it again") from error
    return None


def _without_common(parts: list[list[str]]) -> list[list[str]]:
    """Remove the leading directories that all paths share."""
    common = len(list(takewhile(lambda names: len(set(names)) == 1, zip(*parts, strict=False))))
    return [path[common:] for path in parts]
