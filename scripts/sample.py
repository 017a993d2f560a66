"""Images from a trained generator.

    python scripts/sample.py run=outputs/mnist5k [count=64] [seeds=0-63] [classes=all|3|0,1]
                             [format=grid|files|npz|gif|film] [out=FILE_OR_DIR] [weights=ema|raw]
                             [statistics=running|standing]

run      the run directory, or one checkpoint file
count    how many images: the seeds from 0 on
seeds    or which seeds, as numbers and ranges. One seed gives one image, whatever else is asked for
classes  seed s shows the s-th of these, beginning again after the last
format   grid: one PNG, a column per class; files: a PNG each; npz: images uint8 (N, H, W, C),
         labels int64 (N,), -1 where the run has none, seeds int64 (N,); gif: a walk from seed to seed (0-7 if
         none are given), the classes side by side; film: the grids that the run left in samples/, as a GIF
frames   of gif, from one seed to the next
path     of gif. spherical: latents on the way are as long as those of the seeds; linear: a straight line
out      where to; replaced if it is there. Default: sampled.png, sampled/, sampled.npz, walk.gif or film.gif in the
         run directory
weights  ema: the average over the last steps; raw: those of the last step
statistics  of BatchNorm. running: those of the training; standing: averaged over many batches of this network
"""

import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from omegaconf import MISSING

from dcgan import cli
from dcgan.choices import Statistics, Weights
from dcgan.errors import UserError


class Format(StrEnum):
    """What to write."""

    grid = "grid"
    files = "files"
    npz = "npz"
    gif = "gif"
    film = "film"


class Way(StrEnum):
    """How to get from one seed to the next."""

    spherical = "spherical"
    linear = "linear"


DEFAULTS = {
    Format.grid: "sampled.png",
    Format.files: "sampled",
    Format.npz: "sampled.npz",
    Format.gif: "walk.gif",
    Format.film: "film.gif",
}


@dataclass
class Options:
    """The command line."""

    run: str = MISSING
    count: int | None = None
    seeds: str | None = None
    classes: str = "all"
    format: Format = Format.grid
    frames: int = 12
    path: Way = Way.spherical
    out: str | None = None
    weights: Weights = Weights.ema
    statistics: Statistics = Statistics.running


def main() -> None:
    """Parse, generate, write."""
    options = cli.parse(Options, sys.argv[1:], __doc__)
    if options.seeds is not None and options.count is not None:
        raise UserError("count and seeds both say how many images; leave one of them out")

    if options.frames < 1:
        raise UserError(f"frames={options.frames} must be at least 1")

    # After the arguments are checked: importing torch takes seconds.
    import numpy as np

    from dcgan import sampling
    from dcgan.images import grid, save_gif, save_png, to_picture

    run = Path(options.run)
    out = Path(options.out or (run if run.is_dir() else run.parent) / DEFAULTS[options.format])
    if options.format is Format.film:
        pictures = sampling.progress(run)
        save_gif(pictures, out, milliseconds=300, last=3000)
        print(f"{len(pictures)} pictures of {run}: {out}")
        return

    trained = sampling.load_generator(run, options.weights, options.statistics)
    classes = None if options.classes == "all" else sampling.parse_numbers("classes", options.classes)
    count = options.count or (8 if options.format is Format.gif else 64)
    seeds = sampling.parse_numbers("seeds", options.seeds or f"0-{count - 1}")
    if options.format is Format.gif:
        spherical = options.path is Way.spherical
        way = sampling.walk(trained.network, seeds, options.frames, spherical)
        save_gif([to_picture(image, scale=2) for image in trained.film(way, classes)], out, milliseconds=80)
        print(f"{len(way)} frames of step {trained.step}: {out}")
        return

    images, labels = trained.sample(seeds, classes)
    if options.format is Format.grid:
        save_png(grid(images, sampling.columns_for(labels)), out)
    elif options.format is Format.files:
        for image, seed, label in zip(images, seeds, labels.tolist(), strict=True):
            kind = f"-class-{label}" if label >= 0 else ""
            save_png(image, out / f"seed-{seed:06d}{kind}.png")
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        np.savez(out, images=images.permute(0, 2, 3, 1).numpy(), labels=labels.numpy(), seeds=np.array(seeds))
    print(f"{len(images)} images of step {trained.step}: {out}")


if __name__ == "__main__":
    cli.exit_on_error(main)
