"""A source -> a prepared store: all its pictures as uint8 in one memory-mapped file, made once.

A store is a directory. Its name holds the picture size and a key made from the source's files and the other
settings that the pixels depend on, so that each source and size has its own store:

    images.npy   uint8 ``(N, C, H, W)``, one row for each file of the source, even if it is left out
    store.json   the files left out, with the reasons, and a digest of the pixels

A store is made in ``NAME.partial`` and renamed when it is complete. If the preparation is killed, the next one resumes
from ``progress.jsonl``, which has a line for each block of rows on the disk.
"""

import hashlib
import json
import logging
import math
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout
from torch.utils.data import DataLoader, Dataset, Subset

from dcgan.config import DataConfig
from dcgan.data.files import Source, digest
from dcgan.data.pictures import UNREADABLE, BadPictureError, fitted
from dcgan.errors import UserError, is_out_of_memory
from dcgan.progress import Progress

log = logging.getLogger(__name__)

FORMAT = 1  # raise it with every change to the contents of the files or to how the pixels are made
LITTLE_MEMORY = (
    "there is too little memory to prepare the pictures; close other programs, or leave out very large pictures"
)
BLOCK = 128  # pictures per line of progress.jsonl
MAX_NAME = 100  # bytes of the source's name in the store's
# Seconds of remaining work that justify starting worker processes; unless forked, these must import PyTorch first.
WORTH_WORKERS = 0.5 if multiprocessing.get_all_start_methods()[0] == "fork" else 5.0


@dataclass
class Store:
    """``images`` uint8 ``(N, C, H, W)``, memory-mapped; the rows in ``bad`` are all zeros."""

    path: Path
    images: npt.NDArray[np.uint8]
    bad: dict[int, str]  # row: why its file cannot be used
    digest: str  # of the pixels


class Block(NamedTuple):
    """Some prepared rows, in the form in which they travel between processes."""

    pixels: bytes
    digest: str
    bad: dict[int, str]


class Blocks(Dataset[Block]):
    """The rows from ``start`` on, prepared in blocks of `BLOCK`."""

    def __init__(self, source: Source, config: DataConfig, start: int) -> None:
        self.source, self.config, self.start = source, config, start
        self.shape = (config.channels, *config.image_size)

    def __len__(self) -> int:
        return math.ceil((len(self.source.labels) - self.start) / BLOCK)

    def __getitem__(self, block: int) -> Block:
        first = self.start + block * BLOCK
        rows = range(first, min(first + BLOCK, len(self.source.labels)))
        pixels = np.zeros((len(rows), *self.shape), np.uint8)
        bad = {}
        config = self.config
        for place, row in enumerate(rows):
            try:
                image = self.source.files.open(row)
                pixels[place] = fitted(image, config.image_size, config.channels, config.fit, config.upscale)
            except BadPictureError as error:
                bad[row] = str(error)
        content = pixels.tobytes()
        return Block(content, hashlib.blake2b(content, digest_size=16).hexdigest(), bad)


def prepare(source: Source, config: DataConfig) -> Store:
    """Return the store of a source; make it if it does not exist, or wait for the process that is making it.

    Raises:
        UserError: if the store is damaged, or there is no room for it.
    """
    height, width = config.image_size
    size = f"{height}x{width}x{config.channels}"
    settings = [FORMAT, source.files.key, config.fit, config.upscale]
    key = hashlib.blake2b(json.dumps(settings).encode(), digest_size=6).hexdigest()
    name = os.fsencode(source.name)[:MAX_NAME].decode(errors="ignore")
    path = Path(config.store) / f"{name}-{size}-{key}"
    may_write = os.access(path.parent, os.W_OK)  # a shared store may be there to read only
    if not path.exists() or (may_write and _was_mended(source, _open(path, config))):
        with _store_errors(config):
            path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(path):
                if path.exists() and _was_mended(source, _open(path, config)):
                    log.warning("a picture that could not be read can be read now; all are prepared again")
                    shutil.rmtree(path)
                if not path.exists():
                    _make(source, config, path)
    return _open(path, config)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _was_mended(source: Source, store: Store) -> bool:
    """Whether a file that could not be read when the store was made can be read now, though nothing else shows it."""
    for row in (row for row, reason in store.bad.items() if reason.startswith(UNREADABLE)):
        with suppress(BadPictureError):
            source.files.open(row)
            return True
    return False


def _open(path: Path, config: DataConfig) -> Store:
    try:
        images = np.load(path / "images.npy", mmap_mode="r")
        about = json.loads((path / "store.json").read_text())
        bad = {int(row): str(reason) for row, reason in about["bad"].items()}
        if images.dtype != np.uint8 or images.shape[1:] != (config.channels, *config.image_size):
            raise ValueError(f"images.npy holds {images.dtype} {images.shape}")
        return Store(path, np.asarray(images), bad, str(about["digest"]))
    except Exception as error:  # NumPy and the content raise many kinds
        if _is_no_damage(error):
            raise
        raise UserError(f"the prepared pictures in {path} are damaged ({error}); delete that directory") from error


def _is_no_damage(error: Exception) -> bool:
    """Whether an error says that a file, sound or not, cannot be read at the moment."""
    missing = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
    return is_out_of_memory(error) or (isinstance(error, OSError) and not isinstance(error, missing))


