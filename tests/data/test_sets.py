"""Where sets are found: folders, archives, CelebA in its layouts, IDX files and downloads."""

import errno
import gzip
import hashlib
import os
import pickle
import shutil
import sys
import tarfile
import threading
import types
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from layouts import celeba, face, idx
from PIL import Image
from torchvision.datasets import CIFAR10, MNIST, CelebA

from dcgan import data
from dcgan.choices import OnBadFile
from dcgan.config import DataConfig
from dcgan.errors import UserError


@pytest.fixture
def load(tmp_path):
    """Return a function that loads a set, small and grey, with its own store."""

    def load(name, root=None, **settings):
        settings = {
            "image_size": 8,
            "channels": 1,
            "held_out": 0.0,
            "store": str(tmp_path / "store"),
            **settings,
        }
        return data.load(DataConfig(name=name, root=None if root is None else str(root), **settings))

    return load


def draw(path, value, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)


def values(images):
    return [
        (int(picture.mean()), label) for picture, label in zip(images.store[images.rows], images.labels, strict=True)
    ]


# --- Folders ---


def test_a_flat_folder_has_no_classes(load, tmp_path):
    for number in range(3):
        draw(tmp_path / "in" / "deep" / f"{number}.png", number)
    draw(tmp_path / "in" / "deep" / ".hidden.png", 9)
    (tmp_path / "in" / "readme.txt").write_text("not a picture")
    found = load("folder", tmp_path / "in")
    assert values(found.train) == [(0, 0), (1, 0), (2, 0)]
    assert found.train.classes == []
    assert len(found.held_out) == 0


def test_subdirectories_are_classes_whatever_lies_between(load, tmp_path):
    for number, name in enumerate(["b/x/1.png", "b/2.jpg", "a/3.JPEG", "c/4.bmp", "c/y/z/5.webp"]):
        draw(tmp_path / "in" / "all" / name, 50 * number)
    found = load("folder", tmp_path / "in").train
    assert found.classes == ["a", "b", "c"]
    assert [label for _, label in values(found)] == [0, 1, 1, 2, 2]
    assert [value for value, _ in values(found)] == pytest.approx([100, 50, 0, 150, 200], abs=2)


def test_train_and_test_directories_are_parts_not_classes(load, tmp_path):
    for number, name in enumerate(["train/a/1.png", "train/b/2.png", "val/a/3.png", "test/b/4.png"]):
        draw(tmp_path / "in" / name, number)
    found = load("folder", tmp_path / "in")
    assert found.train.classes == ["a", "b"]
    assert sorted(values(found.train)) == [(0, 0), (1, 1)]
    assert sorted(values(found.held_out)) == [(2, 0), (3, 1)]


def test_a_share_to_hold_out_of_a_set_that_has_a_test_part_is_said_to_have_no_effect(load, tmp_path, caplog):
    for number, name in enumerate(["train/a/1.png", "train/b/2.png", "val/a/3.png", "test/b/4.png"]):
        draw(tmp_path / "in" / name, number)
    load("folder", tmp_path / "in", held_out=DataConfig.held_out)
    assert not caplog.records
    assert len(load("folder", tmp_path / "in", held_out=0.5).held_out) == 2
    assert "data.held_out=0.5 has no effect" in caplog.text
    load("folder", tmp_path / "in", held_out=0)
    assert "data.held_out=0 has no effect" in caplog.text


def test_a_zip_archive_is_as_good_as_the_folder(load, tmp_path):
    for number, name in enumerate(["a/1.png", "b/2.png", "b/3.png"]):
        draw(tmp_path / "in" / "pets" / name, number)
    archive = shutil.make_archive(str(tmp_path / "pets"), "zip", tmp_path / "in")
    with zipfile.ZipFile(archive, "a") as added:
        added.writestr("__MACOSX/pets/a/._1.png", b"not a picture")
    one, other = load("folder", tmp_path / "in"), load("folder", archive)
    assert values(one.train) == values(other.train)
    assert one.train.classes == other.train.classes
    assert one.store != other.store


@pytest.mark.parametrize("archived", [False, True])
def test_pictures_of_formats_that_are_not_read_are_told_of(load, tmp_path, caplog, archived):
    draw(tmp_path / "own" / "a.PNG", 1)
    for name in ("b.HEIC", "below/c.gif", ".d.gif", "notes.txt"):
        (tmp_path / "own" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "own" / name).write_bytes(b"?")
    root = shutil.make_archive(tmp_path / "own", "zip", tmp_path / "own") if archived else tmp_path / "own"
    assert len(load("folder", root).train) == 1
    (message,) = (text for text in caplog.messages if "not read" in text)
    assert "left out" in message
    assert ": 2 of a format" in message
    assert "such as b.HEIC" in message


