"""Fixtures that run the real commands as a user does; the tests examine what these leave behind."""

import importlib
import logging
import os
import runpy
import subprocess
import sys

import pytest

pytest.register_assert_rewrite("runs")
# The commands set this, too, and their results are compared with those of this process to the bit.
os.environ.setdefault("MKL_CBWR", "AUTO")
# Several test processes share the processor; torch reads this when it is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from runs import ROOT, commands  # noqa: E402 - must follow the settings above


@pytest.fixture
def command(tmp_path):
    """Return `runs.commands` in a directory of its own."""
    with commands(tmp_path) as start:
        yield start


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """Like `command`, but run the program in this process, which saves the seconds of importing torch."""
    monkeypatch.chdir(tmp_path)
    loggers = [logging.getLogger(name) for name in (None, "dcgan", "hydra")]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]

    def run(program, *arguments):
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # the program sets it; monkeypatch restores it
        capsys.readouterr()
        code = 0
        try:
            if program.endswith(".py"):
                runpy.run_path(str(ROOT / "scripts" / program), run_name="__main__")
            else:
                importlib.import_module(f"dcgan.{program}").main()
        except SystemExit as ended:
            code = ended.code
        return subprocess.CompletedProcess(sys.argv, code or 0, *capsys.readouterr())

    yield run
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        for new in set(logger.handlers) - set(handlers):
            new.close()
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory):
    """The directory of a run, long enough that different seeds give different images; tests must not change it."""
    directory = tmp_path_factory.mktemp("trained")
    settings = ["name=tiny", "steps=80", "device=cpu", f"data.store={directory / 'store'}"]
    rates = ["generator_lr=0.01", "discriminator_lr=0.01", "decay_from=1", "ema_decay=0.5"]
    with commands(directory) as command:
        done = command("train", "experiment=smoke", *settings, *(f"optim.{rate}" for rate in rates))
    assert done.returncode == 0, done.stderr
    return directory / "outputs" / "tiny"
