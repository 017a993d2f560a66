"""Where pictures lie: below a directory, in a zip archive, or in an array; and what is known of them.

Each place has ``names``, in an order that depends on them alone, ``open(row)`` for the picture of that name, and
a ``key`` that changes when any of the files does.
"""

import hashlib
import logging
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from dcgan.data.pictures import SUFFIXES, UNREAD, BadPictureError, decode, kind_of
from dcgan.errors import UserError

log = logging.getLogger(__name__)

MAX_MEMBER_SIZE = 2**28  # bytes of a picture in an archive, unpacked; more is a bomb


class Files(Protocol):
    """See the module."""

    names: list[str]
    key: str

    def open(self, row: int) -> Image.Image:
        """The picture ``names[row]``.

        Raises:
            BadPictureError: if it is none.
        """


class Directory:
    """The pictures in a directory and all below it, hidden ones left out; links are followed."""

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
            raise BadPictureError(f"cannot be read ({error.strerror})") from error
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
        # Not shared between processes: they would move each other's place in the file.
        if getattr(self, "opened_by", None) != os.getpid():
            self.opened, self.opened_by = zipfile.ZipFile(self.path), os.getpid()
        return self.opened

    def __getstate__(self) -> dict[str, object]:
        """All but the open file, which cannot go to another process."""
        return {name: value for name, value in vars(self).items() if name not in ("opened", "opened_by")}

    def open(self, row: int) -> Image.Image:
        """See `Files`."""
        info = self.members[row]
        if info.file_size > MAX_MEMBER_SIZE:
            raise BadPictureError(f"is {info.file_size / 1e6:.0f} MB large")
        try:
            content = self._zip().read(info)
        except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, EOFError) as error:
            raise BadPictureError(f"cannot be read from the archive ({error})") from error
        return decode(content)

    def text(self, name: str) -> str | None:
        """The content of a text file that ends with ``/name``, or None."""
        for info in self._zip().infolist():
            if info.filename.rpartition("/")[2] == name:
                return self._zip().read(info).decode()
        return None


class Array:
    """Pictures in memory, uint8 ``(N, H, W)`` or ``(N, H, W, 3)``, that came from some ``files``."""

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
    labels: npt.NDArray[np.int64]  # (N,), all 0 without classes
    classes: list[str]  # what label 0, 1, ... means; empty if there are none
    held_out: npt.NDArray[np.bool_] | None = None  # (N,), the set's own test part; None if it has none


def digest(parts: Iterable[str]) -> str:
    """A name for some texts; others have another."""
    whole = hashlib.blake2b(digest_size=16)
    for part in parts:
        whole.update(part.encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def _is_hidden(name: str) -> bool:
    """Whether a file is not to be seen, or lies where it is not."""
    return any(part.startswith((".", "__MACOSX", "lost+found")) for part in name.split("/"))


def _pictures_among(names: list[str], root: Path) -> list[str]:
    """Those that are to be taken for pictures by their names; says which look like some and cannot be read."""
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
    # Size and time of the last change of the content, and of anything: a restored time betrays itself there.
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"


def _walk(root: Path, below: str = "", above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[tuple[str, str]]:
    """The names of all files, with "/", and what a change would change."""
    directory = root / below
    stat = directory.stat()
    if (stat.st_dev, stat.st_ino) in above:  # a link back up
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
