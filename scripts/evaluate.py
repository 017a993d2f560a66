"""Measure how good the samples of a run are, every number beside the same number for real pictures.

    python scripts/evaluate.py run=outputs/mnist5k [samples=10000] [seed=0] [weights=ema|raw]
                               [statistics=running|standing] [truncation=1] [root=DIR] [device=auto]
                               [out=FILE] [overwrite=true]

run         the run directory, or one checkpoint file, such as outputs/mnist5k/checkpoints/best.pt
samples     the number of images to generate, at most half the number of real pictures
seed        the seed for choosing real pictures and drawing latents
weights     ema: averaged over the last steps; raw: those of the last step
statistics  BatchNorm's statistics. running: those of the training; standing: averaged over many batches of this network
truncation  a factor for the latents, at most 1; smaller factors make images clearer, but more alike
root        where the pictures of the run are now, if they have moved
device      where to compute: auto, cpu, cuda, mps
out         the file to write; an existing one is kept unless overwrite=true. Default: evaluation.json in the run
            directory, which is replaced
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from omegaconf import MISSING

from dcgan import cli
from dcgan.atomic import write_text
from dcgan.choices import Device, Statistics, Weights


@dataclass
class Options:
    """The command line."""

    run: str = MISSING
    samples: int = 10_000
    seed: int = 0
    weights: Weights = Weights.ema
    statistics: Statistics = Statistics.running
    truncation: float = 1.0
    root: str | None = None
    device: Device = Device.auto
    out: str | None = None
    overwrite: bool = False


def main() -> None:
    """Parse, measure, print, write."""
    options = cli.parse(Options, sys.argv[1:], __doc__)
    run = Path(options.run)
    out = cli.output(options.out, cli.of_run(run, "evaluation.json"), options.overwrite)

    # Imported only after the arguments are checked, because torch takes seconds.
    from torch import Tensor

    from dcgan import evaluation, sampling
    from dcgan.device import choose_device
    from dcgan.networks import to_device
    from dcgan.tracking import log_to

    log_to(None)
    device = choose_device(options.device)
    trained = sampling.load_generator(run, options.weights, options.statistics, options.truncation)
    network = to_device(trained.network, device)
    found = trained.pictures(options.root)

    def sample(labels: Tensor | None, count: int) -> Tensor:
        return sampling.generate_many(network, count, labels, options.seed)

    evaluator = evaluation.Evaluator(found, options.samples, trained.num_classes > 0, device, options.seed)
    results = evaluation.measure_thoroughly(evaluator, sample, device)
    print(f"{run}, step {trained.step}: {evaluator.count:,} generated images, and as many real ones in their place")
    print(evaluation.table(results.measures))
    print(evaluation.remarks(results))
    about = {
        "step": trained.step,
        "samples": evaluator.count,
        "seed": options.seed,
        "weights": options.weights.value,
        "statistics": options.statistics.value,
        "truncation": options.truncation,
        "data": found.train.fingerprint,
    }
    write_text(out, json.dumps({**about, **asdict(results)}, indent=1) + "\n")
    print(f"written: {out}")


if __name__ == "__main__":
    cli.exit_on_error(main)
