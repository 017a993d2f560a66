"""Export a trained generator to a file that runs without this project.

    python scripts/export.py run=outputs/mnist5k format=onnx out=generator.onnx [weights=ema|raw]
                             [statistics=running|standing] [overwrite=true]

run        the run directory, or one checkpoint file
format     onnx: maps latents (batch, Z) from N(0, 1), or from U(-1, 1) if the run has model.latents=uniform, and
           labels (batch,) to images (batch, C, H, W) in [-1, 1]; torch_export: the same for torch.export.load;
           safetensors: only the weights
out        the file to write; an existing one is kept unless overwrite=true
weights    ema: averaged over the last steps; raw: those of the last step
statistics BatchNorm's statistics. running: those of the training; standing: averaged over many batches of this network
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from omegaconf import MISSING

from dcgan import cli
from dcgan.choices import ExportFormat, Statistics, Weights


@dataclass
class Options:
    """The command line."""

    run: str = MISSING
    format: ExportFormat = ExportFormat.onnx
    out: str = MISSING
    weights: Weights = Weights.ema
    statistics: Statistics = Statistics.running
    overwrite: bool = False


def main() -> None:
    """Parse, export, print."""
    options = cli.parse(Options, sys.argv[1:], __doc__)
    out = cli.output(options.out, Path(), options.overwrite)

    # Imported only after the arguments are checked, because torch takes seconds.
    from dcgan import exporting, sampling

    trained = sampling.load_generator(Path(options.run), options.weights, options.statistics)
    exporting.export(trained, options.format, out)
    print(f"the generator of step {trained.step} as {options.format}, {out.stat().st_size / 1e6:.1f} MB: {out}")


if __name__ == "__main__":
    cli.exit_on_error(main)
