"""Make images with a trained generator.

    python scripts/sample.py run=outputs/mnist5k [count=64] [seeds=0-63] [classes=all|3|0,cats] [format=FORMAT]
                             [out=FILE_OR_DIR] [overwrite=true] [weights=ema|raw] [statistics=running|standing]
                             [truncation=1]

run      the run directory, or one checkpoint file
count    the number of images, from seeds 0, 1, ... Default: 64; 16 for nearest, 8 for gif, 4 for strip, 3 for layers
seeds    which seeds, instead of count, as numbers and ranges. A seed gives the same image, whatever else is asked for
classes  seed s shows the s-th of these numbers or names, which start over after the last
format   grid: one PNG, with a column per class
         files: one PNG per image
         npz: images uint8 (N, H, W, C), labels int64 (N,), -1 if the run has none, seeds int64 (N,)
         gif: a walk from seed to seed, with the classes side by side; with between=classes a walk from class to
         class, with the seeds side by side
         strip: the same walk as one picture, with a row for each class or seed
         arithmetic: the mean of seeds= minus that of minus= plus that of plus=, as in Radford et al. 2015
         layers: a row per image, with the generator's maps after each layer
         nearest: each image beside its closest training images, to show whether it is a copy
         film: the grids that the run left in samples/, as a GIF
between  for gif and strip: seeds or classes
frames   for gif and strip: the number of frames from one stop to the next; default 12 for gif, 4 for strip
path     for gif and strip between seeds. spherical: latents stay as long as those of the seeds; linear: a straight line
minus    for arithmetic: seeds, in the same form
plus     for arithmetic: seeds, in the same form
root     for nearest: where the pictures of the run are now, if they have moved
out      where to write; what exists is kept unless overwrite=true. Default: a file in the run directory, replaced
weights  ema: averaged over the last steps; raw: those of the last step
truncation  a factor for the latents, at most 1; smaller factors make images clearer, but more alike
statistics  BatchNorm's. running: those of the training; standing: averaged over many batches of this network
"""

import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import MISSING

from dcgan import cli
from dcgan.atomic import replacing
from dcgan.choices import Statistics, Weights
from dcgan.errors import UserError

if TYPE_CHECKING:
    from dcgan.sampling import TrainedGenerator


class Format(StrEnum):
    """The format to write."""

    grid = "grid"
    files = "files"
    npz = "npz"
    gif = "gif"
    strip = "strip"  # type: ignore[assignment]  # of str
    arithmetic = "arithmetic"
    layers = "layers"
    nearest = "nearest"
    film = "film"


class Between(StrEnum):
    """The stops of a walk."""

    seeds = "seeds"
    classes = "classes"


class Way(StrEnum):
    """The path from one seed to the next."""

    spherical = "spherical"
    linear = "linear"


OWN = {  # the default file in the run directory, and the default number of images
    Format.grid: ("sampled.png", 64),
    Format.files: ("sampled", 64),
    Format.npz: ("sampled.npz", 64),
    Format.gif: ("walk.gif", 8),
    Format.strip: ("walk.png", 4),
    Format.arithmetic: ("arithmetic.png", 0),
    Format.layers: ("layers.png", 3),
    Format.nearest: ("nearest.png", 16),
    Format.film: ("film.gif", 0),
}
ONLY_FOR = {  # settings that have an effect only with these formats
    "between": (Format.gif, Format.strip),
    "frames": (Format.gif, Format.strip),
    "path": (Format.gif, Format.strip),
    "minus": (Format.arithmetic,),
    "plus": (Format.arithmetic,),
    "root": (Format.nearest,),
}
OF_GENERATED = ("count", "seeds", "classes", "weights", "statistics", "truncation")  # settings for new images
MAX_COUNT = 1_000_000  # images at once
PICTURES = (".png", ".jpg", ".webp")  # the suffixes that a picture may have


@dataclass
class Options:
    """The command line."""

    run: str = MISSING
    count: int | None = None
    seeds: str | None = None
    classes: str = "all"
    format: Format = Format.grid
    between: Between = Between.seeds
    frames: int | None = None
    path: Way = Way.spherical
    minus: str | None = None
    plus: str | None = None
    root: str | None = None
    out: str | None = None
    overwrite: bool = False
    weights: Weights = Weights.ema
    statistics: Statistics = Statistics.running
    truncation: float = 1.0


