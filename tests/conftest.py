"""The real command in a subprocess, as a user runs it: what it leaves behind is what is tested."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def command(tmp_path):
    """``command("train", "steps=3")`` runs ``python -m dcgan.train steps=3`` in a directory of its own.

    With ``wait=False`` it gives the running process. A name that ends in ``.py`` is a script. More than one of
    ``processes`` are those of torchrun.
    """
    started = []

    def start(program, *arguments, wait=True, processes=1):
        script = ["scripts/" + program] if program.endswith(".py") else ["-m", f"dcgan.{program}"]
        if program.endswith(".py"):
            script = [str(ROOT / script[0])]
        if processes > 1:
            script = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *script]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error::UserWarning"}
        environment.pop("PYTEST_CURRENT_TEST", None)
        process = subprocess.Popen(
            [sys.executable, *script, *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        if not wait:
            return process
        stdout, stderr = process.communicate(timeout=240)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            stream.close()


@pytest.fixture(autouse=True)
def both_ways_in_which_gemm_writes(request, monkeypatch):
    """Few output channels, as tests have, take one of the two; tests of ``algorithm="gemm"`` take the other.

    Those of ``"auto"``, which is the same computation, stay with the first.
    """
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    if parameters.get("algorithm") == "gemm":
        monkeypatch.setattr("dcgan.conv_transpose.algorithms.SHORT", 0)
