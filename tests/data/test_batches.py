"""Prepared pictures, and batches that depend only on (seed, step)."""

import gc
import weakref

import numpy as np
import pytest
import torch

from dcgan import data, images
from dcgan.config import AugmentConfig, DataConfig
from dcgan.data.batches import flipped_and_moved, turned_and_zoomed
from dcgan.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return str(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def digits(store):
    return data.load(DataConfig(store=store))


def numbered(count):
    """Return pictures of one pixel, whose value and label are the number of the picture."""
    numbers = np.arange(count)
    pixels = numbers.astype(np.uint8).reshape(count, 1, 1, 1)
    return data.ImageSet(pixels, numbers, numbers, [str(n) for n in numbers], "")


def test_a_tenth_of_each_digit_is_held_out(digits):
    assert digits.train.store.shape == (5000, 1, 28, 28)
    assert digits.train.store.dtype == np.uint8
    assert np.bincount(digits.train.labels).tolist() == [450] * 10
    assert np.bincount(digits.held_out.labels).tolist() == [50] * 10
    assert not set(digits.train.rows) & set(digits.held_out.rows)
    assert digits.train.classes == list("0123456789")


def test_another_size_is_the_same_pictures_resized(digits, store):
    small = data.load(DataConfig(image_size=[9, 17], store=store)).train
    assert small.store.shape == (5000, 1, 9, 17)
    assert small.store.mean() == pytest.approx(digits.train.store.mean(), rel=0.05)
    assert small.fingerprint != digits.train.fingerprint
    assert data.load(DataConfig(store=store)).train.fingerprint == digits.train.fingerprint
    other_share = data.load(DataConfig(held_out=0.2, store=store))
    assert other_share.store == digits.store
    assert other_share.train.fingerprint != digits.train.fingerprint


def test_a_limit_keeps_the_shares_of_the_classes_and_fewer_are_a_part_of_more(digits, store):
    some, few = digits.train.limited(1000), digits.train.limited(95)
    assert np.bincount(some.labels).tolist() == [100] * 10
    assert sorted(np.bincount(few.labels).tolist()) == [9] * 5 + [10] * 5
    assert set(few.rows) < set(some.rows) < set(digits.train.rows)
    assert digits.train.limited(4500).fingerprint == digits.train.fingerprint
    uneven = data.ImageSet(np.zeros((100, 1, 1, 1), np.uint8), np.arange(100), np.arange(100) // 80, ["a", "b"], "")
    assert np.bincount(uneven.limited(10).labels).tolist() == [8, 2]
    limited = data.load(DataConfig(store=store, limit=95))
    assert np.array_equal(limited.shown.rows, few.rows)
    # The reference of measures, and the set that a checkpoint names, stay the same.
    assert limited.train.fingerprint == digits.train.fingerprint
    assert digits.shown is digits.train
    with pytest.raises(UserError, match=r"data\.limit=4501 is more than the 4,500 pictures"):
        data.load(DataConfig(store=store, limit=4501))
    with pytest.raises(UserError, match=r"data\.limit=1 must be at least 2"):
        DataConfig(limit=1)


def test_a_limit_keeps_at_least_one_picture_of_each_class(digits, store):
    labels = np.repeat([0, 1, 2], [97, 2, 1])
    rare = data.ImageSet(np.zeros((100, 1, 1, 1), np.uint8), np.arange(100), labels, ["a", "b", "c"], "")
    assert np.bincount(rare.limited(3).labels).tolist() == [1, 1, 1]
    assert np.bincount(rare.limited(10).labels).tolist() == [8, 1, 1]
    assert np.bincount(digits.train.limited(10).labels).tolist() == [1] * 10
    with pytest.raises(UserError, match=r"^data\.limit=9 is less than one picture of each of 10 classes$"):
        data.load(DataConfig(store=store, limit=9))


def test_an_epoch_sees_every_picture_once_in_an_order_of_its_own():
    pictures = numbered(10)
    batches = data.Batches(pictures, 5, seed=0, device=CPU)
    epochs = [torch.cat([batches[2 * epoch][1], batches[2 * epoch + 1][1]]) for epoch in range(3)]
    assert all(sorted(epoch.tolist()) == list(range(10)) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1])
    # Batches are the same in any order of access, and from another object.
    again = data.Batches(pictures, 5, seed=0, device=CPU)
    assert torch.equal(again[4][1], epochs[2][:5])
    assert not torch.equal(data.Batches(pictures, 5, seed=1, device=CPU)[0][1], batches[0][1])


def test_batches_are_gone_when_nobody_has_them():
    """They go at once, not when cycles are next collected: on a GPU they may hold half of its memory."""
    batches = data.Batches(numbered(10), 5, seed=0, device=CPU)
    assert len(batches[0][1]) == 5
    gone = weakref.ref(batches)
    gc.disable()
    try:
        del batches
        assert gone() is None
    finally:
        gc.enable()


def test_what_is_left_of_an_epoch_is_no_batch():
    batches = data.Batches(numbered(11), 5, seed=0, device=CPU)
    labels = [batches[step][1].tolist() for step in range(4)]
    assert [len(batch) for batch in labels] == [5] * 4
    assert len({*labels[0], *labels[1]}) == len({*labels[2], *labels[3]}) == 10
    assert len({*labels[1], *labels[2]}) < 10  # the third batch is in the next epoch


def test_a_batch_is_whole_beside_other_processes_unless_it_is_shared(monkeypatch):
    alone = data.Batches(numbered(11), 5, seed=0, device=CPU)[3]
    pair = data.Batches(numbered(11), 4, seed=0, device=CPU)[3][1]
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    for one, other in zip(data.Batches(numbered(11), 5, seed=0, device=CPU)[3], alone, strict=True):
        assert torch.equal(one, other)
    half = data.Batches(numbered(11), 4, seed=0, device=CPU, shared=True)
    assert torch.equal(half[3][1], pair[2:])
    for size in (5, 2):
        with pytest.raises(UserError, match=f"batch_size={size} cannot be shared out to 2 processes"):
            data.Batches(numbered(11), size, seed=0, device=CPU, shared=True)


def test_a_batch_is_in_minus_one_to_one(digits):
    batch, labels = data.Batches(digits.train, 64, seed=0, device=CPU)[3]
    assert batch.shape == (64, 1, 28, 28)
    assert batch.dtype == torch.float32
    assert batch.min() == -1
    assert batch.max() == 1
    assert labels.shape == (64,)


def test_images_and_labels_belong_together():
    images, labels = data.Batches(numbered(10), 10, seed=3, device=CPU)[7]
    assert torch.equal(images_as_numbers(images), labels)


def images_as_numbers(batch):
    return images.to_uint8(batch).flatten().long()


def test_pictures_kept_on_the_device_are_the_same(digits, monkeypatch):
    monkeypatch.setattr("dcgan.data.batches.UPLOADED", 10**6)  # so that the upload takes several pieces
    read = data.Batches(digits.train, 64, seed=0, device=CPU)
    resident = data.Batches(digits.train, 64, seed=0, device=CPU, on_device=True)
    assert read.resident is None
    assert resident.resident is not None
    for step in (0, 100):
        for one, other in zip(read[step], resident[step], strict=True):
            assert torch.equal(one, other)


def test_too_few_pictures_for_a_batch_are_an_error(digits):
    with pytest.raises(UserError, match="batch_size=4501 is more than the 4500 pictures"):
        data.Batches(digits.train, 4501, seed=0, device=CPU)


def test_flips_and_moves_are_of_the_step_and_of_each_picture():
    picture = torch.arange(1, 10, dtype=torch.uint8).view(1, 1, 3, 3)
    many = picture.expand(200, 1, 3, 3)
    flipped = flipped_and_moved(many, AugmentConfig(flip=True), torch.Generator().manual_seed(0))
    kinds = {tuple(image.flatten().tolist()) for image in flipped}
    assert kinds == {(1, 2, 3, 4, 5, 6, 7, 8, 9), (3, 2, 1, 6, 5, 4, 9, 8, 7)}
    moved = flipped_and_moved(many, AugmentConfig(translate=1), torch.Generator().manual_seed(0))
    kinds = {tuple(image.flatten().tolist()) for image in moved}
    assert len(kinds) == 9
    assert (1, 1, 2, 1, 1, 2, 4, 4, 5) in kinds  # down and right: the border is repeated
    assert (5, 6, 6, 8, 9, 9, 8, 9, 9) in kinds

    def batch(step, seed=0):
        pictures = numbered(8)
        picture = np.random.default_rng(0).integers(0, 256, (3, 4, 5), dtype=np.uint8)
        pictures.store = np.stack([picture] * 8)  # equal pictures, so that order has no effect
        augment = AugmentConfig(flip=True, translate=2)
        return data.Batches(pictures, 8, seed, CPU, augment)[step][0]

    assert torch.equal(batch(5), batch(5))
    assert not torch.equal(batch(5), batch(6))
    assert not torch.equal(batch(5), batch(5, seed=1))
    assert batch(5).shape == (8, 3, 4, 5)


def test_examples_show_a_class_per_column(digits):
    train = digits.train
    chosen = train.examples(columns=10, rows=2, by_class=True)
    everything = train[np.arange(len(train))]
    for row in range(2):
        for column in range(10):
            matches = (everything[train.labels == column] == chosen[10 * row + column]).flatten(1).all(1)
            assert matches.any()
    assert len(train.examples(columns=4, rows=3, by_class=False)) == 12
    few = train.limited(10)
    assert torch.equal(few.examples(columns=4, rows=3, by_class=False), few[:])


def test_uint8_to_float_and_back_loses_nothing():
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(images.to_uint8(images.to_float(every)), every)
    assert images.to_float(every).min() == -1
    assert images.to_float(every).max() == 1
    assert images.to_uint8(torch.tensor([-9.0, 9.0])).tolist() == [0, 255]


def test_a_picture_is_turned_about_its_middle_and_enlarged_from_it():
    ramp = torch.arange(9.0).repeat(5, 1)[None, None]  # from left to right, 4 in the middle
    clockwise, no = torch.tensor([torch.pi / 2]), torch.tensor([0.0])
    turned = images.turned(ramp, clockwise, torch.ones(1))
    torch.testing.assert_close(turned[0, 0], torch.arange(2.0, 7.0)[:, None].expand(5, 9))  # now downwards
    down = torch.arange(5.0)[:, None].repeat(1, 9)[None, None]
    leftwards = torch.tensor([4.0, 4, 4, 3, 2, 1, 0, 0, 0]).expand(5, 9)
    torch.testing.assert_close(images.turned(down, clockwise, torch.ones(1))[0, 0], leftwards)
    torch.testing.assert_close(images.turned(ramp, no, torch.ones(1)), ramp)
    larger = images.turned(ramp, no, torch.tensor([2.0]))
    torch.testing.assert_close(larger[0, 0], (torch.arange(9.0) / 2 + 2).expand(5, 9))
    smaller = images.turned(ramp, no, torch.tensor([0.5]))  # the border is repeated
    torch.testing.assert_close(smaller[0, 0, 0], torch.tensor([0.0, 0, 0, 2, 4, 6, 8, 8, 8]))


def test_turns_and_zooms_go_as_far_as_is_said_both_ways(monkeypatch):
    given = []
    monkeypatch.setattr("dcgan.data.batches.turned", lambda *what: given.append(what))
    many, random = torch.zeros(999, 1, 1, 1), torch.Generator().manual_seed(0)
    turned_and_zoomed(many, AugmentConfig(rotate=20, zoom=0.2), random)
    _, angle, zoom = given[0]
    assert (angle.min(), angle.max()) == pytest.approx((-np.radians(20), np.radians(20)), rel=0.02)
    assert (zoom.min(), zoom.max()) == pytest.approx((0.8, 1.2), rel=0.01)
    assert abs(np.corrcoef(angle, zoom)[0, 1]) < 0.1
    for one in ("rotate", "zoom"):
        turned_and_zoomed(many, AugmentConfig(**{one: 0.5}), random)
    assert len(given) == 3


def test_turns_and_zooms_are_of_the_step_and_of_each_picture():
    many = torch.rand(1, 1, 9, 13).expand(64, 1, 9, 13)
    assert turned_and_zoomed(many, AugmentConfig(), torch.Generator()) is many
    for augment in (AugmentConfig(rotate=20), AugmentConfig(zoom=0.2)):
        one, same = (turned_and_zoomed(many, augment, torch.Generator().manual_seed(0)) for _ in range(2))
        assert torch.equal(one, same)
        assert len({tuple(image.flatten().tolist()) for image in one}) == 64
        pictures = data.ImageSet((many * 255).byte().numpy(), np.arange(64), np.zeros(64, np.int64), ["all"], "")
        first, second = (data.Batches(pictures, 8, 0, CPU, augment)[step][0] for step in (0, 1))
        assert first.shape == second.shape == (8, 1, 9, 13)
        assert not torch.equal(first, second)
