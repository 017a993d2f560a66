"""The random changes to what the discriminator sees: different for each image, and differentiable."""

import pytest
import torch

from dcgan.augment import NUMBERS, augmented
from dcgan.choices import Change


@pytest.fixture
def images():
    return torch.rand(64, 3, 16, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1


def numbers(count=64, seed=0):
    return torch.rand(NUMBERS, count, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("change", Change)
def test_each_change_is_a_function_of_its_numbers_and_passes_gradients_on(images, change):
    images.requires_grad_(True)
    changed = augmented(images, [change], numbers())
    assert changed.shape == images.shape
    assert torch.equal(changed, augmented(images, [change], numbers()))
    assert not torch.equal(changed, augmented(images, [change], numbers(seed=1)))
    moved_differently = (changed - images).flatten(1).abs().sum(1)
    assert len(set(moved_differently.tolist())) > 32
    (gradient,) = torch.autograd.grad(changed.square().sum(), images)
    assert (gradient.flatten(1).abs().sum(1) > 0).all()


def test_each_change_has_numbers_of_its_own(images):
    used = []
    for number in range(NUMBERS):
        other = numbers()
        other[number] = numbers(seed=1)[number]
        used.append(
            [c for c in Change if not torch.equal(augmented(images, [c], other), augmented(images, [c], numbers()))]
        )
    assert used == [[Change.color]] * 3 + [[Change.translation]] * 2 + [[Change.cutout]] * 2


def test_nothing_asked_for_nothing_done(images):
    assert augmented(images, [], numbers()) is images


def test_translation_moves_by_an_eighth_at_most_and_repeats_the_border(images):
    changed = augmented(images, [Change.translation], numbers())
    seen = set()
    for image, moved in zip(images, changed, strict=True):
        fits = []
        for down in range(-2, 3):
            for right in range(-2, 3):
                rows = (torch.arange(16) - down).clamp(0, 15)
                columns = (torch.arange(12) - right).clamp(0, 11)
                if torch.equal(image[:, rows][:, :, columns], moved):
                    fits.append((down, right))
        assert len(fits) == 1
        seen |= set(fits)
    assert len(seen) > 15  # of 25


def test_translation_rounds_an_eighth_as_the_paper_does():
    row = torch.arange(20.0).expand(500, 1, 20, 20)
    moved = augmented(row, [Change.translation], numbers(500))
    assert (moved[:, 0, 10, 10] - 10).abs().max() == 3  # 20 / 8 = 2.5, rounded up


def test_cutout_comes_everywhere_the_corners_included():
    white = torch.ones(2000, 1, 8, 6)
    cut = (augmented(white, [Change.cutout], numbers(2000)) == 0)[:, 0]
    for corner in (cut[:, 0, 0], cut[:, 0, -1], cut[:, -1, 0], cut[:, -1, -1]):
        assert 0.1 < corner.float().mean() < cut[:, 4, 3].float().mean()
    assert cut.flatten(1).sum(1).min() == 3 * 2  # with its centre in a corner


def test_cutout_makes_a_rectangle_of_half_the_sides_grey(images):
    changed = augmented(images, [Change.cutout], numbers())
    cut = (changed == 0).all(1)  # (N, H, W)
    assert torch.equal(changed.where(~cut[:, None], images), images)
    assert cut.any(2).sum(1).max() == 9  # an odd number of pixels around a center
    assert cut.any(1).sum(1).max() == 7
    assert (cut.flatten(1).sum(1) == cut.any(2).sum(1) * cut.any(1).sum(1)).all()


def test_color_keeps_what_is_where(images):
    changed = augmented(images[:, :1], [Change.color], numbers())
    for before, after in zip(images[:, 0].flatten(1), changed[:, 0].flatten(1), strict=True):
        assert torch.corrcoef(torch.stack([before, after]))[0, 1] == pytest.approx(1, abs=1e-4)
        assert 0.49 < after.std() / before.std() < 1.51
        assert abs(after.mean() - before.mean()) <= 0.5


def test_color_changes_brightness_saturation_and_contrast_each_by_itself(images):
    changed = augmented(images, [Change.color], numbers())
    brightness, contrast, saturation = [], [], []
    for before, after in zip(images, changed, strict=True):
        grey, grey_after = before.mean(0), after.mean(0)
        brightness.append(after.mean() - before.mean())
        contrast.append(grey_after.std() / grey.std())
        saturation.append((after - grey_after).std() / (before - grey).std() / contrast[-1])
        expected = grey.mean() + contrast[-1] * (grey - grey.mean() + saturation[-1] * (before - grey))
        torch.testing.assert_close(after, expected + brightness[-1])
    for factors, least, most in ((brightness, -0.5, 0.5), (contrast, 0.5, 1.5), (saturation, 0, 2)):
        edge = (most - least) / 10
        assert least <= min(factors) < least + edge
        assert most - edge < max(factors) <= most
    together = torch.corrcoef(torch.tensor([brightness, contrast, saturation]))
    assert (together - torch.eye(3)).abs().max() < 0.4


def test_the_largest_number_below_one_is_within_the_image(images):
    largest = torch.nextafter(torch.ones(()), torch.zeros(()))
    for side in range(8, 257):
        white = torch.ones(1, 1, side, 8)
        cut = augmented(white, [Change.cutout], largest.expand(NUMBERS, 1))[0, 0, :, -1] == 0
        assert cut.sum() == side // 4 + 1  # centred on the last row
        assert cut[-1]
