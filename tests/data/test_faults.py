"""Bad input makes the whole command end with one sentence that names the file and the fix, and exit code 1."""

import os
import random
import shutil
import sys
import urllib.request
import zipfile

import pytest
from layouts import celeba, idx
from PIL import Image


def pictures(root, count=4, size=(16, 16)):
    root.mkdir()
    for number in range(count):
        Image.new("RGB", size, (number, 0, 0)).save(root / f"{number}.png")
    return root


def missing(root):
    """Make nothing."""


def empty(root):
    root.mkdir()


def only_other_files(root):
    root.mkdir()
    (root / "notes.txt").write_text("words")


def half_extracted(root):
    celeba(root, 20)
    for number in range(11, 21):
        (root / "img_align_celeba" / f"{number:06d}.jpg").unlink()


def truncated(root):
    pictures(root)
    Image.effect_noise((64, 64), 50).save(root / "cut.jpg")
    os.truncate(root / "cut.jpg", 900)


def zero_bytes(root):
    (pictures(root) / "nothing.png").touch()


def mislabelled(root):
    pictures(root)
    Image.new("RGB", (16, 16)).save(root / "really.tiff")
    (root / "really.tiff").rename(root / "so-called.png")


def text(root):
    (pictures(root) / "words.jpg").write_text("Remember the milk.")


def quota_page(root):
    root.write_text("<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title></html>")


