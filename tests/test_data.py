"""Pictures in memory, and batches that are functions of (seed, step)."""

import pytest
import torch

from dcgan import data, images
from dcgan.config import DataConfig
from dcgan.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits():
    return data.load(DataConfig())


def test_the_digits_are_500_of_each(digits):
    assert digits.images.shape == (5000, 1, 28, 28)
    assert digits.images.dtype == torch.uint8
    assert digits.labels.bincount().tolist() == [500] * 10
    assert digits.channels == 1


def test_another_size_is_the_same_pictures_resized(digits):
    small = data.load(DataConfig(image_size=[9, 17]))
    assert small.images.shape == (5000, 1, 9, 17)
    assert small.images.dtype == torch.uint8
    assert small.images.float().mean().item() == pytest.approx(digits.images.float().mean().item(), rel=0.05)
    assert small.fingerprint != digits.fingerprint
    assert data.load(DataConfig()).fingerprint == digits.fingerprint


def test_an_epoch_sees_every_picture_once_in_an_order_of_its_own():
    numbers = torch.arange(10, dtype=torch.uint8)
    pictures = data.ImageSet(numbers.view(10, 1, 1, 1), numbers.long(), 10)
    batches = data.Batches(pictures, 5, seed=0, device=CPU)
    epochs = [torch.cat([batches[2 * epoch][1], batches[2 * epoch + 1][1]]) for epoch in range(3)]
    assert all(sorted(epoch.tolist()) == list(range(10)) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1])
    # In any order of asking, and by another object.
    again = data.Batches(pictures, 5, seed=0, device=CPU)
    assert torch.equal(again[4][1], epochs[2][:5])
    assert not torch.equal(data.Batches(pictures, 5, seed=1, device=CPU)[0][1], batches[0][1])


def test_a_batch_is_in_minus_one_to_one(digits):
    batch, labels = data.Batches(digits, 64, seed=0, device=CPU)[3]
    assert batch.shape == (64, 1, 28, 28)
    assert batch.dtype == torch.float32
    assert batch.min() == -1
    assert batch.max() == 1
    assert labels.shape == (64,)


def test_too_few_pictures_for_a_batch_are_an_error(digits):
    with pytest.raises(UserError, match="batch_size=5001 is more than the 5000 pictures"):
        data.Batches(digits, 5001, seed=0, device=CPU)


def test_examples_show_a_class_per_column(digits):
    chosen = digits.examples(columns=10, rows=2, by_class=True)
    for row in range(2):
        for column in range(10):
            matches = (digits.images[digits.labels == column] == chosen[10 * row + column]).flatten(1).all(1)
            assert matches.any()
    assert len(digits.examples(columns=4, rows=3, by_class=False)) == 12


def test_uint8_to_float_and_back_loses_nothing():
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(images.to_uint8(images.to_float(every)), every)
    assert images.to_float(every).min() == -1
    assert images.to_float(every).max() == 1
    assert images.to_uint8(torch.tensor([-9.0, 9.0])).tolist() == [0, 255]
