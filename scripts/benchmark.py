"""Measure this machine and print the results as tables.

    python scripts/benchmark.py layer [sizes=64,32,28] [algorithms=auto,gemm] [seconds=2] [device=cpu] [out=FILE.md]
    python scripts/benchmark.py step [seconds=20] [out=FILE.md] [any setting of dcgan.train]
    python scripts/benchmark.py data [root=DIR] [count=4000] [image_size=64] [seconds=4] [out=FILE.md]

layer       time every transposed convolution of a DCGAN, batch 64: forward, and forward with backward, for
            PyTorch's layer in both memory formats and for ours, taking turns in one process. Ratios are to the
            faster of PyTorch's two; below 1 is faster
sizes       image sizes of the generators: 64 is that of pytorch/examples, any other that of this project
algorithms  which of our algorithms to measure; the default is all
seconds     layer: how long to repeat each layer's forward pass, and again both passes; step: how long to repeat all
            steps; data: how long to read batches in each way. Ratios are medians over the turns,
            so they differ a little from the ratio of the median times
device      cpu or cuda. On a GPU, calls are recorded, as in training, products round to TF32, and matrix is left out

step        time whole training steps with each way to upsample, taking turns in one process. Ratios are to the
            built-in layer; below 1 is faster. The settings describe the run, such as data.image_size=64 batch_size=64

data        measure pictures per second: decoding and resizing by Pillow on one core beside preparing, and batches of
            PyTorch's DataLoader over ImageFolder beside batches from the store, taking turns in one process;
            for a quarter, half and all of the pictures. Above 1 is faster
root        a directory of pictures; the default is JPEGs of CelebA's size, drawn for the purpose
count       how many pictures to use
image_size  pixels per side of a square

out         a file for the tables as well; an existing one is an error without overwrite=true
"""

import sys
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

from dcgan import cli
from dcgan.atomic import write_text
from dcgan.config import Config
from dcgan.errors import UserError


@dataclass
class Options:
    """The options that all three benchmarks take."""

    seconds: float = 2.0
    out: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.seconds >= 0:
            raise UserError(f"seconds={self.seconds:g} must be at least 0")
        if self.out is not None:
            cli.output(self.out, Path(), self.overwrite)


@dataclass
class LayerOptions(Options):
    """The command line after the word ``layer``."""

    sizes: str = "64,32,28"
    algorithms: str | None = None
    device: str = "cpu"


@dataclass
class StepOptions(Options):
    """The command line after the word ``step``, without the settings of a run."""

    seconds: float = 20.0


@dataclass
class DataOptions(Options):
    """The command line after the word ``data``."""

    root: str | None = None
    count: int = 4000
    image_size: int = 64
    seconds: float = 4.0


def main() -> None:
    """Choose what to measure."""
    what, *arguments = sys.argv[1:] or ["--help"]
    if what in ("-h", "--help"):
        what, arguments = "layer", ["--help"]
    if what == "layer":
        benchmark_layer(cli.parse(LayerOptions, arguments, __doc__))
    elif what == "step":
        own = {setting.name for setting in fields(StepOptions)}
        mine = [argument for argument in arguments if argument.partition("=")[0] in own]
        rest = [argument for argument in arguments if argument not in mine]
        benchmark_step(cli.parse(StepOptions, mine, __doc__), cli.compose(rest, __doc__))
    elif what == "data":
        benchmark_data(cli.parse(DataOptions, arguments, __doc__))
    else:
        raise UserError(f"{what!r} is not a benchmark; choose layer, step or data")


def written(options: Options, *parts: str) -> None:
    """Write what was printed to the file that ``out=`` names, if any."""
    if options.out is not None:
        write_text(Path(options.out), "\n\n".join(parts) + "\n")


def benchmark_layer(options: LayerOptions) -> None:
    """Measure the layers and print the tables."""
    import torch

    from dcgan.benchmark import layer, turns
    from dcgan.conv_transpose import ALGORITHMS
    from dcgan.progress import Progress
    from dcgan.sampling import parse_numbers

    algorithms = options.algorithms.split(",") if options.algorithms else list(ALGORITHMS)
    if unknown := set(algorithms) - set(ALGORITHMS):
        known = ", ".join(ALGORITHMS)
        raise UserError(f"algorithms={options.algorithms}: {unknown.pop()!r} is unknown; choose from {known}")
    sizes = parse_numbers("sizes", options.sizes)
    if min(sizes) < 8:
        raise UserError(f"sizes={options.sizes}: a generator's images have at least 8 pixels a side")
    if options.device not in ("cpu", "cuda") or (options.device == "cuda" and not torch.cuda.is_available()):
        raise UserError(f"device={options.device} is not there; choose cpu, or cuda where PyTorch finds a GPU")
    device = torch.device(options.device)
    if device.type == "cuda":  # one precision for convolutions and matrix products, or they do not compare
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
        if options.algorithms and "matrix" in algorithms:
            raise UserError(f"algorithms={options.algorithms}: matrix cannot be recorded on a GPU; leave it out")
        algorithms = [name for name in algorithms if name != "matrix"]

    with turns.memory_given_back():  # so memory comes before timing
        cases = [case for size in sizes for case in layer.cases(size)]
        peaks = [layer.peaks(case, algorithms, device) for case in Progress(cases, "memory")]
    head = f"{turns.machine(device)}; a 2048 x 2048 matrix product runs at {turns.product_rate(device):.0f} GFLOP/s"
    print(head)
    rows: list[layer.Row] = []
    for case, held in zip(cases, peaks, strict=True):
        measured = layer.measure(case, algorithms, device, options.seconds, held)
        lines = layer.table(measured).splitlines()
        print("\n".join(lines if not rows else lines[2:]), flush=True)
        rows += measured
    print("", layer.summary(rows), sep="\n")
    written(options, head, layer.summary(rows), layer.table(rows))


def benchmark_step(options: StepOptions, config: Config) -> None:
    """Measure the training steps and print the table."""
    from dcgan.benchmark import step, turns
    from dcgan.device import choose_device

    device = choose_device(config.device)
    height, width = config.data.image_size
    head = f"{turns.machine(device)}; batches of {config.batch_size}, {height} x {width} x {config.data.channels}"
    print(head)
    rows = step.table(step.measure(config, device, options.seconds))
    print(rows)
    written(options, head, rows)


def benchmark_data(options: DataOptions) -> None:
    """Measure the data pipelines and print the table."""
    import torch

    from dcgan.benchmark import data, turns
    from dcgan.data.pictures import SUFFIXES

    if options.count < 8 * data.BATCH:
        raise UserError(f"count={options.count} must be at least {8 * data.BATCH}, eight batches")
    with tempfile.TemporaryDirectory() as directory:
        if options.root is None:
            pictures = data.drawn(Path(directory), options.count)
        else:
            found = (path for path in Path(options.root).rglob("*") if path.suffix.lower() in SUFFIXES)
            pictures = sorted(found)[: options.count]
        if len(pictures) < options.count:
            raise UserError(f"root={options.root} holds {len(pictures)} pictures; set count= to that or less")
        print(head := turns.machine(torch.device("cpu")), flush=True)
        rows = []
        for count in (options.count // 4, options.count // 2, options.count):
            rows.append(data.measure(pictures[:count], options.image_size, options.seconds))
            lines = data.table(rows).splitlines()
            print("\n".join(lines if len(rows) == 1 else lines[-1:]), flush=True)
    written(options, head, data.table(rows))


if __name__ == "__main__":
    cli.exit_on_error(main)
