"""A training that goes wrong is noticed, and one that goes well is left in peace."""

import pytest

from dcgan.watch import PATIENCE, Watch

WELL = {
    "discriminator/accuracy_real": 0.9,
    "discriminator/accuracy_fake": 0.95,
    "discriminator/saturated": 0.0,
    "diversity": 0.9,
    "gradient_norm/generator": 1.0,
    "gradient_norm/discriminator": 1.0,
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {
                "discriminator/accuracy_real": 1.0,
                "discriminator/accuracy_fake": 1.0,
                "discriminator/saturated": 0.9,
            },
            "loss.instance_noise=0.1",
        ),
        ({"diversity": 0.1}, "collapsing; try loss=relativistic"),
        ({"gradient_norm/generator": 0.0}, "vanished"),
        ({"gradient_norm/discriminator": 1e5}, "about to diverge"),
    ],
)
def test_what_looks_bad_for_long_enough_is_said_once(change, said):
    watch, bad = Watch(), WELL | change
    for _ in range(PATIENCE - 1):
        assert watch.look(bad) == []
    assert watch.look(WELL) == []  # it was a rough minute
    for _ in range(PATIENCE - 1):
        assert watch.look(bad) == []
    (sentence,) = watch.look(bad)
    assert said in sentence
    for _ in range(2 * PATIENCE):
        assert watch.look(bad) == []


def test_a_training_that_goes_well_is_left_in_peace():
    watch = Watch()
    assert not any(watch.look(WELL) for _ in range(3 * PATIENCE))
    # An accurate discriminator that still has doubts teaches the generator.
    sure = WELL | {"discriminator/accuracy_real": 1.0, "discriminator/accuracy_fake": 1.0}
    assert not any(watch.look(sure) for _ in range(3 * PATIENCE))
