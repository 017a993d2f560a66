"""Where pictures are found: in a directory tree, a zip archive or an array; and the labels that belong to them.

Each place has ``names``, in an order that depends on the names alone. ``open(row)`` opens the picture of that name,
and ``key`` changes when any of the files does.
"""

import hashlib
import logging
import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from dcgan.data.pictures import SUFFIXES, UNREAD, UNREADABLE, BadPictureError, decode, kind_of
from dcgan.errors import UserError, is_out_of_memory

log = logging.getLogger(__name__)

MAX_MEMBER_SIZE = 2**28  # bytes of an unpacked picture in an archive; a larger one counts as a decompression bomb


class Files(Protocol):
    """A place with pictures; see the module docstring."""

    names: list[str]
    key: str

    def open(self, row: int) -> Image.Image:
        """Open the picture ``names[row]``.

        Raises:
            BadPictureError: if the file is not a picture.
        """


class Directory:
    """The pictures in a directory and all directories below it, except hidden ones; links are followed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        found = dict(sorted(_walk(root)))
        self.names = _pictures_among(list(found), root)
        self.key = digest(f"{name}\n{found[name]}\n" for name in self.names)

    def open(self, row: int) -> Image.Image:
        """See `Files`."""
        try:
            content = (self.root / self.names[row]).read_bytes()
        except OSError as error:
            if is_out_of_memory(error):
                raise
            raise BadPictureError(f"{UNREADABLE} ({error.strerror})") from error
        return decode(content)


class Archive:
    """The pictures in a zip archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            members = {info.filename: info for info in self._zip().infolist()}
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(f"data.root={path} is {_kind_of_file(path)}") from error
        self.names = _pictures_among(sorted(members), path)
        self.members = [members[name] for name in self.names]
        self.key = digest(f"{info.filename}\n{info.file_size} {info.CRC}\n" for info in self.members)

    def _zip(self) -> zipfile.ZipFile:
        # Each process opens its own: in a shared file, processes would move each other's position.
        if getattr(self, "opened_by", None) != os.getpid():
            self.opened, self.opened_by = zipfile.ZipFile(self.path), os.getpid()
        return self.opened

    def __getstate__(self) -> dict[str, object]:
        """Return everything except the open file, which cannot be sent to another process."""
        return {name: value for name, value in vars(self).items() if name not in ("opened", "opened_by")}

    def open(self, row: int) -> Image.Image:
        """See `Files`."""
        info = self.members[row]
        if info.file_size > MAX_MEMBER_SIZE:
            raise BadPictureError(f"is {info.file_size / 1e6:.0f} MB large")
        return decode(self._read(info))

    def _read(self, info: zipfile.ZipInfo) -> bytes:
        try:
            return self._zip().read(info)
        except Exception as error:  # each way to compress raises kinds of its own
            if is_out_of_memory(error):
                raise
            raise BadPictureError(f"{UNREADABLE} from the archive ({error})") from error

    def text(self, name: str) -> str | None:
        """Return the content of the first text file called ``name``, in any directory, or None.

        Raises:
            BadPictureError, UnicodeDecodeError: if it is damaged.
        """
        for info in self._zip().infolist():
            if info.filename.rpartition("/")[2] == name:
                return self._read(info).decode()
        return None


class Array:
    """Pictures in memory, uint8 ``(N, H, W)`` or ``(N, H, W, 3)``, that were read from ``files``."""

    def __init__(self, pixels: npt.NDArray[np.uint8], files: Iterable[Path]) -> None:
        self.pixels = pixels
        self.names = [str(number) for number in range(len(pixels))]
        self.key = digest(f"{path.name}\n{_about(path.stat())}\n" for path in files)

    def open(self, row: int) -> Image.Image:
        """See `Files`."""
        return Image.fromarray(self.pixels[row])


@dataclass
class Source:
    """``N`` pictures as they are found, before they are prepared."""

    name: str  # for directories and messages
    files: Files
    labels: npt.NDArray[np.int64]  # (N,), all 0 if there are no classes
    classes: list[str]  # the names of labels 0, 1, ...; empty if there are no classes
    held_out: npt.NDArray[np.bool_] | None = None  # (N,), marks the set's own test part; None if it has none


def digest(parts: Iterable[str]) -> str:
    """Return a hash that identifies the texts."""
    whole = hashlib.blake2b(digest_size=16)
    for part in parts:
        whole.update(part.encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def _is_hidden(name: str) -> bool:
    """Whether a file or one of its directories is hidden."""
    return any(part.startswith((".", "__MACOSX", "lost+found")) for part in name.split("/"))


def _pictures_among(names: list[str], root: Path) -> list[str]:
    """Return the names with the suffix of a picture; warn about pictures in formats that are not read."""
    seen = [name for name in names if not _is_hidden(name)]
    pictures = [name for name in seen if name.lower().endswith(SUFFIXES)]
    unread = [name for name in seen if name.lower().endswith(UNREAD)]
    kinds = " ".join(SUFFIXES)
    left_out = f"{len(unread)} of a format that is not read, such as {unread[0]}" if unread else ""
    if not pictures:
        raise UserError(
            f"data.root={root} holds no pictures ({kinds}){f', but {left_out}; convert them' if unread else ''}"
        )
    if unread:
        log.warning("left out of %s: %s; convert to one of %s to train on them", root, left_out, kinds)
    return pictures


def _kind_of_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        return f"not readable ({error.strerror})"
    if head.startswith(b"PK\x03\x04"):
        return "a zip archive that was cut short; download it again"
    kind = kind_of(head)
    kind = "a picture" if kind == "damaged" else kind
    return f"{kind}, not a zip archive; set it to one, or to a directory"


def _about(stat: os.stat_result) -> str:
    # The size, and when the content and anything about the file last changed: ctime reveals a restored mtime.
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"


def _walk(root: Path, below: str = "", above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[tuple[str, str]]:
    """Yield the name of each file, separated by "/", and a text that changes whenever the file does."""
    directory = root / below
    stat = directory.stat()
    if (stat.st_dev, stat.st_ino) in above:  # a link to a directory above
        return
    try:
        entries = list(os.scandir(directory))
    except PermissionError as error:
        whole = f"data.root={root}{f' has a directory {below!r} that' if below else ''} cannot be read"
        raise UserError(
            f"{whole} ({error.strerror}); make it readable, or set data.root to pictures that are"
        ) from error
    for entry in entries:
        name = f"{below}/{entry.name}" if below else entry.name
        if _is_hidden(name):
            continue
        if entry.is_dir():
            yield from _walk(root, name, above | {(stat.st_dev, stat.st_ino)})
        elif entry.is_file():
            yield name, _about(entry.stat())
