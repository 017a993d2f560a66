"""What a run was made with: versions, commit, processors."""

import subprocess

import torch

import dcgan
from dcgan.provenance import changes, provenance

CPU = torch.device("cpu")


def git(root, *arguments):
    identity = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


def test_versions_and_processors_are_told():
    made_with = provenance(CPU)
    assert made_with["dcgan"].startswith(dcgan.__version__)
    assert made_with["torch"] == torch.__version__
    assert made_with["device"] == "cpu"
    assert made_with["threads"] == str(torch.get_num_threads())
    assert made_with["processes"] == "1"


def test_the_commit_is_that_of_the_source_and_of_nothing_around_it(tmp_path, monkeypatch):
    git(tmp_path, "init")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "first")
    monkeypatch.setattr("dcgan.provenance.ROOT", tmp_path)
    clean = provenance(CPU)["dcgan"]
    assert clean.startswith(f"{dcgan.__version__} ")
    assert not clean.endswith("-dirty")
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


def test_changes_name_what_differs_and_pass_over_what_was_not_recorded():
    assert changes({"torch": "2.11", "threads": "2"}, {"torch": "2.15", "threads": "2", "device": "cpu"}) == [
        "torch 2.11, now 2.15"
    ]
    assert changes({}, provenance(CPU)) == []
