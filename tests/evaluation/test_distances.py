"""Distances of feature vectors: first closed forms, then the differences that each distance must detect."""

import math
import warnings

import pytest
import torch

from dcgan.errors import UserError
from dcgan.evaluation import distances


@pytest.fixture
def random():
    return torch.Generator().manual_seed(0)


def gaussian(mean, covariance, count, random):
    """Return vectors whose sample mean and covariance are exactly the given ones."""
    vectors = torch.randn(count, len(mean), generator=random, dtype=torch.float64)
    vectors -= vectors.mean(0)
    vectors @= torch.linalg.inv(torch.linalg.cholesky(torch.atleast_2d(vectors.T.cov()))).T
    return vectors @ torch.linalg.cholesky(covariance).T + mean


def test_two_gaussians_have_the_distance_of_the_closed_form(random):
    mean = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    root = torch.randn(3, 3, generator=random, dtype=torch.float64)
    one, two = root @ root.T + torch.eye(3), torch.diag(torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64))
    values, vectors = torch.linalg.eigh(two)
    half = vectors @ values.sqrt().diag() @ vectors.T
    middle = torch.linalg.eigvalsh(half @ one @ half).sqrt().sum()
    expected = float(mean.square().sum() + one.trace() + two.trace() - 2 * middle)
    real, fake = gaussian(torch.zeros(3), one, 50, random), gaussian(mean, two, 70, random)
    assert distances.frechet(real, fake) == pytest.approx(expected, rel=1e-9)
    # In one dimension, by hand: (m1 - m2)^2 + (s1 - s2)^2 = 9 + 4.
    real = gaussian(torch.zeros(1), torch.eye(1).double(), 30, random)
    fake = gaussian(torch.full((1,), 3.0), 9 * torch.eye(1).double(), 30, random)
    assert distances.frechet(real, fake) == pytest.approx(13, rel=1e-9)


def test_it_is_computed_in_float64(random):
    # In float32 a mean of 1000 leaves only 4 digits after the point, too few for a covariance of 1e-6.
    real = gaussian(torch.full((2,), 1e3).double(), 1e-6 * torch.eye(2).double(), 40, random)
    assert distances.frechet(real, real) == pytest.approx(0, abs=1e-12)


def test_the_kernel_distance_is_the_unbiased_one(random):
    real = torch.randn(8, 3, generator=random, dtype=torch.float64)
    fake = torch.randn(8, 3, generator=random, dtype=torch.float64) + 1

    def kernel(a, b):
        return (a @ b / 3 + 1) ** 3

    within = sum(
        kernel(points[i], points[j]) / 56 for points in (real, fake) for i in range(8) for j in range(8) if i != j
    )
    between = sum(kernel(a, b) / 64 for a in real for b in fake)
    assert distances.kernel(real, fake) == pytest.approx(float(within - 2 * between), rel=1e-9)


@pytest.mark.parametrize("count", [60, 1200])
def test_the_distances_are_those_of_torchmetrics(random, monkeypatch, count):
    """This includes fewer vectors than dimensions, whose covariance has no inverse, and subsets."""
    from torchmetrics.image import fid, kid

    real = torch.randn(count, 64, generator=random, dtype=torch.float64)
    fake = 1.2 * torch.randn(count, 64, generator=random, dtype=torch.float64) + 0.1
    features = torch.nn.Identity()
    features.num_features = 64
    theirs = fid.FrechetInceptionDistance(feature=features).set_dtype(torch.float64)
    for some, which in ((real, True), (fake, False)):
        theirs.update(some, real=which)
    assert distances.frechet(real, fake) == pytest.approx(float(theirs.compute()), rel=1e-7)
    monkeypatch.setattr(distances, "KERNEL_SUBSET", 50)
    subsets = [
        [some[torch.randperm(count, generator=generator)[:50]] for some in (real, fake)]
        for generator in [torch.Generator().manual_seed(0)]
        for _ in range(distances.KERNEL_SUBSETS)
    ]
    estimates = [float(kid.poly_mmd(*pair)) for pair in subsets]
    assert distances.kernel(real, fake) == pytest.approx(sum(estimates) / len(estimates), rel=1e-9)


def test_the_kernel_distance_draws_nothing_from_outside_and_says_nothing(random):
    real, fake = torch.randn(2, 1500, 4, generator=random)
    before = torch.random.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = distances.kernel(real, fake)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(1)
    assert distances.kernel(real, fake) == one
    assert abs(one) < 0.05  # both sets are from one source


def test_density_and_coverage_by_hand():
    # Real points at 0, 1, ..., 9: the fifth neighbour is 3 away in the middle and up to 5 at the ends.
    real = torch.arange(10.0)[:, None]
    # A fake at 4.5 lies in the ball of every real point that is closer to it than the ball's radius:
    # radii 5 4 3 3 3 3 3 3 4 5, distances 4.5 3.5 2.5 1.5 .5 .5 1.5 2.5 3.5 4.5: all ten.
    assert distances.density_and_coverage(real, torch.tensor([[4.5]])) == (10 / 5, 1.0)
    # A fake at -2 lies in the balls of 0 (2 away, radius 5) and 1 (3 away, radius 4), but not of 2 (4 away, radius 3).
    assert distances.density_and_coverage(real, torch.tensor([[-2.0]])) == (2 / 5, 2 / 10)


def test_coverage_of_real_by_real_is_what_its_paper_expects(random):
    real, other = torch.randn(2, 2000, 8, generator=random)
    density, coverage = distances.density_and_coverage(real, other)
    expected = 1 - math.prod((2000 - i) / (4000 - i) for i in range(1, 6))  # Naeem et al. 2020, equation 9, about
    assert coverage == pytest.approx(expected, abs=0.02)
    assert density == pytest.approx(1, abs=0.05)


def test_a_feature_that_is_not_finite_is_a_sentence():
    bad = torch.ones(10, 2)
    bad[3, 1] = torch.inf
    with pytest.raises(UserError, match="not finite"):
        distances.frechet(torch.randn(10, 2), bad)
