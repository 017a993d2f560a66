"""The name of a set, or a folder -> a prepared uint8 store -> batches of float32.

``files`` finds pictures, and ``arrays`` and ``trees`` make sets of them. ``store`` decodes and resizes all pictures
once, into a memory-mapped file, from which ``batches`` draws.
"""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dcgan.choices import DataName, OnBadFile
from dcgan.config import DataConfig
from dcgan.data import arrays, trees
from dcgan.data.batches import Batches, ImageSet, firsts_of_classes, places_in_classes
from dcgan.data.files import Source, digest
from dcgan.data.store import prepare
from dcgan.errors import UserError

__all__ = ["Batches", "Data", "ImageSet", "load"]

log = logging.getLogger(__name__)
NAMED = 5  # bad files that an error message names
SETS = {
    DataName.mnist5k: arrays.mnist5k,
    DataName.mnist: arrays.mnist,
    DataName.fashion_mnist: arrays.mnist,
    DataName.cifar10: arrays.cifar10,
    DataName.celeba: trees.celeba,
    DataName.folder: trees.folder,
}


class Data(NamedTuple):
    """The pictures that the networks see, and those that are kept from them."""

    train: ImageSet  # all pictures that are not held out; the fingerprint and the classifier depend on them
    shown: ImageSet  # the ``data.limit`` of these that the networks are trained on
    held_out: ImageSet
    skipped: dict[str, str]  # file: reason; only with ``data.on_bad_file=skip``
    store: Path  # the directory of the prepared pictures


def load(config: DataConfig) -> Data:
    """Load the pictures that the settings name, and prepare them if necessary.

    Raises:
        UserError: if pictures are missing, incomplete, or bad without ``data.on_bad_file=skip``, or too few remain.
    """
    root = Path(config.root if config.root is not None else f"data/{config.name}")
    source = SETS[config.name](config, root)
    store = prepare(source, config)
    skipped = {source.files.names[row]: reason for row, reason in store.bad.items()}
    if skipped and config.on_bad_file is OnBadFile.error:
        raise UserError(_complaint(root, skipped))
    rows = np.setdiff1d(np.arange(len(source.labels)), list(store.bad))
    if not len(rows):
        raise UserError(_complaint(root, skipped))
    if source.held_out is not None and config.held_out != DataConfig.held_out:
        log.warning("data.held_out=%g has no effect: %s has a test part of its own", config.held_out, root)
    held_out = _share(source, rows, config.held_out) if source.held_out is None else source.held_out
    for label, kind in enumerate(source.classes or [None]):
        if not (source.labels[rows[~held_out[rows]]] == label).any():
            raise UserError(
                f"no picture{f' of the class {kind!r}' if kind else ''} in {root} is left to train on; "
                "add some, or hold fewer out"
            )
    train, evaluation = (
        ImageSet(store.images, chosen, source.labels[chosen], source.classes, store.digest)
        for chosen in (rows[~held_out[rows]], rows[held_out[rows]])
    )
    if config.limit is not None and config.limit > len(train):
        raise UserError(f"data.limit={config.limit} is more than the {len(train):,} pictures to train on; leave it out")
    if config.limit is not None and config.limit < len(source.classes):
        raise UserError(f"data.limit={config.limit} is less than one picture of each of {len(source.classes)} classes")
    return Data(train, train.limited(config.limit), evaluation, skipped, store.path)


def _share(source: Source, rows: npt.NDArray[np.int64], share: float) -> npt.NDArray[np.bool_]:
    """Hold out, from each class in ``rows``, the ``share`` of pictures whose names have the lowest hashes.

    A picture therefore keeps its side when others are added, except for a few at the border. Among classes of only a
    few pictures, some give one and others none. No class gives all its pictures.
    """
    hashes = np.array([int(digest([name])[:15], 16) for name in source.files.names])
    order = rows[np.argsort(hashes[rows])]
    places = places_in_classes(source.labels, order)
    places[firsts_of_classes(source.labels, order[::-1])] = 1  # the last of each class always stays
    held_out = np.zeros(len(hashes), bool)
    held_out[np.lexsort((hashes, places))[: round(share * len(rows))]] = True
    return held_out & (places < 1)


def _complaint(root: Path, bad: dict[str, str]) -> str:
    named = "; ".join(f"{name} {reason}" for name, reason in list(bad.items())[:NAMED])
    more = f"; and {len(bad) - NAMED:,} more" if len(bad) > NAMED else ""
    small = any("too small" in reason for reason in bad.values())
    return (
        f"of the pictures in {root} {len(bad):,} cannot be used: {named}{more}; remove or mend them, "
        f"{'set a smaller data.image_size or data.upscale=true, ' if small else ''}"
        "or set data.on_bad_file=skip to go on without them"
    )
