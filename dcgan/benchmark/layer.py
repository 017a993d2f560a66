"""Measure how fast the from-scratch layer is beside PyTorch's."""

import math
import statistics
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dcgan.benchmark.turns import extra_memory, in_turns, recorded
from dcgan.config import ModelConfig
from dcgan.conv_transpose import ConvTranspose2d
from dcgan.networks import Generator

BATCH = 64
# With more numbers than this in its sparse matrix, `matrix` takes minutes and gigabytes.
LARGEST_MATRIX = 2**22
# Calls in a CUDA graph: starting it takes about as long as a small layer.
CALLS = 10
BUILT_IN = ("built-in", "built-in, channels_last")


Passes = dict[str, Callable[[], object]]


class Case(NamedTuple):
    """A layer of a generator and the shape of its input."""

    name: str
    layer: nn.ConvTranspose2d
    input_shape: tuple[int, ...]

    @property
    def products(self) -> int:
        """Multiplications in one forward pass: every input pixel by every weight that it meets."""
        return self.input_shape[0] * math.prod(self.input_shape[2:]) * self.layer.weight.numel()


class Result(NamedTuple):
    """The time of one candidate's forward pass, or of its forward and backward pass."""

    seconds: float  # median
    ratio: float  # median of the ratios to the faster built-in within a turn


class Row(NamedTuple):
    """The measurements of one candidate on one layer."""

    case: Case
    candidate: str
    forward: Result
    both: Result
    peak: int | None  # bytes beyond those held before, forward and backward

    @property
    def gflops(self) -> float:
        """Useful operations per second, forward and backward, in 10^9; a product and a sum count as two."""
        return 6 * self.case.products / self.both.seconds / 1e9


def cases(size: int) -> list[Case]:
    """Return the transposed convolutions of a generator: pytorch/examples' for 64 pixels, ours for other sizes."""
    model = ModelConfig(width=64, latent_dim=100) if size == 64 else ModelConfig()
    network = Generator(model, (size, size), 1 if size == 28 else 3, 0 if size == 64 else 10)
    found: list[Case] = []

    def note(layer: nn.Module, given: tuple[Tensor, ...], _: object) -> None:
        assert isinstance(layer, nn.ConvTranspose2d)
        (_, _, h, w), (k, _) = given[0].shape, layer.kernel_size
        name = f"{size} px: {layer.in_channels}-{layer.out_channels} at {h} x {w}, k{k} s{layer.stride[0]}"
        found.append(Case(name, layer, tuple(given[0].shape)))

    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d):
            module.register_forward_hook(note)
    with torch.no_grad():
        network(torch.randn(BATCH, model.latent_dim), torch.zeros(BATCH, dtype=torch.int64))
    return found


def peaks(case: Case, algorithms: list[str], device: torch.device) -> dict[str, int | None]:
    """Return the `extra_memory` of each candidate on one layer, forward and backward."""
    _, both = _functions(case, algorithms, device)
    return {name: extra_memory(function, device) for name, function in both.items()}


def measure(
    case: Case, algorithms: list[str], device: torch.device, seconds: float, peaks: dict[str, int | None]
) -> list[Row]:
    """Measure all candidates on one layer, in turns.

    Args:
        case: the layer.
        algorithms: which of our algorithms; ``"auto"`` is measured in both memory formats.
        device: where to measure.
        seconds: how long to repeat the forward pass, and again both passes; at least 5 turns.
        peaks: the result of `peaks` for these candidates.
    """
    forward, both = (_timed(passes, device, seconds) for passes in _functions(case, algorithms, device))
    return [Row(case, name, forward[name], both[name], peaks[name]) for name in forward]


def _timed(passes: Passes, device: torch.device, seconds: float) -> dict[str, Result]:
    if device.type != "cuda":
        return _ratios(in_turns(passes, device, seconds))
    # Python starts the kernels of a small layer more slowly than a GPU finishes them; training records them, too.
    times = in_turns({name: recorded(function, CALLS) for name, function in passes.items()}, device, seconds)
    return _ratios({name: [value / CALLS for value in values] for name, values in times.items()})


