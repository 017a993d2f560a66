"""Helpers for tests of whole commands: they start and stop commands, and compare runs.

Run as a program, this file is ``dcgan.train`` with a signal in the middle of it: see `main`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dcgan import checkpoint, engine, parallel, train

ROOT = Path(__file__).parents[1]
# Small enough to finish in seconds, long enough to be interrupted.
TINY = ["experiment=smoke", "name=tiny", "steps=40", "log_every=1", "sample_every=20", "checkpoint_every=7"]
TINY += ["device=cpu"]  # on which two runs agree to the bit


def tiny_with(*changes):
    """Return the settings of `TINY` with some changed or added."""
    changed = {change.partition("=")[0] for change in changes}
    return [setting for setting in TINY if setting.partition("=")[0] not in changed] + list(changes)


@contextmanager
def commands(directory):
    """``command("train", "steps=3")`` runs ``python -m dcgan.train steps=3`` in the directory.

    With ``wait=False`` it returns the running process. A name that ends in ``.py`` is a script or a whole path. If
    ``processes`` is more than 1, torchrun starts them. ``signalled=(number, step)`` is for ``train``, see `main`.
    All other keywords go into the environment.
    """
    started = []

    def start(program, *arguments, wait=True, processes=1, signalled=None, **environment):
        what = [str(ROOT / "scripts" / program)] if program.endswith(".py") else ["-m", f"dcgan.{program}"]
        if signalled is not None:
            what = [__file__, *(str(int(number)) for number in signalled)]
        if processes > 1:
            what = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *what]
        around = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error::UserWarning"}
        around.pop("PYTEST_CURRENT_TEST", None)
        process = subprocess.Popen(
            [sys.executable, *what, *arguments],
            cwd=directory,
            env=around | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        if not wait:
            return process
        stdout, stderr = process.communicate(timeout=240)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    try:
        yield start
    finally:
        for process in started:
            if process.poll() is None:
                # torchrun puts each of its processes in its own session, so there is no process group to kill.
                for one in family(process.pid):
                    with suppress(ProcessLookupError):
                        os.kill(one, signal.SIGKILL)
                process.wait()
            for stream in (process.stdout, process.stderr):
                stream.close()


def family(pid):
    """Return the process and, on a Linux that lists them, all its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        children = []
    return [pid, *(one for child in children for one in family(int(child)))]


def signalled_inputs(number, after):
    """Return an `engine.inputs` that, after ``after`` steps, sends its process a signal and waits for it.

    If there are several processes, the first one sends the signal to torchrun.
    """
    inputs = engine.inputs

    def send():
        handler, come = signal.getsignal(number), []
        if callable(handler):
            signal.signal(number, lambda *frame: (come.append(number), handler(*frame)))
        os.kill(os.getppid() if parallel.world_size() > 1 else os.getpid(), number)
        while not come:
            time.sleep(0.01)

    def signalled(state, *rest, **how):
        if state.step == after and parallel.is_main():
            send()
        return inputs(state, *rest, **how)

    return signalled


def main():
    """``runs.py NUMBER STEP SETTING=VALUE ...``: train, and receive signal ``NUMBER`` after ``STEP`` steps.

    The process sends it itself, because a fast machine might finish before a signal from outside arrives.
    """
    number, after = (int(sys.argv.pop(1)) for _ in range(2))
    engine.inputs = signalled_inputs(number, after)
    train.main()


def wait_for_step(process, run_dir, step):
    metrics = run_dir / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and len(metrics.read_text().splitlines()) >= step):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def assert_refused(done, message):
    """Assert exit code 1 and a single sentence, apart from lines about preparing pictures."""
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("prepared ")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert message in lines[0]


def numbers(run_dir):
    """Return the run's metrics, without those that depend on the clock and the machine."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith(("speed/", "memory/"))} for line in lines]


def last_state(run_dir):
    state = checkpoint.newest(run_dir / "checkpoints")
    state["config"].pop("name")
    return state


def assert_same_state(one, other):
    """Assert that networks, average and both optimisers agree to the bit."""
    first, second = last_state(one), last_state(other)
    assert first.keys() == second.keys()
    assert first["step"] == second["step"]
    for part in ("generator", "discriminator", "generator_ema"):
        assert first[part].keys() == second[part].keys()
        for name, tensor in first[part].items():
            assert torch.equal(tensor, second[part][name]), (part, name)
    for part in ("generator_optimizer", "discriminator_optimizer"):
        assert first[part]["param_groups"] == second[part]["param_groups"]
        for index, slots in first[part]["state"].items():
            for slot, tensor in slots.items():
                assert torch.equal(tensor, second[part]["state"][index][slot]), (part, index, slot)


def assert_same_run(one, other):
    """Assert that state, pictures and metrics agree to the bit."""
    assert_same_state(one, other)
    pictures = sorted(path.name for path in (one / "samples").iterdir())
    assert pictures == sorted(path.name for path in (other / "samples").iterdir())
    for picture in pictures:
        assert (one / "samples" / picture).read_bytes() == (other / "samples" / picture).read_bytes()
    assert numbers(one) == numbers(other)


@torch.no_grad()
def lively(network):
    """Change the generator so that its images vary, as a fresh one makes only grey; it ends in evaluation mode.

    Its running statistics are near those of its own maps, as after a training, but not equal to them.
    """
    random = torch.Generator().manual_seed(0)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    others = [module for module in network.modules() if hasattr(module, "weight") and module not in norms]
    for module in others:
        module.weight.mul_(20)
    labels = None if network.embedding is None else torch.arange(64) % network.embedding.num_embeddings
    maps = network.codes(network.draw(64, random), labels)[:, :, None, None]
    for norm in norms:
        norm.momentum = 1.0
    network.train().layers(maps)
    for norm in norms:
        norm.momentum = 0.1
        norm.running_mean += torch.randn(norm.num_features, generator=random) * norm.running_var.sqrt() / 2
        norm.running_var *= torch.rand(norm.num_features, generator=random) + 0.5
    others[-1].weight /= network.eval().layers[:-1](maps).std()  # before Tanh
    return network


def pixels(path):
    with Image.open(path) as picture:
        return np.array(picture)


if __name__ == "__main__":
    main()
