"""Judges from outside, who know pixels only: a support vector machine, and the nearest neighbour.

The machine has learnt from real images, and is asked what the generated ones are. The neighbour has learnt
from generated images, and is asked what real ones are (Radford et al. 2015, table 3).
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dcgan.data import ImageSet
from dcgan.images import to_float

if TYPE_CHECKING:
    from sklearn.svm import SVC

BLOCK = 1024  # queries at once
NUMBERS = 2**24  # in the references at once: 64 MiB


def nearest(queries: Tensor, reference: Tensor | ImageSet, count: int = 1) -> Tensor:
    """For each query the indices of the closest references in raw pixels, ``(N, count)``, the closest first.

    Args:
        queries: uint8 ``(N, C, H, W)``.
        reference: uint8 ``(M, C, H, W)``, or a set of so many, which is read a part at a time.
        count: how many, at most ``M``.
    """
    found = []
    for block in queries.split(BLOCK):
        points = to_float(block).flatten(1)
        best, index = torch.empty(len(block), 0), torch.empty(len(block), 0, dtype=torch.int64)
        at_once = max(NUMBERS // points.shape[1], 1)
        for start in range(0, len(reference), at_once):
            others = to_float(reference[start : start + at_once]).flatten(1)
            # |q - r|^2 without the |q|^2, which is the same for every r.
            distances = others.square().sum(1) - 2 * points @ others.T
            closest, where = distances.topk(min(count, len(others)), largest=False)
            best, index = torch.cat([best, closest], 1), torch.cat([index, where + start], 1)
            best, order = best.topk(min(count, best.shape[1]), largest=False)
            index = index.gather(1, order)
        found.append(index)
    return torch.cat(found)


def support_vector_machine(images: Tensor, labels: Tensor) -> "SVC":
    """Scikit-learn's, with its own defaults but for the usual C=10 of handwritten digits."""
    from sklearn.svm import SVC  # noqa: PLC0415 - takes a second

    return SVC(C=10).fit(_pixels(images), labels.numpy())


def agreement(machine: "SVC", images: Tensor, labels: Tensor) -> float:
    """Share of images that the machine takes for what the labels say."""
    return float(machine.score(_pixels(images), labels.numpy()))


def error(reference: Tensor, reference_labels: Tensor, queries: Tensor, query_labels: Tensor) -> float:
    """Share of queries whose nearest reference has another label."""
    return float((reference_labels[nearest(queries, reference)[:, 0]] != query_labels).float().mean())


def distance_to_nearest(queries: Tensor, reference: Tensor) -> float:
    """Median over the queries of the distance to the closest reference, in raw pixels."""
    closest = reference[nearest(queries, reference)[:, 0]]
    pairs = zip(queries.split(BLOCK), closest.split(BLOCK), strict=True)
    distances = [(to_float(one) - to_float(other)).flatten(1).square().sum(1).sqrt() for one, other in pairs]
    return float(torch.cat(distances).median())


def _pixels(images: Tensor) -> npt.NDArray[np.float32]:
    return to_float(images).flatten(1).numpy()