def _functions(case: Case, algorithms: list[str], device: torch.device) -> tuple[Passes, Passes]:
    """Return the candidates' forward passes, and their forward and backward passes."""
    forward, both = {}, {}
    for name, layer, memory_format in _candidates(case, algorithms):
        layer.to(device).to(memory_format=memory_format)
        x = torch.randn(case.input_shape, device=device).to(memory_format=memory_format).requires_grad_()
        gradient = torch.randn_like(layer(x))
        forward[name], both[name] = _passes(layer, x, gradient)
    return forward, both


def _candidates(case: Case, algorithms: list[str]) -> Iterator[tuple[str, nn.ConvTranspose2d, torch.memory_format]]:
    theirs = case.layer
    how = (theirs.kernel_size, theirs.stride, theirs.padding, theirs.output_padding)
    arguments = (theirs.in_channels, theirs.out_channels, *how)
    for name, memory_format in zip(BUILT_IN, (torch.contiguous_format, torch.channels_last), strict=True):
        yield name, nn.ConvTranspose2d(*arguments, bias=False), memory_format  # type: ignore[arg-type]
    for algorithm in algorithms:
        if algorithm == "matrix" and case.products // case.input_shape[0] > LARGEST_MATRIX:
            continue
        ours = ConvTranspose2d(*arguments, bias=False, algorithm=algorithm)
        if algorithm == "auto":
            yield "auto", ours, torch.contiguous_format
            ours = ConvTranspose2d(*arguments, bias=False)
        yield f"{algorithm}, channels_last", ours, torch.channels_last


def _passes(
    layer: nn.ConvTranspose2d, x: Tensor, gradient: Tensor
) -> tuple[Callable[[], object], Callable[[], object]]:
    return lambda: layer(x), lambda: torch.autograd.grad(layer(x), (x, layer.weight), gradient)


def _ratios(times: dict[str, list[float]]) -> dict[str, Result]:
    medians = {name: statistics.median(values) for name, values in times.items()}
    reference = times[min(BUILT_IN, key=lambda name: medians[name])]
    return {
        name: Result(medians[name], statistics.median(a / b for a, b in zip(values, reference, strict=True)))
        for name, values in times.items()
    }


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| layer | candidate | forward ms | ratio | forward + backward ms | ratio | GFLOP/s | peak MB |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        peak = "" if row.peak is None else f"{row.peak / 1e6:.0f}"
        forward, both = (f"{_milliseconds(r.seconds)} | {r.ratio:.2f}" for r in (row.forward, row.both))
        lines.append(f"| {row.case.name} | {row.candidate} | {forward} | {both} | {row.gflops:.0f} | {peak} |")
    return "\n".join(lines)


def _milliseconds(seconds: float) -> str:
    """Up to three significant digits, as layers take from microseconds to seconds."""
    return f"{seconds * 1e3:.3g}" if seconds < 0.9995 else f"{seconds * 1e3:.0f}"


def summary(rows: list[Row]) -> str:
    """Summarise each candidate over all layers that it was measured on, as a Markdown table."""
    lines = [
        "| candidate | layers | forward + backward, geometric mean | best | worst | most memory |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    peaks = {row.case.name: row.peak for row in rows if row.candidate == BUILT_IN[0]}
    for candidate in dict.fromkeys(row.candidate for row in rows):
        mine = [row for row in rows if row.candidate == candidate]
        ratios = [row.both.ratio for row in mine]
        memory = [row.peak / peaks[row.case.name] for row in mine if row.peak and peaks[row.case.name]]  # type: ignore[operator]
        most = f"{max(memory):.2f}" if memory else ""
        mean = statistics.geometric_mean(ratios)
        lines.append(f"| {candidate} | {len(mine)} | {mean:.2f} | {min(ratios):.2f} | {max(ratios):.2f} | {most} |")
    return "\n".join(lines)
