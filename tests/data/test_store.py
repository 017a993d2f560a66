"""A store is made once, completely or not at all, and never mistaken for another. As a program, see `main`."""

import errno
import io
import json
import os
import pickle
import runpy
import signal
import threading
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcgan import data
from dcgan.config import DataConfig
from dcgan.data import files, store
from dcgan.errors import UserError


@pytest.fixture
def pictures(tmp_path):
    """Make a directory of 300 pictures of 12 x 12, which fill three blocks."""
    root = tmp_path / "in"
    root.mkdir()
    for number in range(300):
        Image.new("L", (12, 12), number % 256).save(root / f"{number:03d}.png")
    return root


def config(root, **settings):
    settings = {
        "image_size": 8,
        "channels": 1,
        "held_out": 0.0,
        "store": str(root.parent / "store"),
        **settings,
    }
    return DataConfig(name="folder", root=str(root), **settings)


def test_a_store_is_made_once(pictures, monkeypatch):
    first = data.load(config(pictures))
    assert first.train.store.shape == (300, 1, 8, 8)
    assert [int(image.mean()) for image in first.train.store] == [n % 256 for n in range(300)]
    monkeypatch.setattr(store, "_make", None)  # the store must not be made again
    again = data.load(config(pictures))
    assert again.train.fingerprint == first.train.fingerprint
    assert {path.name for path in first.store.iterdir()} == {"images.npy", "store.json"}


def test_its_file_is_numpys_and_mapped_not_read(pictures):
    found = data.load(config(pictures))
    mapped = np.load(found.store / "images.npy", mmap_mode="r")
    assert np.array_equal(mapped, found.train.store)
    assert isinstance(found.train.store.base, np.memmap)


def change_content(root):
    path = root / "007.png"
    times = path.stat()
    before = path.read_bytes()
    Image.new("L", (12, 12), 6).save(path)
    assert len(path.read_bytes()) == len(before)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # size and mtime stay the same


@pytest.mark.parametrize(
    ("change", "settings"),
    [
        (lambda root: None, {"image_size": 9}),
        (lambda root: None, {"channels": 3}),
        (lambda root: None, {"fit": "pad"}),
        (lambda root: (root / "007.png").unlink(), {}),
        (lambda root: (root / "007.png").rename(root / "7.png"), {}),
        (lambda root: Image.new("L", (12, 12)).save(root / "new.png"), {}),
        (change_content, {}),
    ],
)
def test_another_source_or_setting_is_another_store(pictures, change, settings):
    before = data.load(config(pictures))
    change(pictures)
    after = data.load(config(pictures, **settings))
    assert after.store != before.store
    assert before.store.exists()


def test_processes_prepare_the_same_as_one(pictures, monkeypatch):
    alone = data.load(config(pictures))
    monkeypatch.setattr(store, "WORTH_WORKERS", -1.0)
    parallel = data.load(config(pictures, store=str(pictures.parent / "other")))
    assert np.array_equal(alone.train.store, parallel.train.store)
    assert alone.train.fingerprint == parallel.train.fingerprint


def test_an_archive_goes_to_processes_that_are_not_forked(pictures, tmp_path):
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in pictures.iterdir():
            archive.write(path, path.name)
    here = files.Archive(tmp_path / "in.zip")
    there = pickle.loads(pickle.dumps(here))
    assert np.array_equal(there.open(7), here.open(7))
    assert np.array_equal(here.open(8), there.open(8))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells which files are open")
def test_nothing_of_a_store_is_open_when_it_is_moved_to_its_place(pictures, monkeypatch):
    """Otherwise Windows would not move it."""
    replace, moved = Path.replace, []

    def watched(path, target):
        opened = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        moved.append([name for name in opened if name.startswith(str(path.resolve()))])
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", watched)
    data.load(config(pictures))
    assert moved == [[]]


