"""``scripts/benchmark.py``: what it measures, not how fast anything is."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from runs import ROOT

from dcgan import device
from dcgan.benchmark import layer, step, turns
from dcgan.choices import Upsample
from dcgan.config import Config, DataConfig, ModelConfig, OptimConfig
from dcgan.conv_transpose import ALGORITHMS

CPU = torch.device("cpu")


def test_the_layers_are_those_of_the_generators():
    names = [case.name for size in (64, 32, 28) for case in layer.cases(size)]
    assert names == [
        "64 px: 100-512 at 1 x 1, k4 s1",
        "64 px: 512-256 at 4 x 4, k4 s2",
        "64 px: 256-128 at 8 x 8, k4 s2",
        "64 px: 128-64 at 16 x 16, k4 s2",
        "64 px: 64-3 at 32 x 32, k4 s2",
        "32 px: 128-128 at 1 x 1, k4 s1",
        "32 px: 128-64 at 4 x 4, k4 s2",
        "32 px: 64-32 at 8 x 8, k4 s2",
        "32 px: 32-3 at 16 x 16, k4 s2",
        "28 px: 128-128 at 1 x 1, k3 s1",
        "28 px: 128-64 at 3 x 3, k4 s2",
        "28 px: 64-32 at 7 x 7, k4 s2",
        "28 px: 32-1 at 14 x 14, k4 s2",
    ]
    # 64 images, 4 x 4 pixels, 512 to 256 channels, 16 taps.
    assert layer.cases(64)[1].products == 64 * 16 * 512 * 256 * 16


def test_every_turn_has_an_order_of_its_own():
    called = []
    names = ["a", "b", "c"]
    times = turns.in_turns({name: lambda name=name: called.append(name) for name in names}, CPU, 0.0)
    orders = [tuple(called[at : at + 3]) for at in range(3, len(called), 3)]  # the first calls set things up
    assert all(sorted(order) == names for order in orders)
    assert len(set(orders)) > 1  # five turns at least
    assert {len(one) for one in times.values()} == {len(orders)}


def test_ratios_are_to_the_faster_built_in_of_the_same_turn():
    first, second = layer.BUILT_IN
    results = layer._ratios({first: [4.0, 8.0, 4.0], second: [2.0, 4.0, 2.0], "auto": [1.0, 8.0, 3.0]})
    assert results[first].ratio == 2.0
    assert results[second].ratio == 1.0
    assert results["auto"].seconds == 3.0
    assert results["auto"].ratio == 1.5  # the median of 0.5, 2 and 1.5


@pytest.fixture
def no_gpu(monkeypatch):
    """On a GPU, memory is that of the GPU; a test before this one may have used it in the same process."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)


