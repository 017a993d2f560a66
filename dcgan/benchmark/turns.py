"""Measure so that a noisy machine gives the same result twice.

The candidates take turns in one process, and the result is the median of the ratios within a turn: whatever
slows the machine down for a while slows down both candidates. Each turn has its own order, so that no candidate
always finds the caches and the free memory as the same other one leaves them.
"""

import ctypes
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import torch

from dcgan.device import forget_peak_memory, peak_memory
from dcgan.progress import Progress

LONG = 5  # seconds of turns that show progress
# Parameters of mallopt(3): how much free memory is kept, and from which size on a tensor gets memory of its own.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def in_turns(
    functions: dict[str, Callable[[], object]], device: torch.device, seconds: float
) -> dict[str, list[float]]:
    """Call the functions one after the other, again and again, each time in another order; return wall times in seconds."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    names, random = list(functions), Random(0)
    for function in functions.values():  # the first call may set things up
        function()
    start = time.perf_counter()
    bar = "{l_bar}{bar}| {remaining} left"
    progress = Progress(total=round(seconds), desc="measuring", bar_format=bar, disable=seconds < LONG)
    while (passed := time.perf_counter() - start) < seconds or len(times[names[0]]) < 5:
        progress.update(min(round(passed), progress.total) - progress.n)
        random.shuffle(names)
        for name in names:
            _wait(device)
            before = time.perf_counter()
            functions[name]()
            _wait(device)
            times[name].append(time.perf_counter() - before)
    progress.close()
    return times


def recorded(function: Callable[[], object], calls: int) -> Callable[[], None]:
    """Record so many calls as a CUDA graph, and return what plays them back: only the GPU's time counts then.

    The tensors that the function reads must live as long as the graph, which does not hold them.
    """
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):  # the first calls may set things up
            function()
    torch.cuda.current_stream().wait_stream(stream)
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(calls):
            function()
    return graph.replay


def extra_memory(function: Callable[[], object], device: torch.device) -> int | None:
    """Return the most bytes that a call adds to those held before, median of three; None if the system does not tell.

    The result is exact on Linux within `memory_given_back`. Elsewhere, gaps in the memory may count, or hide a peak.
    """
    function()  # the first call may set things up
    peaks = []
    for _ in range(3):
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)
        if device.type == "mps" or not forget_peak_memory():
            return None
        before = peak_memory()
        function()
        peaks.append(peak_memory() - before)
    return statistics.median_low(peaks)


@contextmanager
def memory_given_back() -> Iterator[None]:
    """On Linux, give each large tensor memory of its own, which goes back to the system when the tensor is freed.

    Enter this before any large tensor is made: one freed outside leaves a gap, which other tensors then fill.
    """
    if sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, 2**16)
    try:
        yield
    finally:  # the values that malloc itself reaches with large tensors
        libc.mallopt(M_MMAP_THRESHOLD, 2**25)
        libc.mallopt(M_TRIM_THRESHOLD, 2**26)


def product_rate(device: torch.device, size: int = 2048) -> float:
    """Return the GFLOP/s of a plain float32 matrix product, as a measure of what the machine can do."""
    a = torch.randn(size, size, device=device)
    times = in_turns({"product": lambda: a @ a}, device, 2.0)["product"]
    return 2 * size**3 / statistics.median(times) / 1e9


def machine(device: torch.device) -> str:
    """Describe the machine in one line."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    elif device.type == "mps":
        name = "MPS"
    else:
        info = Path("/proc/cpuinfo")
        lines = info.read_text().splitlines() if info.exists() else []
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
        name = f"{name or platform.processor()}, {torch.get_num_threads()} threads, "
        name += torch.backends.cpu.get_cpu_capability()
    return f"{name}, torch {torch.__version__}"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