def test_links_are_followed_and_circles_left_out(load, tmp_path):
    draw(tmp_path / "elsewhere" / "1.png", 1)
    draw(tmp_path / "in" / "a" / "2.png", 2)
    (tmp_path / "in" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "a" / "up").symlink_to(tmp_path / "in")
    assert values(load("folder", tmp_path / "in").train) == [(2, 0), (1, 1)]


def test_two_links_to_one_directory_are_two_classes(load, tmp_path):
    draw(tmp_path / "elsewhere" / "1.png", 1)
    (tmp_path / "in").mkdir()
    for kind in "ab":
        (tmp_path / "in" / kind).symlink_to(tmp_path / "elsewhere")
    found = load("folder", tmp_path / "in").train
    assert found.classes == ["a", "b"]
    assert values(found) == [(1, 0), (1, 1)]


def test_the_parts_of_a_set_are_known_however_they_are_written(load, tmp_path):
    for number, part in enumerate(["Train", "TEST"]):
        draw(tmp_path / "in" / part / "a.png", number)
    found = load("folder", tmp_path / "in")
    assert (values(found.train), values(found.held_out)) == ([(0, 0)], [(1, 0)])
    assert found.train.classes == []


def test_a_picture_beside_the_classes_is_told_of(load, tmp_path, caplog):
    for number, place in enumerate(["cats/1.png", "dogs/2.png", "stray.png"]):
        draw(tmp_path / "in" / place, number)
    assert load("folder", tmp_path / "in").train.classes == []
    (message,) = (text for text in caplog.messages if "no classes" in text)
    assert "1 of the 3 pictures, such as stray.png" in message


def test_a_picture_stays_on_its_side_when_others_are_added(load, tmp_path):
    for number in range(100):
        draw(tmp_path / "in" / f"{number}.png", number)
    before = load("folder", tmp_path / "in", held_out=0.2)
    assert (len(before.train), len(before.held_out)) == (80, 20)
    for number in range(100, 110):
        draw(tmp_path / "in" / f"{number}.png", number)
    after = load("folder", tmp_path / "in", held_out=0.2)
    moved = {value for value, _ in values(before.held_out)} - {value for value, _ in values(after.held_out)}
    assert len(moved) <= 4


def test_small_classes_give_their_share_together_and_each_keeps_a_picture(load, tmp_path):
    for kind in range(15):
        for number in range(4 if kind else 1):
            draw(tmp_path / "in" / f"{kind:02}" / f"{number}.png", 4 * kind + number)
    found = load("folder", tmp_path / "in", held_out=0.1)
    assert len(found.held_out) == 6
    assert len(set(found.held_out.labels)) == 6
    for path in sorted((tmp_path / "in" / "03").iterdir()):  # one of these would be the one that always stays
        content = path.read_bytes()
        path.write_bytes(b"")
        skipping = load("folder", tmp_path / "in", held_out=0.9, on_bad_file=OnBadFile.skip)
        assert 3 in skipping.train.labels
        path.write_bytes(content)
    most = load("folder", tmp_path / "in", held_out=0.9)
    assert sorted(most.train.labels) == list(range(15))
    assert len(most.held_out) == 14 * 3


def test_a_directory_that_cannot_be_read_is_not_passed_over(load, tmp_path, monkeypatch):
    for kind in "ab":
        draw(tmp_path / "in" / kind / "1.png", 0)

    def scandir(path, scan=os.scandir):
        if path.name == unreadable:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)  # because root may read everything
    unreadable = "lost+found"
    (tmp_path / "in" / unreadable).mkdir()
    assert load("folder", tmp_path / "in").train.classes == ["a", "b"]
    unreadable = "b"
    with pytest.raises(UserError, match=r"in has a directory 'b' that cannot be read \(Permission denied\); make it"):
        load("folder", tmp_path / "in")
    unreadable = "in"
    with pytest.raises(UserError, match=r"in cannot be read \(Permission denied\); make it readable"):
        load("folder", tmp_path / "in")


def test_a_class_with_nothing_to_train_on_is_an_error(load, tmp_path):
    for name in ("train/a/1.png", "test/a/2.png", "test/b/3.png"):
        draw(tmp_path / "in" / name, 0)
    with pytest.raises(UserError, match="no picture of the class 'b'"):
        load("folder", tmp_path / "in")


# --- CelebA ---


