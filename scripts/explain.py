"""A transposed convolution, explained: its arithmetic as text, its matrix, and two animations.

    python scripts/explain.py input_size=3 kernel_size=3 [stride=2] [padding=1] [output_padding=1] [dilation=1]
                              [out=DIR] [overwrite=true]

All sizes are in pixels per side. Input and kernel hold the numbers 1, 2, 3, ...
out  a directory for matrix.png, zero_insert.gif and scatter.gif; an existing one is an error without overwrite=true.
     The default is explained, whose pictures are replaced
"""

import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import MISSING

from dcgan import cli


@dataclass
class Options:
    """The command line."""

    input_size: int = MISSING
    kernel_size: int = MISSING
    stride: int = 1
    padding: int = 0
    output_padding: int = 0
    dilation: int = 1
    out: str | None = None
    overwrite: bool = False


def main() -> None:
    """Parse the command line, print the arithmetic, draw the pictures."""
    settings = asdict(cli.parse(Options, sys.argv[1:], __doc__))
    out = cli.output(settings.pop("out"), Path("explained"), settings.pop("overwrite"), directory=True)

    # Imported only after the arguments are checked, because importing torch takes seconds.
    from dcgan import explain

    example = explain.Example(**settings)
    print(explain.text(example))
    print("drawing ...", flush=True)
    with TemporaryDirectory() as aside:  # so that all pictures are kept, or none
        explain.draw_matrix(example).savefig(Path(aside, "matrix.png"))
        explain.save_animation(explain.zero_insert_frames(example), Path(aside, "zero_insert.gif"))
        explain.save_animation(explain.scatter_frames(example), Path(aside, "scatter.gif"))
        shutil.copytree(aside, out, dirs_exist_ok=True)
    print(f"drawn: {out / 'matrix.png'}, {out / 'zero_insert.gif'}, {out / 'scatter.gif'}")


if __name__ == "__main__":
    cli.exit_on_error(main)
