"""A training that goes wrong causes a warning, and one that goes well does not."""

import pytest

from dcgan.watch import EVALUATIONS, GRACE, PATIENCE, Watch

WELL = {
    "discriminator/accuracy_real": 0.9,
    "discriminator/accuracy_fake": 0.95,
    "discriminator/saturated": 0.0,
    "generator/diversity": 0.9,
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
        ({"generator/diversity": 0.1}, "collapsing; try loss=relativistic"),
        ({"gradient_norm/generator": 0.0}, "vanished"),
        ({"gradient_norm/discriminator": 1e5}, "about to diverge"),
    ],
)
def test_what_looks_bad_for_long_enough_is_said_once(change, said):
    watch, bad = Watch(), WELL | change
    for _ in range(PATIENCE - 1):
        assert watch.look(GRACE, bad) == []
    assert watch.look(GRACE, WELL) == []  # a healthy step resets the count
    for _ in range(PATIENCE - 1):
        assert watch.look(GRACE, bad) == []
    (sentence,) = watch.look(GRACE, bad)
    assert said in sentence
    for _ in range(2 * PATIENCE):
        assert watch.look(GRACE, bad) == []


def test_a_checkerboard_is_told_when_two_evaluations_in_a_row_see_it():
    watch, bad = Watch(), {"checkerboard": 10.0}
    for measures in [bad] * (EVALUATIONS - 1) + [{"checkerboard": 1.2}] + [bad] * (EVALUATIONS - 1):
        assert watch.look_at_measures(GRACE, measures) == []
    (sentence,) = watch.look_at_measures(GRACE, bad)
    assert "model.upsample=resize leaves the least" in sentence
    assert watch.look_at_measures(GRACE, bad) == []


def test_a_training_that_goes_well_is_left_in_peace():
    watch = Watch()
    assert not any(watch.look(GRACE, WELL) for _ in range(3 * PATIENCE))
    # A discriminator that is accurate but not saturated still teaches the generator.
    sure = WELL | {"discriminator/accuracy_real": 1.0, "discriminator/accuracy_fake": 1.0}
    assert not any(watch.look(GRACE, sure) for _ in range(3 * PATIENCE))


def test_a_generator_that_has_learnt_nothing_yet_is_given_time():
    watch = Watch()
    assert not any(watch.look(step, WELL | {"generator/diversity": 0.1}) for step in range(GRACE))
    assert not any(watch.look_at_measures(step, {"checkerboard": 10.0}) for step in range(GRACE))


def test_a_run_whose_generator_stands_still_is_told(here, tmp_path, monkeypatch):
    monkeypatch.setattr("dcgan.watch.CHECKERED", 0.0)  # any checkerboard is enough
    done = here(
        *("train", "experiment=smoke", "name=still", f"steps={GRACE + 20}", "log_every=2", "sample_every=0"),
        *("checkpoint_every=0", "data.image_size=8", "optim.generator_lr=1e-9"),
        *(f"evaluate_every={GRACE // 2}", "evaluate_samples=100"),
    )
    assert done.returncode == 0, done.stderr
    for sentence in ("may be collapsing; try loss=relativistic", "model.upsample=resize leaves the least"):
        assert done.stderr.count(sentence) == 1
        assert sentence in (tmp_path / "outputs" / "still" / "run.log").read_text()
