"""Distances between two sets of feature vectors, float32 or float64 ``(N, D)``, computed in float64."""

import torch
from torch import Tensor

from dcgan.errors import UserError

NEIGHBOURS = 5  # Naeem et al. 2020, section 4
BLOCK = 1024  # rows of a distance matrix held in memory at once
KERNEL_SUBSET = 1000  # Binkowski et al. 2018, section 4: vectors per subset, and number of subsets
KERNEL_SUBSETS = 20


def frechet(real: Tensor, fake: Tensor) -> float:
    """Return the Fréchet distance of Gaussians with the sets' means and covariances (Heusel et al. 2017, eq. 6).

    ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``. The distance falls as the sets grow, even between two sets from
    one source. Compare distances only at one set size.

    Raises:
        UserError: if a feature is not finite.
    """
    real, fake = _finite(real), _finite(fake)
    one, two = (torch.atleast_2d(features.T.cov()) for features in (real, fake))
    root = torch.linalg.eigvals(one @ two).sqrt().real.sum()  # the trace of (C1 C2)^(1/2)
    return float((real.mean(0) - fake.mean(0)).square().sum() + one.trace() + two.trace() - 2 * root)


def kernel(real: Tensor, fake: Tensor) -> float:
    """Return the squared maximum mean discrepancy for ``(x.y / D + 1)^3`` (Binkowski et al. 2018, equation 4).

    This mean over seeded subsets is unbiased: for two sets from one source it is about 0, and may be negative.

    Raises:
        UserError: if a feature is not finite.
    """
    real, fake = _finite(real), _finite(fake)
    size, random = min(KERNEL_SUBSET, len(real), len(fake)), torch.Generator().manual_seed(0)
    estimates = []
    for _ in range(KERNEL_SUBSETS):
        one, two = (features[torch.randperm(len(features), generator=random)[:size]] for features in (real, fake))
        within = sum(k.sum() - k.trace() for k in (_cubic(one, one), _cubic(two, two)))
        estimates.append(within / (size * (size - 1)) - 2 * _cubic(one, two).mean())
    return float(torch.stack(estimates).mean())


def density_and_coverage(real: Tensor, fake: Tensor) -> tuple[float, float]:
    """Return how densely fakes lie among real vectors, and how many of those they reach (Naeem et al. 2020, eq. 4, 5).

    Each real vector has a ball that reaches to its fifth nearest real neighbour. Density is the mean number of balls
    that a fake lies in, divided by 5: about 1 for real vectors, more if fakes stay in the middle. Coverage is the
    share of balls that contain at least one fake: about 0.97 for real vectors.
    """
    real, fake = real.double(), fake.double()
    nearest = min(NEIGHBOURS, len(real) - 1)
    inside, reached = 0, 0
    for block in real.split(BLOCK):
        # + 1, because each vector is its own nearest neighbour.
        radii = torch.cdist(block, real).kthvalue(nearest + 1, dim=1).values
        within = torch.cdist(block, fake) < radii[:, None]
        inside += int(within.sum())
        reached += int(within.any(1).sum())
    return inside / (nearest * len(fake)), reached / len(real)


def _cubic(one: Tensor, two: Tensor) -> Tensor:
    return (one @ two.T / one.shape[1] + 1) ** 3


def _finite(features: Tensor) -> Tensor:
    if not features.isfinite().all():
        raise UserError("a feature of a picture is not finite, so that there is no distance; train anew")
    return features.double()