def cut_archive(root):
    pictures(root.parent / "whole")
    shutil.move(shutil.make_archive("whole", "zip", root.parent / "whole"), root)
    os.truncate(root, root.stat().st_size // 2)


def bomb_in_an_archive(root):
    with zipfile.ZipFile(root, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("huge.png", bytes(300 * 10**6))


def cut_idx(root):
    idx(root)
    os.truncate(root / "train-images-idx3-ubyte.gz", 9000)


def lying_idx(root):
    idx(root, compress=False)
    os.truncate(root / "train-images-idx3-ubyte", 30000)


def bomb(root):
    pictures(root)
    content = bytearray((root / "0.png").read_bytes())
    Image.new("L", (4, 4)).save(root / "bomb.bmp")
    content = bytearray((root / "bomb.bmp").read_bytes())
    content[18:26] = (60000).to_bytes(4, "little") * 2
    (root / "bomb.bmp").write_bytes(content)


def small(root):
    Image.new("RGB", (40, 20)).save(pictures(root, size=(32, 32)) / "small.png")


def list_that_is_a_quota_page(root):
    celeba(root, 20)
    (root / "list_eval_partition.txt").write_text("<!DOCTYPE html><html><body>Quota exceeded for this file</body>")


def list_that_is_cut(root):
    celeba(root, 20)
    path = root / "list_attr_celeba.txt"
    os.truncate(path, path.stat().st_size - 3)


def list_that_is_empty(root):
    celeba(root, 20)
    (root / "list_eval_partition.txt").write_text("")


def list_with_no_more_than_its_head(root):
    celeba(root, 20)
    path = root / "list_attr_celeba.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))


def only_gifs(root):
    root.mkdir()
    for number in range(2):
        Image.new("L", (16, 16)).save(root / f"{number}.gif")


def damaged_member(root, way=zipfile.ZIP_DEFLATED):
    pictures(root.parent / "whole", size=(64, 64))
    Image.effect_noise((64, 64), 50).save(root.parent / "whole" / "noise.bmp")
    with zipfile.ZipFile(root, "w", way) as archive:
        for path in sorted((root.parent / "whole").iterdir()):
            archive.write(path, path.name)
        start = archive.getinfo("noise.bmp").header_offset
    content = bytearray(root.read_bytes())
    content[start + 60 : start + 260] = bytes([255] * 200)
    root.write_bytes(content)


def damaged_member_of_lzma(root):
    damaged_member(root, zipfile.ZIP_LZMA)


def list_of_another_encoding(root):
    celeba(root, 20)
    path = root / "list_attr_celeba.txt"
    path.write_bytes(path.read_bytes().replace(b"Smiling", b"Smilin\xe9"))


def damaged_list_in_an_archive(root, way=zipfile.ZIP_STORED):
    celeba(root.parent / "whole", 20, zipped=True)
    (root.parent / "whole" / "img_align_celeba.zip").rename(root)
    with zipfile.ZipFile(root, "a", way) as archive:
        archive.writestr("list_eval_partition.txt", random.Random(0).randbytes(2000))
        start = archive.getinfo("list_eval_partition.txt").header_offset
    content = bytearray(root.read_bytes())
    content[start + 100 : start + 150] = bytes(50)
    root.write_bytes(content)


def damaged_list_of_deflate(root):
    damaged_list_in_an_archive(root, zipfile.ZIP_DEFLATED)


def damaged_list_of_bzip2(root):
    damaged_list_in_an_archive(root, zipfile.ZIP_BZIP2)


def damaged_list_of_lzma(root):
    damaged_list_in_an_archive(root, zipfile.ZIP_LZMA)


def one_picture(root):
    Image.new("RGB", (16, 16)).save(root, format="PNG")


def good(root):
    pictures(root)


FOLDER, SIZE = "data=folder", "data.image_size=16"
ROWS = [
    (missing, [FOLDER], "data.root=in does not exist"),
    (missing, ["data=celeba", "data.download=false"], "data=celeba is not in in, and data.download=false"),
    (empty, [FOLDER], "data.root=in holds no pictures (.png .jpg .jpeg .webp .bmp)"),
    (only_other_files, [FOLDER], "data.root=in holds no pictures"),
    (only_gifs, [FOLDER], "but 2 of a format that is not read, such as 0.gif; convert them"),
    (half_extracted, ["data=celeba"], "names 10 that are not there; extract the archive again"),
    (truncated, [FOLDER, SIZE], "cut.jpg is damaged (image file is truncated"),
    (zero_bytes, [FOLDER, SIZE], "nothing.png is empty; remove or mend them, or set data.on_bad_file=skip"),
    (mislabelled, [FOLDER, SIZE], "so-called.png is another kind of file, not a picture in PNG, JPEG"),
    (text, [FOLDER, SIZE], "words.jpg is text, not a picture"),
    (quota_page, [FOLDER], "data.root=in is a web page (about a quota or an error?), not a zip archive"),
    (
        quota_page,
        ["data=celeba"],
        "data.root=in is a web page (about a quota or an error?), not a zip archive",
    ),
    (cut_archive, [FOLDER], "data.root=in is a zip archive that was cut short; download it again"),
    (one_picture, [FOLDER], "data.root=in is a picture, not a zip archive; set it to one, or to a directory"),
    (damaged_member, [FOLDER, SIZE], "noise.bmp cannot be read from the archive (Error -3"),
    (damaged_member_of_lzma, [FOLDER, SIZE], "noise.bmp cannot be read from the archive (Corrupt input data)"),
    (
        list_of_another_encoding,
        ["data=celeba", "data.label=Smiling"],
        "list_attr_celeba.txt of data.root=in is cut short or",
    ),
    (damaged_list_in_an_archive, ["data=celeba"], "list_eval_partition.txt of data.root=in is cut short or no list"),
    (damaged_list_of_deflate, ["data=celeba"], "list_eval_partition.txt of data.root=in is cut short or no list"),
    (damaged_list_of_bzip2, ["data=celeba"], "list_eval_partition.txt of data.root=in is cut short or no list"),
    (damaged_list_of_lzma, ["data=celeba"], "list_eval_partition.txt of data.root=in is cut short or no list"),
    (
        list_that_is_a_quota_page,
        ["data=celeba"],
        "list_eval_partition.txt of data.root=in is cut short or no list",
    ),
    (list_that_is_empty, ["data=celeba"], "list_eval_partition.txt of data.root=in is cut short or no list"),
    (
        list_that_is_cut,
        ["data=celeba", "data.label=Smiling"],
        "list_attr_celeba.txt of data.root=in is cut short or no list; download it again",
    ),
    (
        list_with_no_more_than_its_head,
        ["data=celeba", "data.label=Smiling"],
        "list_attr_celeba.txt of data.root=in is cut short or no list; download it again",
    ),
    (bomb_in_an_archive, [FOLDER], "huge.png is 300 MB large"),
    (cut_idx, ["data=mnist"], "in/train-images-idx3-ubyte.gz is damaged or cut short"),
    (lying_idx, ["data=mnist"], "says that it holds 40 x 28 x 28 bytes, but holds 29984; download it again"),
    (missing, ["data=fashion_mnist"], "cannot be downloaded"),
    (bomb, [FOLDER, SIZE], "bomb.bmp has more than 89 million pixels, like a decompression bomb"),
    (
        small,
        [FOLDER, "data.image_size=32"],
        "small.png is too small with 20 x 40 pixels for 32 x 32 (height x",
    ),
    (small, [FOLDER, "data.image_size=32"], "set a smaller data.image_size or data.upscale=true"),
    (good, [FOLDER, SIZE, "data.store=in/store"], "data.root=in holds data.store=in/store, whose pictures"),
    (
        good,
        [FOLDER, SIZE, "data.held_out=0.9"],
        "is more than the 1 picture to train on; find more pictures",
    ),
    (good, [FOLDER, SIZE, "batch_size=5"], "batch_size=5 is more than the 4 pictures"),
    (good, [FOLDER, SIZE, "data.store=/dev/null/x"], "data.store=/dev/null/x cannot be written"),
    (good, [FOLDER, "data.label=Smiling"], "data.label=Smiling is for data=celeba"),
    (good, [FOLDER, "data.channels=4"], "data.channels=4 must be 1 for grey or 3 for RGB"),
]


@pytest.mark.parametrize(("make", "settings", "sentence"), ROWS, ids=lambda value: getattr(value, "__name__", ""))
def test_bad_input_gets_a_sentence(here, tmp_path, monkeypatch, make, settings, sentence):
    for name in ("http_proxy", "https_proxy"):  # no network
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    # urllib keeps the proxies from its first request; forget them.
    monkeypatch.setattr(urllib.request, "_opener", None)
    make(tmp_path / "in")
    before = {path for path in (tmp_path / "in").rglob("*") if path.name != ".lock"}
    done = here("train", "experiment=smoke", "data.root=in", *settings)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert sentence in error
    assert not list((tmp_path / "outputs").glob("*"))
    assert not list(tmp_path.glob("data/prepared/*.partial"))
    assert {path for path in (tmp_path / "in").rglob("*") if path.name != ".lock"} == before


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_a_class_may_have_a_name_that_is_no_text(command, tmp_path):
    for kind in (b"caf\xe9", b"tea"):
        root = tmp_path / "in" / os.fsdecode(kind)
        root.mkdir(parents=True)
        for number in range(2):
            Image.new("L", (8, 8), number).save(root / f"{number}.png")
    done = command("prepare.py", FOLDER, "data.root=in", "data.image_size=8", PYTHONIOENCODING="utf-8:strict")
    assert done.returncode == 0, done.stderr
    assert "class 0 caf\\udce9: 2" in done.stdout


def test_bad_files_can_be_skipped_and_are_listed(here, tmp_path):
    truncated(tmp_path / "in")
    (tmp_path / "in" / "words.jpg").write_text("Remember the milk.")
    arguments = ["data=folder", "data.root=in", "data.image_size=16", "data.on_bad_file=skip"]
    done = here("train", "experiment=smoke", "batch_size=2", "name=run", "data.held_out=0", *arguments)
    assert done.returncode == 0, done.stderr
    skipped = (tmp_path / "outputs" / "run" / "skipped.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in skipped] == ["cut.jpg", "words.jpg"]
    assert "is damaged (image file is truncated" in skipped[0]
    assert "2 files were skipped, listed in outputs/run/skipped.txt" in done.stderr
    prepared = here("prepare.py", "data.held_out=0", *arguments)
    assert "4 pictures not held out" in prepared.stdout
    assert "skipped: words.jpg is text" in prepared.stdout
    (examples,) = tmp_path.glob("data/prepared/*/examples.png")
    with Image.open(examples) as picture:
        assert picture.size == (4 * 18 + 2, 18 + 2)  # shows each of the four once