@pytest.mark.usefixtures("no_gpu")
def test_extra_memory_is_what_a_call_held_for_a_while():
    size = 2**27
    calls = (lambda: torch.ones(size // 4).sum(), lambda: None)
    peak, quiet = (turns.extra_memory(call, CPU) for call in calls)
    if peak is None:
        pytest.skip("this system does not tell a process's peak memory")
    assert quiet < size / 4
    assert 0.75 * size < peak < 1.5 * size


GAPS = """
import torch
from dcgan.benchmark import turns

def call():
    first, second = torch.ones(3, 2**21), torch.ones(5, 2**21)
    del first
    return torch.ones(4, 2**21)  # does not fit where the first was

with turns.memory_given_back():
    print(turns.extra_memory(call, torch.device("cpu")) / 2**23)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only there the allocator is known")
def test_extra_memory_counts_no_gaps():
    told = subprocess.check_output([sys.executable, "-c", GAPS], cwd=ROOT)
    assert float(told) == pytest.approx(5 + 4, abs=0.7)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of one process alone")
def test_the_memory_of_the_process_that_started_this_one_does_not_count():
    ask = [sys.executable, "-c", "from dcgan.device import peak_memory; print(peak_memory())"]
    large = f"import subprocess; held = b'x' * 2**30; print(subprocess.check_output({ask!r}, text=True))"
    alone, beside = (
        int(subprocess.check_output(command, cwd=ROOT)) for command in (ask, [sys.executable, "-c", large])
    )
    assert beside < alone + 2**28


@pytest.mark.usefixtures("no_gpu")
def test_extra_memory_is_not_told_where_the_system_does_not_reset_it(monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refused)
    assert turns.extra_memory(lambda: None, CPU) is None


def test_peak_memory_is_told_where_the_system_keeps_no_mark(tmp_path, monkeypatch):
    """In gVisor, for example, /proc/self/status has no VmHWM."""
    (tmp_path / "status").write_text("Name:\tpython\nVmRSS:\t 1000 kB\n")
    monkeypatch.setattr("dcgan.device.STATUS", tmp_path / "status")
    assert device.peak_memory() > 2**20


def test_every_algorithm_is_measured():
    (case, *_) = layer.cases(28)
    algorithms = list(ALGORITHMS)
    rows = layer.measure(case, algorithms, CPU, 0.0, layer.peaks(case, algorithms, CPU))
    ours = ["auto", *(f"{name}, channels_last" for name in ALGORITHMS)]
    assert [row.candidate for row in rows] == [*layer.BUILT_IN, *ours]


def test_the_script_prints_a_row_for_every_candidate(command, tmp_path):
    done = command("benchmark.py", "layer", "sizes=28", "algorithms=auto", "seconds=0.01", "out=table.md")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("28 px: 64-32 at 7 x 7") == 4
    for text in (done.stdout, (tmp_path / "table.md").read_text()):
        assert "| auto, channels_last | 4 |" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["speed"], "'speed' is not a benchmark; choose layer, step or data"),
        (
            ["layer", "algorithms=auto,fast"],
            "algorithms=auto,fast: 'fast' is unknown; choose from auto, gemm, phase",
        ),
        (["layer", "sizes=4"], "sizes=4: a generator's images have at least 8 pixels a side"),
        (["layer", "device=tpu"], "device=tpu is not there"),
        (["step", "seconds=-1"], "seconds=-1 must be at least 0"),
        (["layer", "sizes=32", "sizes=28"], "sizes= is given more than once"),
        (["layer", "out=."], "out=. exists; set another out=, or overwrite=true"),
    ],
)
def test_a_wrong_argument_gets_a_sentence(command, arguments, message):
    done = command("benchmark.py", *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_step_benchmark_measures_every_way_of_the_run_that_was_described(command, tmp_path):
    run = ["experiment=smoke", "data.image_size=9", "batch_size=4", "model.conditional=false"]
    done = command("benchmark.py", "step", "seconds=0", "out=sub/table.md", *run)
    assert done.returncode == 0, done.stderr
    assert "batches of 4, 9 x 9 x 1" in done.stdout
    text = (tmp_path / "sub" / "table.md").read_text()
    ways = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert ways == ["upsample", "---", "scratch", "builtin", "resize", "pixel_shuffle"]
    assert "| 1.00 |" in next(line for line in text.splitlines() if line.startswith("| builtin"))
    assert "out=sub/table.md exists" in command("benchmark.py", "step", "out=sub/table.md").stderr
    wrong = command("benchmark.py", "step", "model.widht=3")
    assert "there is no setting model.widht; did you mean model.width?" in wrong.stderr


def test_more_steps_than_the_run_has_are_timed():
    config = Config(
        data=DataConfig(image_size=9),
        model=ModelConfig(width=2, latent_dim=2),
        optim=OptimConfig(decay_from=1),
        steps=2,
        batch_size=2,
    )
    rows = step.measure(config, CPU, 0.0)
    assert [row.upsample for row in rows] == list(Upsample)
    assert all(row.images == pytest.approx(2 / row.seconds) for row in rows)


def test_the_data_benchmark_prints_a_row_for_each_count(command, tmp_path):
    done = command("benchmark.py", "data", "count=512", "image_size=16", "seconds=0.05", "out=table.md")
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1].strip() for line in (tmp_path / "table.md").read_text().splitlines() if "/s" in line]
    assert rows == ["128", "256", "512"]
    assert "count=20 must be at least 512" in command("benchmark.py", "data", "count=20").stderr
