"""Write files that appear whole or not at all, whatever ends the process that writes them, and find those of steps."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside ``path``, with the same suffix; rename it to ``path`` unless an error occurs.

    Missing directories are created.

    Raises:
        OSError: naming ``path``, if the file cannot be written.
    """
    partial = path.with_name(f".{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(partial), partial):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def of_steps(directory: Path, suffix: str) -> list[Path]:
    """The files ``step-00000000.SUFFIX`` of a directory, by step; copies under other names are not ours."""
    return sorted(directory.glob(f"step-{8 * '[0-9]'}{suffix}"))


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8; escape what UTF-8 cannot encode, such as the undecodable bytes of a file name."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")
