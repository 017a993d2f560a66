"""Prepare the pictures of a training in advance, and list what is there.

    python scripts/prepare.py data=NAME [data.root=DIR_OR_ZIP] [data.image_size=64] [any setting of dcgan.train]

The pictures are decoded and resized once, into data.store. A training with the same settings then begins at once.
Some of the pictures are shown in examples.png in the same directory.
"""

import sys

from dcgan import cli


def main() -> None:
    """Parse, prepare, print."""
    config = cli.compose(sys.argv[1:], __doc__).data

    # Imported only after the arguments are checked, because torch takes seconds.
    from dcgan import data, sampling
    from dcgan.images import grid, save_png
    from dcgan.tracking import log_to

    log_to(None)
    found = data.load(config)
    for part, images in (("not held out", found.train), ("held out", found.held_out)):
        print(f"{len(images):,} pictures {part}")
        for label, kind in enumerate(images.classes):
            name = "" if kind == str(label) else f" {kind}"
            print(f"    class {label}{name}: {(images.labels == label).sum():,}")
    for file, reason in found.skipped.items():
        print(f"skipped: {file} {reason}")
    if len(found.shown) < len(found.train):
        print(f"{len(found.shown):,} of those not held out are trained on: data.limit")
    columns = min(len(found.train.classes) or sampling.UNLABELLED_COLUMNS, sampling.MAX_COLUMNS)
    examples = found.train.examples(columns, sampling.GRID_ROWS, by_class=bool(found.train.classes))
    save_png(grid(examples, columns), found.store / "examples.png")
    print(f"examples: {found.store / 'examples.png'}")


if __name__ == "__main__":
    cli.exit_on_error(main)