@pytest.mark.parametrize("layout", ["torchvision", "zip", "kaggle", "kaggle zip"])
def test_celeba_is_recognised_as_people_have_it(load, tmp_path, layout):
    root = tmp_path / "faces"
    celeba(root / ("celeba" if layout == "torchvision" else ""), 30, "kaggle" in layout, layout == "zip")
    if layout == "kaggle zip":
        root = shutil.make_archive(str(tmp_path / "archive"), "zip", root)
    found = load("celeba", root, image_size=32, channels=3, label="Smiling")
    assert (len(found.train), len(found.held_out)) == (24, 6)
    assert found.train.classes == ["not Smiling", "Smiling"]
    smiles = [int(face(index)[1][1]) for index in range(30)]
    assert [*found.train.labels, *found.held_out.labels] == smiles
    # Partition and pictures both follow the order of the names.
    first = np.asarray(face(0)[0].resize((32, 32), Image.Resampling.BOX), float).transpose(2, 0, 1)
    assert np.abs(found.train.store[0] - first).mean() < 12
    assert load("celeba", root, image_size=32, channels=3).train.classes == []


def test_celeba_without_its_partition_holds_a_share_out(load, tmp_path):
    root = celeba(tmp_path / "faces", 20)
    (root / "list_eval_partition.txt").unlink()
    found = load("celeba", root, held_out=0.25)
    assert (len(found.train), len(found.held_out)) == (15, 5)
    with pytest.raises(UserError, match=r"data\.label=Bald is unknown; choose one of Eyeglasses, Smiling"):
        load("celeba", root, label="Bald")
    (root / "list_attr_celeba.txt").unlink()
    with pytest.raises(UserError, match=r"needs list_attr_celeba\.txt or \.csv"):
        load("celeba", root, label="Smiling")


def test_celeba_that_was_half_extracted_is_an_error_or_does_without(load, tmp_path):
    root = celeba(tmp_path / "faces", 20)
    (root / "img_align_celeba" / "000007.jpg").unlink()
    with pytest.raises(UserError, match="has 19 pictures, but list_eval_partition names 1 that are not there"):
        load("celeba", root)
    assert len(load("celeba", root, on_bad_file="skip").train) == 15


# --- Arrays ---


@pytest.mark.parametrize("below", ["", "MNIST/raw"])
@pytest.mark.parametrize("compress", [True, False])
def test_idx_files_are_found_compressed_or_not(load, tmp_path, below, compress):
    idx(tmp_path / "in" / below, compress=compress)
    found = load("mnist", tmp_path / "in", image_size=28)
    assert (len(found.train), len(found.held_out)) == (40, 20)
    assert found.train.labels.tolist() == [*range(10)] * 4
    pixels = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    assert np.array_equal(found.train.store[:40, 0], pixels)


def edit(path, change):
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "t10k-labels-idx1-ubyte.gz").unlink(), "has no t10k-labels-idx1-ubyte"),
        (lambda root: os.truncate(root / "train-images-idx3-ubyte.gz", 9000), "is damaged or cut short"),
        (lambda root: edit(root / "train-images-idx3-ubyte.gz", lambda c: c[:-1]), "holds 31359; download"),
        (
            lambda root: edit(root / "train-images-idx3-ubyte.gz", lambda c: b"<htm" + c[4:]),
            "is not an IDX file",
        ),
        (lambda root: edit(root / "train-labels-idx1-ubyte.gz", lambda c: c[:3]), "is not an IDX file"),
        (
            lambda root: edit(root / "train-labels-idx1-ubyte.gz", lambda c: c[:7] + b"\x27" + c[8:-1]),
            "has 40 pictures and train-labels-idx1-ubyte.gz 39 labels",
        ),
        (
            lambda root: edit(root / "train-labels-idx1-ubyte.gz", lambda c: c[:-1] + b"\x0a"),
            "has the label 10",
        ),
    ],
)
def test_a_damaged_idx_file_is_an_error(load, tmp_path, damage, message):
    root = idx(tmp_path / "in")
    damage(root)
    with pytest.raises(UserError, match=message):
        load("mnist", root)


