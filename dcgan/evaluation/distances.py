"""Distances between two sets of feature vectors, float32 or float64 ``(N, D)``; computed in float64."""

import warnings
from typing import Any, cast

import torch
from torch import Tensor, nn

from dcgan.errors import UserError

NEIGHBOURS = 5  # Naeem et al. 2020, section 4
BLOCK = 1024  # rows of a distance matrix that are in memory at once
KERNEL_SUBSET = 1000  # Binkowski et al. 2018, section 4: vectors in a subset, and how many subsets
KERNEL_SUBSETS = 20
# One process of several evaluates. Torchmetrics would wait for the others' features, which never come.
ALONE: dict[str, Any] = {"sync_on_compute": False}


class _Given(nn.Module):
    """Hands torchmetrics the features themselves where it expects a network."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet(real: Tensor, fake: Tensor) -> float:
    """Fréchet distance of two Gaussians with the sets' means and covariances (Heusel et al. 2017, eq. 6).

    ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``. It falls with the size of the sets, also between two sets from
    one source: compare it at one size only.

    Raises:
        UserError: if a feature is not finite.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance  # noqa: PLC0415 - takes a second

    return _through(FrechetInceptionDistance(feature=_Given(real.shape[1]), **ALONE), real, fake)


def kernel(real: Tensor, fake: Tensor) -> float:
    """Squared maximum mean discrepancy under ``(x.y / D + 1)^3`` (Binkowski et al. 2018, equation 4), unbiased.

    So it is about 0 between two sets from one source, and can be below. The mean over seeded subsets.

    Raises:
        UserError: if a feature is not finite.
    """
    from torchmetrics.image.kid import KernelInceptionDistance  # noqa: PLC0415

    size = min(KERNEL_SUBSET, len(real), len(fake))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Metric `Kernel")  # that it keeps all features in memory
        metric = KernelInceptionDistance(
            feature=_Given(real.shape[1]), subsets=KERNEL_SUBSETS, subset_size=size, **ALONE
        )
    with torch.random.fork_rng(devices=[]):  # torchmetrics draws the subsets from the global generator
        torch.manual_seed(0)
        return _through(metric, real, fake)


def density_and_coverage(real: Tensor, fake: Tensor) -> tuple[float, float]:
    """How densely fakes lie among the real, and how much of the real they reach (Naeem et al. 2020, eq. 4, 5).

    Around every real vector is a ball that reaches to its fifth nearest real neighbour. Density is the number of
    balls that a fake lies in, divided by 5, averaged: about 1 for real vectors, more where fakes stay in
    the middle. Coverage is the share of balls with at least one fake in it, about 0.97 for real vectors.
    """
    real, fake = real.double(), fake.double()
    nearest = min(NEIGHBOURS, len(real) - 1)
    inside, reached = 0, 0
    for block in real.split(BLOCK):
        # The vector itself is the first of its neighbours.
        radii = torch.cdist(block, real).kthvalue(nearest + 1, dim=1).values
        within = torch.cdist(block, fake) < radii[:, None]
        inside += int(within.sum())
        reached += int(within.any(1).sum())
    return inside / (nearest * len(fake)), reached / len(real)


def _through(metric: nn.Module, real: Tensor, fake: Tensor) -> float:
    """What a metric of torchmetrics says of two sets of features."""
    if not (real.isfinite().all() and fake.isfinite().all()):
        raise UserError("a feature of a picture is not finite, so that there is no distance; train anew")
    metric.set_dtype(torch.float64)  # type: ignore[operator]
    metric.update(real.double().cpu(), real=True)  # type: ignore[operator]
    metric.update(fake.double().cpu(), real=False)  # type: ignore[operator]
    value = metric.compute()  # type: ignore[operator]
    return float(cast(Tensor, value[0] if isinstance(value, tuple) else value))
