"""What a run was made with: versions, commit, processors."""

import os
import subprocess
import time

import pytest
import torch

import dcgan
from dcgan.provenance import changes, provenance

CPU = torch.device("cpu")


def git(root, *arguments):
    identity = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    around = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(root), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=around).stdout.strip()


def test_versions_and_processors_are_told():
    made_with = provenance(CPU)
    assert made_with["dcgan"].startswith(dcgan.__version__)
    assert made_with["torch"] == torch.__version__
    assert made_with["device"] == f"cpu {torch.backends.cpu.get_cpu_capability()}"
    assert made_with["threads"] == str(torch.get_num_threads())
    assert made_with["processes"] == "1"


def test_the_commit_is_that_of_the_source_and_of_nothing_around_it(tmp_path, monkeypatch):
    git(tmp_path, "init")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "first")
    git(tmp_path, "tag", "-a", "v9", "-m", "a tag is no other code")
    monkeypatch.setattr("dcgan.provenance.ROOT", tmp_path)
    clean = provenance(CPU)["dcgan"]
    assert clean == f"{dcgan.__version__} {git(tmp_path, 'rev-parse', '--short=12', 'HEAD')}"
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))  # as in a hook of another repository
    assert provenance(CPU)["dcgan"] == clean
    (tmp_path / "file").write_text("two")
    assert provenance(CPU)["dcgan"] == f"{clean}-dirty"
    (tmp_path / "site-packages").mkdir()
    monkeypatch.setattr("dcgan.provenance.ROOT", tmp_path / "site-packages")
    assert provenance(CPU)["dcgan"] == dcgan.__version__


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr("dcgan.provenance.ROOT", tmp_path)
    assert provenance(CPU)["dcgan"] == dcgan.__version__  # no repository, only its directory
    monkeypatch.setenv("PATH", "")
    assert provenance(CPU)["dcgan"] == dcgan.__version__


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for git is a shell script")
def test_git_is_not_waited_for(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setattr("dcgan.provenance.ROOT", tmp_path)
    monkeypatch.setattr("dcgan.provenance.TIMEOUT", 0.2)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    begun = time.monotonic()
    assert provenance(CPU)["dcgan"] == dcgan.__version__
    assert time.monotonic() - begun < 30


def test_a_gpu_and_several_processes_have_their_names(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
    monkeypatch.setattr("dcgan.parallel.world_size", lambda: 3)
    made_with = provenance(torch.device("cuda", 1))
    assert (made_with["device"], made_with["processes"]) == ("GPU of cuda:1", "3")


def test_changes_name_what_differs_and_pass_over_what_was_not_recorded():
    assert changes({"torch": "2.11", "threads": "2"}, {"torch": "2.15", "threads": "2", "device": "cpu"}) == [
        "torch 2.11, now 2.15"
    ]
    assert changes({}, provenance(CPU)) == []
