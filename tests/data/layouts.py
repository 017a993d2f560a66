"""Generated data sets in the layouts in which people have the real ones.

    python tests/data/layouts.py celeba DIR COUNT

writes COUNT pictures of 178 x 218 in CelebA's own layout: a directory of JPEGs, the attributes and the
partition. The pictures are childlike drawings of faces. The files resemble the real ones in every detail that
a program can trip over.
"""

import csv
import gzip
import random
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ATTRIBUTES = ("Eyeglasses", "Smiling", "Wearing_Hat")


def face(seed, size=(178, 218)):
    """Draw a face; return it, and whether it has glasses, smiles and wears a hat."""
    draw = random.Random(seed)
    width, height = size
    image = Image.new("RGB", size, tuple(draw.randrange(256) for _ in range(3)))
    pen = ImageDraw.Draw(image)
    skin, dark = (draw.randrange(150, 250), draw.randrange(110, 190), draw.randrange(80, 160)), (40, 25, 20)
    traits = [draw.random() < share for share in (0.2, 0.5, 0.1)]
    cx, cy = width / 2 + draw.uniform(-8, 8), height / 2 + draw.uniform(-8, 8)
    rx, ry = width * draw.uniform(0.27, 0.35), height * draw.uniform(0.29, 0.36)
    pen.ellipse((cx - rx, cy - ry, cx + rx, cy + ry), fill=skin)
    for side in (-1, 1):
        x, y = cx + side * rx * 0.42, cy - ry * 0.2
        pen.ellipse((x - 9, y - 6, x + 9, y + 6), fill="white")
        pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=dark)
        if traits[0]:
            pen.ellipse((x - 17, y - 14, x + 17, y + 14), outline=dark, width=3)
    mouth = (cx - rx * 0.45, cy + ry * 0.25, cx + rx * 0.45, cy + ry * 0.65)
    pen.arc(mouth, *((20, 160) if traits[1] else (200, 340)), fill=(160, 30, 40), width=5)
    if traits[2]:
        pen.rectangle((cx - rx, cy - ry * 1.2, cx + rx, cy - ry * 0.6), fill=dark)
    noise = np.random.default_rng(seed).normal(0, 6, (height, width, 1))
    pixels = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels), traits


def celeba(root, count, kaggle=False, zipped=False):
    """Write CelebA's files as its authors do (``.txt``), or as Kaggle repacks them (``.csv``, nested directory)."""
    root = Path(root)
    images = root / "img_align_celeba"
    if kaggle:
        images = images / "img_align_celeba"
    images.mkdir(parents=True)
    rows = []
    for index in range(count):
        image, traits = face(index)
        name = f"{index + 1:06d}.jpg"
        image.save(images / name, quality=92)
        rows.append((name, [1 if trait else -1 for trait in traits]))
    # As in the real set, the partitions follow each other: training 80 %, validation and test 10 % each.
    parts = [(name, min(2, max(0, index * 10 // count - 7))) for index, (name, _) in enumerate(rows)]
    if kaggle:
        write_csv(root / "list_eval_partition.csv", ["image_id", "partition"], parts)
        write_csv(root / "list_attr_celeba.csv", ["image_id", *ATTRIBUTES], [(n, *v) for n, v in rows])
    else:
        (root / "list_eval_partition.txt").write_text("".join(f"{name} {part}\n" for name, part in parts))
        lines = [str(count), " ".join(ATTRIBUTES) + " "]
        lines += [name + "".join(f" {value:2d}" for value in values) for name, values in rows]
        (root / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    if zipped:
        with zipfile.ZipFile(root / "img_align_celeba.zip", "w") as archive:
            archive.mkdir("img_align_celeba")
            for path in sorted(images.iterdir()):
                archive.write(path, f"img_align_celeba/{path.name}")
                path.unlink()
        images.rmdir()
    return root


def write_csv(path, header, rows):
    """Write a CSV file."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def idx(root, train=40, test=20, size=28, compress=True):
    """Write MNIST's four IDX files, with random pictures and the labels 0 to 9 in turn."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        pixels = rng.integers(0, 256, (count, size, size), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        files = {
            f"{part}-images-idx3-ubyte": struct.pack(">4B3I", 0, 0, 8, 3, *pixels.shape) + pixels.tobytes(),
            f"{part}-labels-idx1-ubyte": struct.pack(">4BI", 0, 0, 8, 1, count) + labels.tobytes(),
        }
        for name, content in files.items():
            if compress:
                (root / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (root / name).write_bytes(content)
    return root


if __name__ == "__main__":
    _, layout, directory, number = sys.argv
    assert layout == "celeba"
    celeba(directory, int(number))
