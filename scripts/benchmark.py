"""Measurements of this machine, as tables.

    python scripts/benchmark.py layer [sizes=64,32,28] [algorithms=auto,gemm] [seconds=2] [device=cpu] [out=FILE.md]

layer       every transposed convolution of a DCGAN, batch 64: forward, and forward with backward, for
            PyTorch's layer in both memory formats and ours, taking turns in one process. Ratios are to the
            faster of PyTorch's two; below 1 is quicker
sizes       whose: 64 is the generator of pytorch/examples, any other that of this project
algorithms  which of ours; all if left out
seconds     how long to repeat each layer's forward pass, and again both passes
device      cpu or cuda
out         a file for the tables, too
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from dcgan import cli
from dcgan.errors import UserError


@dataclass
class Options:
    """The command line after the word ``layer``."""

    sizes: str = "64,32,28"
    algorithms: str | None = None
    seconds: float = 2.0
    device: str = "cpu"
    out: str | None = None


def main() -> None:
    """Parse, measure, print."""
    what, *arguments = sys.argv[1:] or ["--help"]
    options = cli.parse(Options, ["--help"] if what in ("-h", "--help") else arguments, __doc__)
    if what != "layer":
        raise UserError(f"{what!r} is not a benchmark; there is: layer")

    import torch

    from dcgan import benchmark
    from dcgan.sampling import parse_numbers

    algorithms = options.algorithms.split(",") if options.algorithms else benchmark.known_algorithms()
    unknown = set(algorithms) - set(benchmark.known_algorithms())
    if unknown:
        known = ", ".join(benchmark.known_algorithms())
        raise UserError(f"algorithms={options.algorithms}: {unknown.pop()!r} is unknown; choose from {known}")
    sizes = parse_numbers("sizes", options.sizes)
    if min(sizes) < 8:
        raise UserError(f"sizes={options.sizes}: a generator's images have at least 8 pixels a side")
    if options.device not in ("cpu", "cuda") or (options.device == "cuda" and not torch.cuda.is_available()):
        raise UserError(
            f"device={options.device} is not there; choose cpu, or cuda where PyTorch finds a GPU"
        )
    device = torch.device(options.device)
    if device.type == "cuda":  # the same precision for convolutions and matrix products, or nothing compares
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.benchmark = True

    head = f"{benchmark.machine(device)}; a 2048 x 2048 matrix product runs at {benchmark.product_rate(device):.0f} GFLOP/s"
    print(head)
    rows: list[benchmark.Row] = []
    for case in (case for size in sizes for case in benchmark.cases(size)):
        measured = list(benchmark.measure(case, algorithms, device, options.seconds))
        lines = benchmark.table(measured).splitlines()
        print("\n".join(lines if not rows else lines[2:]), flush=True)
        rows += measured
    print("", benchmark.summary(rows), sep="\n")
    if options.out:
        Path(options.out).write_text(f"{head}\n\n{benchmark.summary(rows)}\n\n{benchmark.table(rows)}\n")


if __name__ == "__main__":
    cli.exit_on_error(main)