def test_a_file_that_cannot_be_read_now_is_not_damaged(load, tmp_path, monkeypatch):
    def failing(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    root = idx(tmp_path / "in")
    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(OSError, match="Input/output error"):
        load("mnist", root)


def test_a_part_of_cifar_is_told_of_before_a_download(load, tmp_path):
    (tmp_path / "in" / "cifar-10-batches-py").mkdir(parents=True)
    with pytest.raises(UserError, match=r"cifar-10-batches-py has no batches\.meta, only a part of the set; delete it"):
        load("cifar10", tmp_path / "in")


def test_debians_fashion_mnist_is_found_without_a_download(load, tmp_path, monkeypatch):
    monkeypatch.setattr("dcgan.data.arrays.DEBIAN_FASHION_MNIST", idx(tmp_path / "usr"))
    monkeypatch.chdir(tmp_path)
    found = load("fashion_mnist", download=False)
    assert found.train.classes[9] == "Ankle boot"
    assert not (tmp_path / "data").exists()


# --- Downloads ---


@pytest.fixture
def server(tmp_path):
    """Yield the address of a server for the files in ``tmp_path / "served"``."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    (tmp_path / "served").mkdir()
    running = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "served")))
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/"
    running.shutdown()
    running.server_close()


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_mnist_is_downloaded_once(load, tmp_path, monkeypatch, server):
    served = idx(tmp_path / "served")
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/", server])  # the first mirror is down
    monkeypatch.setattr(MNIST, "resources", [(path.name, md5(path)) for path in sorted(served.iterdir())])
    monkeypatch.chdir(tmp_path)
    first = load("mnist")
    assert (len(first.train), len(first.held_out)) == (40, 20)
    for path in served.iterdir():
        path.unlink()
    assert load("mnist").train.fingerprint == first.train.fingerprint
    assert not list((tmp_path / "data" / "mnist").glob(".download-*"))


def test_a_download_that_fails_leaves_nothing(load, tmp_path, monkeypatch, server):
    served = idx(tmp_path / "served")
    monkeypatch.setattr(MNIST, "mirrors", [server])
    monkeypatch.setattr(MNIST, "resources", [(path.name, "0" * 32) for path in sorted(served.iterdir())])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="data=mnist is not in data/mnist and cannot be downloaded"):
        load("mnist")
    assert not (tmp_path / "data" / "mnist").exists()
    with pytest.raises(UserError, match=r"and data\.download=false"):
        load("mnist", download=False)


def test_cifar_is_downloaded_and_checked(load, tmp_path, monkeypatch, server):
    batches = tmp_path / "cifar-10-batches-py"
    batches.mkdir()
    rng = np.random.default_rng(0)
    for name in ("data_batch_1", "test_batch"):
        content = {"data": rng.integers(0, 256, (20, 3072), dtype=np.uint8), "labels": [*range(10)] * 2}
        (batches / name).write_bytes(pickle.dumps(content))
    (batches / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    archive = tmp_path / "served" / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(batches, batches.name)
    sums = {path.name: md5(path) for path in batches.iterdir()}
    monkeypatch.setattr(CIFAR10, "url", server + archive.name)
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(archive))
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", sums["data_batch_1"]]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    root = tmp_path / "mine"
    found = load("cifar10", root, image_size=32, channels=3)
    assert (len(found.train), len(found.held_out)) == (20, 20)
    assert found.train.classes == list("abcdefghij")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 3072), dtype=np.uint8).reshape(-1, 3, 32, 32)
    assert np.array_equal(found.train.store[:20], pixels)
    with (root / batches.name / "data_batch_1").open("r+b") as file:
        file.write(b"?")
    with pytest.raises(UserError, match="cifar-10-batches-py is damaged: a checksum is wrong; delete it"):
        load("cifar10", root)


@pytest.mark.parametrize("quota", [False, True])
def test_celeba_is_downloaded_or_says_why_not(load, tmp_path, monkeypatch, quota):
    """A stand-in replaces gdown, which torchvision uses to access Google Drive."""
    made = celeba(tmp_path / "made", 20, zipped=True)
    names = [path.name for path in made.iterdir()]
    monkeypatch.setattr(CelebA, "file_list", [(name, md5(made / name), name) for name in names])

    def fetch(id, output, **_):
        if quota:
            with open(output, "w") as file:  # noqa: PTH123
                file.write("<html>Quota exceeded</html>")
        else:
            shutil.copy(made / id, output)

    monkeypatch.setitem(sys.modules, "gdown", types.SimpleNamespace(download=fetch))
    monkeypatch.chdir(tmp_path)
    if quota:
        with pytest.raises(UserError, match=r"cannot be downloaded \(File not found or corrupted.\); set data.root="):
            load("celeba")
        assert not (tmp_path / "data").exists() or not list((tmp_path / "data").iterdir())
    else:
        monkeypatch.setattr(CelebA, "__init__", fetch_only)
        assert len(load("celeba").train) == 16


def fetch_only(self, root, split, download):
    """Replace `CelebA.__init__` without reading the lists, as the generated ones have too few columns."""
    assert download
    self.root = root
    self.download()
