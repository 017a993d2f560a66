"""Measure how fast pictures are prepared and read, beside Pillow on one core and PyTorch's usual pipeline."""

import itertools
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from dcgan import data
from dcgan.choices import DataName
from dcgan.config import DataConfig
from dcgan.data.store import cores

BATCH = 64
TURNS = 3


class Row(NamedTuple):
    """Rates in pictures per second, as medians over the turns; ratios are medians of the ratios within a turn."""

    pictures: int
    pillow: float  # decoding and resizing on one core
    prepare: float
    prepare_ratio: float
    loader: float  # batches from DataLoader over ImageFolder
    batches: float  # batches from the store
    batches_ratio: float


def measure(pictures: list[Path], image_size: int, seconds: float) -> Row:
    """Prepare and read picture files, in turns, after reading all of them once.

    Args:
        pictures: the files.
        image_size: pixels per side.
        seconds: the longest time to read batches, in every turn and in each of the two ways.
    """
    for path in pictures:
        path.read_bytes()
    with tempfile.TemporaryDirectory() as directory:
        only = Path(directory, "root", "class")  # ImageFolder needs a directory for each class
        only.mkdir(parents=True)
        for number, path in enumerate(pictures):
            link = only / f"{number:06d}{path.suffix}"
            try:
                link.symlink_to(path.resolve())
            except OSError:  # Windows needs its developer mode for links
                shutil.copyfile(path, link)
        config = DataConfig(
            name=DataName.folder,
            root=str(only),
            image_size=image_size,
            channels=3,
            held_out=0.0,
            store=str(Path(directory, "store")),
        )
        turns = [_turn(config, only, seconds) for _ in range(TURNS)]
    pillow, prepare, loader, batches = (statistics.median(rates) for rates in zip(*turns, strict=True))
    prepare_ratio = statistics.median(turn[1] / turn[0] for turn in turns)
    batches_ratio = statistics.median(turn[3] / turn[2] for turn in turns)
    return Row(len(pictures), pillow, prepare, prepare_ratio, loader, batches, batches_ratio)


def drawn(directory: Path, count: int) -> list[Path]:
    """JPEG files of CelebA's size, 178 x 218, filled with smooth random colours."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        small = Image.fromarray(rng.integers(0, 256, (14, 11, 3), dtype=np.uint8))
        paths.append(directory / f"{number:06d}.jpg")
        small.resize((178, 218), Image.Resampling.BICUBIC).save(paths[-1], quality=92)
    return paths


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| pictures | Pillow, one core | prepared | ratio | DataLoader over ImageFolder | batches from the store | ratio |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        first = f"{row.pictures:,} | {row.pillow:,.0f}/s | {row.prepare:,.0f}/s | {row.prepare_ratio:.1f}"
        lines.append(f"| {first} | {row.loader:,.0f}/s | {row.batches:,.0f}/s | {row.batches_ratio:.0f} |")
    return "\n".join(lines)


def _turn(config: DataConfig, only: Path, seconds: float) -> tuple[float, float, float, float]:
    """Return the rates of Pillow on one core, of preparing, of DataLoader, and of the store."""
    size, files = config.image_size, sorted(only.iterdir())
    shutil.rmtree(config.store, ignore_errors=True)
    begun = time.perf_counter()
    images = data.load(config).train  # before Pillow, for its error message about a damaged file
    prepare = len(images) / (time.perf_counter() - begun)

    begun = time.perf_counter()
    for path in files:
        np.asarray(ImageOps.fit(Image.open(path).convert("RGB"), size, Image.Resampling.BICUBIC))
    pillow = len(files) / (time.perf_counter() - begun)

    batches = data.Batches(images, BATCH, seed=0, device=torch.device("cpu"))
    loader = _usual_loader(only.parent, size)
    reads = iter(loader), (batches[step] for step in itertools.count())
    return pillow, prepare, _rate(reads[0], seconds), _rate(reads[1], seconds)


def _usual_loader(root: Path, size: tuple[int, int]) -> Iterable[Any]:
    """Read a folder as pytorch/examples' DCGAN does, with a worker process for each core."""
    steps = [
        transforms.Resize(min(size)),
        transforms.CenterCrop(size),
        transforms.ToTensor(),
        transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ]
    pictures = ImageFolder(str(root), transforms.Compose(steps))
    return DataLoader(pictures, batch_size=BATCH, shuffle=True, drop_last=True, num_workers=cores())


def _rate(batches: Iterator[Any], seconds: float) -> float:
    """Return pictures per second, counted from the second batch on, until the batches or the ``seconds`` end."""
    next(batches)
    begun, count = time.perf_counter(), 0
    for images, _ in batches:
        count += len(images)
        if time.perf_counter() - begun > seconds:
            break
    return count / (time.perf_counter() - begun)
