"""A checkpoint is either complete or absent, and an unsound one is not loaded."""

import errno
import pickle
from pathlib import Path

import pytest
import torch

from dcgan import checkpoint
from dcgan.atomic import replacing
from dcgan.errors import UserError

STATE = {"weights": torch.arange(1000.0), "config": {"seed": 1}}


def test_it_comes_back_as_it_was_and_old_ones_go(tmp_path):
    for step in (5, 10, 15, 20):
        checkpoint.save(tmp_path, step, STATE, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000015.pt", "step-00000020.pt"]
    state = checkpoint.newest(tmp_path)
    assert state["step"] == 20
    assert torch.equal(state["weights"], STATE["weights"])
    assert state["config"] == {"seed": 1}
    assert checkpoint.newest(tmp_path / "none") is None


def test_what_a_kill_has_left_half_written_goes_with_the_next(tmp_path):
    (tmp_path / ".step-00000001.pt").write_bytes(b"half")
    checkpoint.save(tmp_path, 2, STATE, keep=2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002.pt"]


def full(state, file):
    file.write(b"half")
    raise OSError(28, "No space left on device")


def test_a_save_that_fails_leaves_the_earlier_one_and_no_rubbish(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, STATE, keep=2)
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, 2, STATE, keep=2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.pt"]


def test_a_write_that_fails_half_way_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "best.pt"
    checkpoint.write(path, STATE)
    before = path.read_bytes()
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.write(path, STATE | {"weights": torch.zeros(9)})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def flip_a_bit(data):
    middle = data.index(torch.arange(1000.0).numpy().tobytes()) + 2000
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGE = {
    "empty": lambda data: b"",
    "cut short": lambda data: data[: len(data) // 2],
    "zeroed": lambda data: bytes(len(data)),
    "a web page": lambda data: b"<html>quota exceeded</html>",
    "one bit flipped": flip_a_bit,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_one_is_passed_over(tmp_path, damage, caplog):
    checkpoint.save(tmp_path, 1, STATE, keep=3)
    bad = checkpoint.save(tmp_path, 2, STATE, keep=3)
    bad.write_bytes(damage(bad.read_bytes()))
    with pytest.raises(UserError, match=f"{bad.name} is damaged or no checkpoint"):
        checkpoint.load(bad)
    assert checkpoint.newest(tmp_path)["step"] == 1
    (tmp_path / "step-00000001.pt").write_bytes(b"")
    with pytest.raises(UserError, match="none of the 2 checkpoints"):
        checkpoint.newest(tmp_path)


def test_a_damaged_directory_of_the_archive_is_damage_too(tmp_path):
    checkpoint.save(tmp_path, 1, STATE, keep=3)
    bad = checkpoint.save(tmp_path, 2, STATE, keep=3)
    data = bytearray(bad.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 9] |= 0x08  # the name is UTF-8, which 0xF9 is not
    data[entry + 46] = 0xF9
    bad.write_bytes(data)
    assert checkpoint.newest(tmp_path)["step"] == 1


def test_one_that_cannot_be_read_is_not_passed_over_as_it_may_be_sound(tmp_path, monkeypatch):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, STATE, keep=3)
    read = Path.read_bytes

    def refusing(path):
        if path.name == "step-00000002.pt":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refusing)
    with pytest.raises(PermissionError):
        checkpoint.newest(tmp_path)


def test_lack_of_memory_is_no_damage(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, STATE, keep=2)

    def short(*_, **__):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(torch, "load", short)
    with pytest.raises(RuntimeError, match="allocate"):
        checkpoint.newest(tmp_path)


def test_damaged_ones_of_later_steps_do_not_displace_a_new_one(tmp_path):
    checkpoint.save(tmp_path, 20, STATE, keep=2)
    for step in (28, 29, 30):
        (tmp_path / f"step-{step:08d}.pt").write_bytes(b"x")
    for step in (22, 23):
        checkpoint.save(tmp_path, step, STATE, keep=2)
    assert checkpoint.newest(tmp_path)["step"] == 23
    assert not (tmp_path / "step-00000020.pt").exists()


def test_copies_under_names_of_their_own_are_left_alone(tmp_path):
    checkpoint.save(tmp_path, 10, STATE, keep=2)
    copies = [tmp_path / "step-keep.pt", tmp_path / "step-00000010-good.pt"]
    for copy in copies:
        copy.write_bytes(b"x")
    for step in (20, 30, 40):
        checkpoint.save(tmp_path, step, STATE, keep=2)
    names = [path.name for path in copies] + ["step-00000030.pt", "step-00000040.pt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert checkpoint.newest(tmp_path)["step"] == 40


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def test_a_malicious_one_runs_nothing(tmp_path):
    marker = tmp_path / "owned"
    path = checkpoint.save(tmp_path, 1, {"weights": Malicious(marker)}, keep=2)
    with pytest.raises(UserError, match="damaged or no checkpoint"):
        checkpoint.load(path)
    path.write_bytes(pickle.dumps(Malicious(marker)))
    with pytest.raises(UserError):
        checkpoint.load(path)
    assert not marker.exists()


def test_another_format_version_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 99)
    path = checkpoint.save(tmp_path, 1, STATE, keep=2)
    monkeypatch.undo()
    with pytest.raises(UserError, match="has checkpoint format 99, this program reads 1"):
        checkpoint.load(path)


def test_a_full_disk_is_told_of_the_file_that_was_to_be(tmp_path):
    with pytest.raises(OSError, match="No space left") as caught, replacing(tmp_path / "x.png"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "x.png")
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "x.png"):
        (tmp_path / "source").read_text()
    assert caught.value.filename == str(tmp_path / "source")
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError), replacing(tmp_path / "file" / "x.png"):
        pytest.fail("there is no such directory")