@pytest.mark.parametrize("cut", [False, True])
def test_a_preparation_that_stopped_goes_on_where_it_was(pictures, monkeypatch, cut):
    whole = data.load(config(pictures, store=str(pictures.parent / "other")))

    def stop_after(count):
        def stopping(blocks):
            for number in range(count):
                yield blocks[number]
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(store, "_in_parallel", stopping)
            patched.setattr(store.time, "perf_counter", iter(range(0, 10**6, 10)).__next__)  # every block is written
            with pytest.raises(KeyboardInterrupt):
                data.load(config(pictures))

    stop_after(2)
    (partial,) = (pictures.parent / "store").glob("*.partial")
    journal = partial / "progress.jsonl"
    assert len(journal.read_text().splitlines()) == 2
    if cut:  # as by a power failure: the line of the second block is incomplete
        os.truncate(journal, journal.stat().st_size - 3)
        stop_after(1)
    begun = []
    made = store.Blocks.__getitem__
    monkeypatch.setattr(store.Blocks, "__getitem__", lambda b, n: begun.append(b.start + 128 * n) or made(b, n))
    resumed = data.load(config(pictures))
    assert begun == [256]
    assert np.array_equal(resumed.train.store, whole.train.store)
    assert resumed.train.fingerprint == whole.train.fingerprint
    assert not partial.exists()


def test_two_at_once_prepare_once(pictures, monkeypatch):
    made, told = [], []
    make, waits = store._make, threading.Event()

    def slow(source, config, path):
        made.append(path)
        assert waits.wait(30)
        make(source, config, path)

    def listen(message, *_):
        told.append(message)
        if message.startswith("another process is preparing"):
            waits.set()

    monkeypatch.setattr(store, "_make", slow)
    monkeypatch.setattr(store.log, "info", listen)
    found = []
    threads = [threading.Thread(target=lambda: found.append(data.load(config(pictures)))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len([message for message in told if message.startswith("prepared")]) == 1
    assert found[0].train.fingerprint == found[1].train.fingerprint


def test_bad_files_are_an_error_or_skipped_and_prepared_but_once(pictures, monkeypatch):
    (pictures / "100.png").write_bytes(b"")
    (pictures / "200.png").write_text("words")
    message = r"of the pictures in .* 2 cannot be used: 100.png is empty; 200.png is text, .*on_bad_file=skip"
    with pytest.raises(UserError, match=message):
        data.load(config(pictures))
    monkeypatch.setattr(store, "_make", None)
    found = data.load(config(pictures, on_bad_file="skip"))
    assert len(found.train) == 298
    assert found.skipped == {
        "100.png": "is empty",
        "200.png": "is text, not a picture in PNG, JPEG, WEBP, BMP",
    }
    assert 100 not in found.train.rows


def test_a_damaged_store_is_named(pictures):
    found = data.load(config(pictures))
    os.truncate(found.store / "images.npy", 1000)
    with pytest.raises(UserError, match=r"store.* are damaged .*; delete that directory"):
        data.load(config(pictures))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "images.npy").write_bytes(b""),
        lambda path: (path / "store.json").write_text("[]"),
        lambda path: (path / "store.json").write_text('{"bad": [], "digest": 5}'),
        lambda path: np.save(path / "images.npy", np.zeros((300, 8, 8), np.uint8)),
    ],
    ids=["empty", "a list", "of other types", "another shape"],
)
def test_damage_of_any_kind_is_named(pictures, damage):
    damage(data.load(config(pictures)).store)
    with pytest.raises(UserError, match=r"store.* are damaged .*; delete that directory"):
        data.load(config(pictures))


@pytest.mark.parametrize("reason", ["mended", "still bad"])
def test_an_archive_downloaded_again_is_prepared_again(tmp_path, monkeypatch, reason):
    path = tmp_path / "in.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(3):
            file = io.BytesIO()
            Image.new("L", (12, 12), number).save(file, "PNG")
            archive.writestr(f"{number}.png", file.getvalue())
    sound = path.read_bytes()
    place = sound.index(b"IDAT") + 6
    path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
    with pytest.raises(UserError, match=r"0.png cannot be read from the archive \(Bad CRC"):
        data.load(config(path))
    if reason == "mended":
        path.write_bytes(sound)
        assert len(data.load(config(path)).train) == 3
    else:
        monkeypatch.setattr(store, "_make", None)  # it is not made again each time
        with pytest.raises(UserError, match="Bad CRC"):
            data.load(config(path))