def main() -> None:
    """Parse, generate, write."""
    options = cli.parse(Options, sys.argv[1:], __doc__)
    if options.seeds is not None and options.count is not None:
        raise UserError("count and seeds both say how many images; leave one of them out")
    for name in ("count", "frames"):
        if (value := getattr(options, name)) is not None and not 1 <= value <= MAX_COUNT:
            raise UserError(f"{name}={value} must be from 1 to {MAX_COUNT:,}")
    for name, formats in ONLY_FOR.items():
        value = getattr(options, name)
        if value != getattr(Options, name) and options.format not in formats:
            raise UserError(
                f"{name}={value} has no effect with format={options.format}; it is for {' and '.join(formats)}"
            )
    for name in OF_GENERATED:
        value = getattr(options, name)
        if options.format is Format.film and value != getattr(Options, name):
            raise UserError(f"{name}={value} has no effect with format=film, which shows what the run left")
    if options.format is Format.arithmetic and None in (options.seeds, options.minus, options.plus):
        raise UserError(
            "format=arithmetic needs seeds=, minus= and plus=, such as classes=7 seeds=0-2 minus=3-5 plus=6-8"
        )
    run = Path(options.run)
    own, count = OWN[options.format]
    files = options.format is Format.files
    out = cli.output(options.out, cli.of_run(run, own), options.overwrite, directory=files)
    endings = PICTURES if own.endswith(".png") else (Path(own).suffix,)
    if not files and out.suffix.lower() not in endings:
        raise UserError(f"out={out} must end in {' or '.join(endings)} with format={options.format}")

    # Imported only after the arguments are checked, because torch takes seconds.
    from dcgan import exploring, sampling
    from dcgan.images import save_gif
    from dcgan.tracking import log_to

    log_to(None)
    if options.format is Format.film:
        pictures = exploring.film(run)
        save_gif(pictures, out, milliseconds=300, last=3000)
        print(f"{len(pictures)} picture{'s' * (len(pictures) > 1)} of {run}: {out}")
        return

    trained = sampling.load_generator(run, options.weights, options.statistics, options.truncation)
    classes = trained.parse_classes(options.classes)
    if options.seeds is not None:
        seeds = sampling.parse_numbers("seeds", options.seeds)
    else:
        seeds = list(range(options.count or count))
    write = {
        Format.gif: write_walk,
        Format.strip: write_walk,
        Format.arithmetic: write_arithmetic,
        Format.layers: write_layers,
    }
    what = write.get(options.format, write_images)(options, trained, seeds, classes, out)
    print(f"{what} of step {trained.step}: {out}")


def write_walk(
    options: Options, trained: "TrainedGenerator", seeds: list[int], classes: list[int] | None, out: Path
) -> str:
    """Write a walk as a GIF, which returns to its start, or as a strip, which does not."""
    from dcgan import exploring
    from dcgan.images import save_gif, save_picture

    closed = options.format is Format.gif
    frames = options.frames or (12 if closed else 4)
    if options.between is Between.classes:
        walk = exploring.between_classes(trained, seeds, classes, frames, closed=closed)
    else:
        spherical = options.path is Way.spherical
        walk = exploring.between_seeds(trained, seeds, classes, frames, spherical=spherical, closed=closed)
    if closed:
        save_gif(exploring.animation(walk), out, milliseconds=80)
    else:
        save_picture(exploring.strip(walk), out)
    return f"{len(walk)} frames"


def write_arithmetic(
    options: Options, trained: "TrainedGenerator", seeds: list[int], classes: list[int] | None, out: Path
) -> str:
    """Write the picture of a sum of latents."""
    from dcgan import exploring, sampling
    from dcgan.images import save_picture

    minus, plus = (sampling.parse_numbers(name, getattr(options, name) or "") for name in ("minus", "plus"))
    members, middles, around = exploring.arithmetic(trained, [seeds, minus, plus], classes)
    save_picture(exploring.equation(members, middles, around), out)
    return "arithmetic"


def write_layers(
    options: Options, trained: "TrainedGenerator", seeds: list[int], classes: list[int] | None, out: Path
) -> str:
    """Write the picture of the generator's maps, layer by layer."""
    from dcgan import exploring
    from dcgan.images import save_picture

    save_picture(exploring.layer_by_layer(trained, seeds, classes), out)
    return f"maps and images of {len(seeds)} seeds"


def write_images(
    options: Options, trained: "TrainedGenerator", seeds: list[int], classes: list[int] | None, out: Path
) -> str:
    """Write the images of the seeds."""
    import numpy as np

    from dcgan import exploring, sampling
    from dcgan.images import grid, save_picture, save_png

    images, labels = trained.sample(seeds, classes)
    if options.format is Format.grid:
        save_png(grid(images, sampling.columns_for(labels)), out)
    elif options.format is Format.nearest:
        save_picture(exploring.beside_nearest(images, trained.pictures(options.root)), out)
    elif options.format is Format.files:
        for old in out.glob("seed-*.png"):  # an earlier call may have written more files
            old.unlink()
        for image, seed, label in zip(images, seeds, labels.tolist(), strict=True):
            kind = f"-class-{label}" if label >= 0 else ""
            save_png(image, out / f"seed-{seed:06d}{kind}.png")
    else:
        with replacing(out) as partial, partial.open("wb") as file:  # to a path, NumPy may add .npz
            np.savez(
                file,
                images=images.permute(0, 2, 3, 1).numpy(),
                labels=labels.numpy(),
                seeds=np.array(seeds),
            )
    count = len(set(seeds)) if options.format is Format.files else len(seeds)
    return f"{count} image{'s' * (count > 1)}"


if __name__ == "__main__":
    cli.exit_on_error(main)