def _make(source: Source, config: DataConfig, path: Path) -> None:
    """Make the store, starting where an earlier attempt ended."""
    shape = (len(source.labels), config.channels, *config.image_size)
    with _Partial(path, shape) as partial:
        begun = time.perf_counter()
        first = partial.rows
        if first:
            log.info("preparing goes on at picture %s of %s", f"{first:,}", f"{shape[0]:,}")
        with Progress(total=shape[0], initial=first, desc=f"preparing {source.name}") as progress:
            for block in _in_parallel(Blocks(source, config, first)):
                partial.append(block)
                progress.update(len(block.pixels) // math.prod(shape[1:]))
        partial.finish()
    seconds, count, size = time.perf_counter() - begun, shape[0] - first, math.prod(shape) / 1e6
    rate = count / seconds
    log.info(
        "prepared %s pictures in %.1f s, %s a second: %s, %.1f MB",
        f"{count:,}",
        seconds,
        f"{rate:,.0f}",
        path,
        size,
    )


class _Partial:
    """A store in the making, in ``path``.partial; its first ``rows`` rows are done."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path, self.directory, self.total = path, path.with_name(path.name + ".partial"), shape[0]
        self.directory.mkdir(exist_ok=True)
        journal, pixels = self.directory / "progress.jsonl", self.directory / "images.npy"
        lines = journal.read_bytes().splitlines(keepends=True) if journal.exists() else []
        whole = [line for line in lines if line.endswith(b"\n")]  # the last may be cut short
        self.done: list[dict[str, Any]] = []
        try:
            self.done = [
                {"digest": str(record["digest"]), "bad": dict(record["bad"])} for record in map(json.loads, whole)
            ]
            there = np.load(pixels, mmap_mode="r")
            if (there.shape, there.dtype) != (shape, np.uint8):
                raise ValueError("another shape or type")
        except Exception as error:  # damaged, or nothing there yet: begin anew
            if _is_no_damage(error):
                raise
            self.done, whole = [], []
        if not self.done:
            self._begin(shape)
        self.images = pixels.open("r+b")
        row = math.prod(shape[1:])
        size = self.images.seek(0, os.SEEK_END)
        self.images.seek(size - (self.total - self.rows) * row)  # the first row that is missing
        self.journal = journal.open("a", newline="\n")  # newlines of one byte, for `truncate`
        self.journal.truncate(sum(map(len, whole)))
        self.written, self.last_write = len(self.done), time.perf_counter()

    def _begin(self, shape: tuple[int, ...]) -> None:
        needed, free = math.prod(shape), shutil.disk_usage(self.directory).free
        if needed > free:
            shutil.rmtree(self.directory)  # it holds nothing useful yet
            raise UserError(
                f"{self.total:,} pictures take {needed / 1e9:.1f} GB prepared, and data.store={self.path.parent} "
                f"has {free / 1e9:.1f} GB free; choose another data.store or a smaller data.image_size"
            )
        np.lib.format.open_memmap(self.directory / "images.npy", mode="w+", dtype=np.uint8, shape=shape).flush()

    def __enter__(self) -> "_Partial":
        return self

    def __exit__(self, *_: object) -> None:
        self.images.close()
        self.journal.close()

    @property
    def rows(self) -> int:
        return min(BLOCK * len(self.done), self.total)

    def append(self, block: Block) -> None:
        self.images.write(block.pixels)
        self.done.append({"digest": block.digest, "bad": block.bad})
        if time.perf_counter() - self.last_write > 1:
            self.write()

    def write(self) -> None:
        """Write the pixels to the disk, and only then the lines that say that they are there."""
        self.images.flush()
        os.fsync(self.images.fileno())
        self.journal.writelines(json.dumps(line) + "\n" for line in self.done[self.written :])
        self.journal.flush()
        self.written, self.last_write = len(self.done), time.perf_counter()

    def finish(self) -> None:
        self.write()
        bad = {row: reason for line in self.done for row, reason in line["bad"].items()}
        about = {"digest": digest(line["digest"] for line in self.done), "bad": bad}
        (self.directory / "store.json").write_text(json.dumps(about, indent=1))
        self.__exit__()  # Windows does not move open files
        (self.directory / "progress.jsonl").unlink()
        self.directory.replace(self.path)


def _in_parallel(blocks: Blocks) -> Iterator[Block]:
    """Yield the blocks in order, made by one process per core if enough work remains."""
    begun = time.perf_counter()
    for number in range(len(blocks)):
        rest = len(blocks) - number
        if number and rest * (time.perf_counter() - begun) / number > WORTH_WORKERS:
            yield from DataLoader(
                Subset(blocks, range(number, len(blocks))),
                batch_size=None,
                num_workers=min(cores(), rest),
                prefetch_factor=4,
            )
            return
        yield blocks[number]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep all other processes from ``path``."""
    lock = FileLock(path.with_name(path.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("another process is preparing %s; waiting for it", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _store_errors(config: DataConfig) -> Iterator[None]:
    """Turn errors of the disk or a worker process into a `UserError` of one sentence."""
    try:
        yield
    except OSError as error:
        if is_out_of_memory(error):
            raise UserError(LITTLE_MEMORY) from error
        raise UserError(
            f"data.store={config.store} cannot be written ({error.strerror}); choose another directory"
        ) from error
    except (MemoryError, RuntimeError) as error:  # from DataLoader
        if is_out_of_memory(error):
            raise UserError(LITTLE_MEMORY) from error
        raise UserError(
            f"a process that prepared pictures ended ({str(error).splitlines()[0]}); was memory short? "
            "the same command goes on where it was"
        ) from error