def test_a_store_that_may_only_be_read_is_used_as_it_is(pictures, monkeypatch):
    (pictures / "100.png").unlink()
    (pictures / "100.png").write_bytes(b"")
    settings = config(pictures, on_bad_file="skip")
    found = data.load(settings)
    about = json.loads((found.store / "store.json").read_text())
    about["bad"] = {"5": "cannot be read (Stale file handle)"}
    (found.store / "store.json").write_text(json.dumps(about))
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        assert data.load(settings).skipped == {"005.png": "cannot be read (Stale file handle)"}
    assert data.load(settings).skipped == {"100.png": "is empty"}  # prepared again


@pytest.mark.parametrize(
    "error", [PermissionError(errno.EACCES, "Permission denied"), OSError(errno.ENOMEM, "Cannot allocate memory")]
)
def test_a_store_that_cannot_be_read_now_is_not_damaged(pictures, monkeypatch, error):
    data.load(config(pictures))

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(np, "load", refuse)
    with pytest.raises(OSError, match=error.strerror):
        data.load(config(pictures))


@pytest.mark.parametrize(("where", "name"), [(Image, "open"), (Image.Image, "convert")])
def test_short_memory_is_not_the_fault_of_a_picture(pictures, monkeypatch, where, name):
    def short(*_, **__):
        raise MemoryError

    monkeypatch.setattr(where, name, short)
    with pytest.raises(UserError, match="too little memory to prepare the pictures"):
        data.load(config(pictures))
    monkeypatch.undo()
    assert len(data.load(config(pictures)).train) == 300


@pytest.mark.parametrize("damage", ["line", "number", "no pixels", "few pixels"])
def test_a_damaged_preparation_begins_anew(pictures, monkeypatch, damage):
    def stop(self):
        self.write()
        raise KeyboardInterrupt

    monkeypatch.setattr(store._Partial, "finish", stop)
    with pytest.raises(KeyboardInterrupt):
        data.load(config(pictures))
    monkeypatch.undo()
    (partial,) = (pictures.parent / "store").glob("*.partial")
    journal, pixels = partial / "progress.jsonl", partial / "images.npy"
    lines = journal.read_text().splitlines()
    assert len(lines) == 3
    if damage == "line":
        journal.write_text("\n".join([lines[0], lines[1][:-9], lines[2], ""]))
    elif damage == "number":
        journal.write_text("\n".join([lines[0], "5", lines[2], ""]))
    elif damage == "no pixels":
        pixels.unlink()
    else:
        os.truncate(pixels, 2000)
    found = data.load(config(pictures))
    assert [int(image.mean()) for image in found.train.store] == [n % 256 for n in range(300)]


def test_no_room_is_said_before_the_work(pictures, monkeypatch):
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r"300 pictures take 0.0 GB prepared, and data.store=.* has 0.0 GB free"):
        data.load(config(pictures))
    assert not list((pictures.parent / "store").glob("*.partial"))


def test_a_killed_command_goes_on_and_two_commands_prepare_once(command, pictures, tmp_path):
    arguments = ["data=folder", "data.root=in", "data.image_size=8", "data.channels=1", "experiment=smoke"]
    killed = command(__file__, *arguments)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (partial,) = tmp_path.glob("data/prepared/*.partial")
    assert len((partial / "progress.jsonl").read_text().splitlines()) == 1
    trainings = [command("train", *arguments, f"name={name}", wait=False) for name in "ab"]
    outputs = [training.communicate(timeout=240)[1] for training in trainings]
    assert [training.returncode for training in trainings] == [0, 0], outputs
    both = "".join(outputs)
    assert both.count("preparing goes on at picture 128 of 300") == 1
    assert both.count("prepared ") == 1
    (ready,) = (path for path in (tmp_path / "data" / "prepared").iterdir() if path.is_dir())
    means = np.load(ready / "images.npy", mmap_mode="r").mean((1, 2, 3))
    assert means.tolist() == [number % 256 for number in range(300)]
    assert json.loads((ready / "store.json").read_text())["bad"] == {}


def main():
    """Run ``scripts/prepare.py`` and kill it after the first block, from inside: a fast machine outruns a signal."""
    append = store._Partial.append

    def append_and_die(partial, block):
        append(partial, block)
        partial.write()
        os.kill(os.getpid(), signal.SIGKILL)

    store._Partial.append = append_and_die
    runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "prepare.py"), run_name="__main__")


if __name__ == "__main__":
    main()
