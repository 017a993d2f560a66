"""The nearest-neighbour test: can generated images stand in for the real ones (Radford et al. 2015, table 3)?"""

import torch
from torch import Tensor

from dcgan.images import to_float

BLOCK = 1024  # queries at once
REFERENCES = 16384  # rows of the reference at once: 64 MiB of distances


def nearest(queries: Tensor, reference: Tensor) -> Tensor:
    """For each query the index of the closest reference, in raw pixels, ``(N,)`` int64.

    Args:
        queries: uint8 ``(N, C, H, W)``.
        reference: uint8 ``(M, C, H, W)``.
    """
    found = []
    for block in queries.split(BLOCK):
        points = to_float(block).flatten(1)
        best = torch.full((len(block),), torch.inf)
        index = torch.zeros(len(block), dtype=torch.int64)
        for start in range(0, len(reference), REFERENCES):
            others = to_float(reference[start : start + REFERENCES]).flatten(1)
            # |q - r|^2 without the |q|^2, which is the same for every r.
            distances = others.square().sum(1) - 2 * points @ others.T
            closest, where = distances.min(1)
            index = torch.where(closest < best, where + start, index)
            best = torch.minimum(best, closest)
        found.append(index)
    return torch.cat(found)


def error(reference: Tensor, reference_labels: Tensor, queries: Tensor, query_labels: Tensor) -> float:
    """Share of queries whose nearest reference has another label."""
    return float((reference_labels[nearest(queries, reference)] != query_labels).float().mean())
