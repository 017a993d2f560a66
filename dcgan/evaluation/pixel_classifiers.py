"""Independent classifiers of raw pixels: a support vector machine and the nearest neighbour.

The support vector machine learns from real images and classifies generated ones. The nearest neighbour does the
reverse: it learns from generated images and classifies real ones (Radford et al. 2015, table 3).
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
NUMBERS = 2**24  # pixel values of references at once: 64 MiB


def nearest(queries: Tensor, reference: Tensor | ImageSet, count: int = 1) -> Tensor:
    """Return each query's closest references in raw pixels as indices ``(N, count)``, closest first.

    Args:
        queries: uint8 ``(N, C, H, W)``.
        reference: uint8 ``(M, C, H, W)``, or a set of ``M`` images, which is read in parts.
        count: the number of references per query, at most ``M``.
    """
    found = []
    for block in queries.split(BLOCK):
        points = to_float(block).flatten(1)
        best, index = torch.empty(len(block), 0), torch.empty(len(block), 0, dtype=torch.int64)
        at_once = max(NUMBERS // points.shape[1], 1)
        for start in range(0, len(reference), at_once):
            others = to_float(reference[start : start + at_once]).flatten(1)
            # |q - r|^2 without |q|^2, which is the same for every r.
            distances = others.square().sum(1) - 2 * points @ others.T
            closest, where = distances.topk(min(count, len(others)), largest=False)
            best, index = torch.cat([best, closest], 1), torch.cat([index, where + start], 1)
            best, order = best.topk(min(count, best.shape[1]), largest=False)
            index = index.gather(1, order)
        found.append(index)
    return torch.cat(found)


def support_vector_machine(images: Tensor, labels: Tensor) -> "SVC":
    """Train scikit-learn's classifier with its defaults, except for C=10, which is usual for handwritten digits."""
    from sklearn.svm import SVC  # noqa: PLC0415 - takes a second

    return SVC(C=10).fit(_pixels(images), labels.numpy())


def agreement(machine: "SVC", images: Tensor, labels: Tensor) -> float:
    """Return the share of images whose predicted class is their label."""
    return float(machine.score(_pixels(images), labels.numpy()))


def error(reference: Tensor, reference_labels: Tensor, queries: Tensor, query_labels: Tensor) -> float:
    """Return the share of queries whose nearest reference has another label."""
    return float((reference_labels[nearest(queries, reference)[:, 0]] != query_labels).float().mean())


def distance_to_nearest(queries: Tensor, reference: Tensor) -> float:
    """Return the median distance in raw pixels from a query to its closest reference."""
    closest = reference[nearest(queries, reference)[:, 0]]
    pairs = zip(queries.split(BLOCK), closest.split(BLOCK), strict=True)
    distances = [(to_float(one) - to_float(other)).flatten(1).square().sum(1).sqrt() for one, other in pairs]
    return float(torch.cat(distances).median())


def _pixels(images: Tensor) -> npt.NDArray[np.float32]:
    return to_float(images).flatten(1).numpy()
