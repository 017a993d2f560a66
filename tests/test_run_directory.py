"""A run's directory: its own run resumes from it, and its best checkpoint is kept."""

import math

import pytest
import torch

from dcgan import checkpoint, engine, run_directory, sampling
from dcgan.config import Config, ModelConfig
from dcgan.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture
def config():
    return Config(model=ModelConfig(width=2, latent_dim=2), steps=10)


@pytest.fixture
def state(config):
    return engine.build(config, 10, CPU)


def origin(config, pictures="these", threads="2"):
    return {
        "config": config.to_plain(),
        "num_classes": 10,
        "data_fingerprint": pictures,
        "provenance": {"torch": "2.11", "threads": threads},
    }


def full(state, file):
    file.write(b"half")
    raise OSError(28, "No space left on device")


def kept(run_dir):
    """Return the step and the value of ``best.pt``."""
    best = checkpoint.load(run_dir / "checkpoints" / "best.pt")
    return best["step"], best["evaluation"]["value"]


def test_a_run_goes_on_where_its_directory_ends(config, state, tmp_path):
    for state.step in (3, 7):
        run_directory.save(state, config, tmp_path, origin(config))
    config.seed, config.log_every = 0, 1  # settings outside the training may change
    again = engine.build(config, 10, CPU)
    run_directory.resume(again, config, tmp_path, origin(config))
    assert again.step == 7


@pytest.mark.parametrize(
    ("step", "threads", "said"),
    [(7, "4", ["threads 2, now 4"]), (7, "2", []), (10, "4", [])],
    ids=["other", "same", "done"],
)
def test_a_run_that_goes_on_with_other_processors_says_so(config, state, tmp_path, caplog, step, threads, said):
    state.step = step
    run_directory.save(state, config, tmp_path, origin(config))
    again = engine.build(config, 10, CPU)
    run_directory.resume(again, config, tmp_path, origin(config, threads=threads))
    told = [line.message for line in caplog.records if line.levelname == "WARNING"]
    assert told == [f"numbers may differ from those of an uninterrupted run: {change}" for change in said]


def test_a_checkpoint_with_a_setting_of_another_version_names_it(config, state, tmp_path):
    metadata = origin(config)
    metadata["config"]["loss"]["margin"] = 0.5
    run_directory.save(state, config, tmp_path, metadata)
    with pytest.raises(UserError, match=r"of another version of dcgan \(loss\.margin\); use the one that wrote them"):
        sampling.load_generator(tmp_path)


def test_where_a_run_began_stays_known_after_a_start_that_does_not_say_it(config, state, tmp_path):
    state.step, config.resume = 3, "a.pt"
    run_directory.save(state, config, tmp_path, origin(config))
    state.step, config.resume = 0, "auto"
    metadata = origin(config)
    run_directory.resume(state, config, tmp_path, metadata)
    state.step += 1
    run_directory.save(state, config, tmp_path, metadata)
    config.resume = "a.pt"
    run_directory.resume(state, config, tmp_path, origin(config))
    assert state.step == 4


@pytest.mark.parametrize(
    ("setting", "value", "pictures", "sentence"),
    [
        (
            "seed",
            0,
            "others",
            "other settings (the pictures themselves); set another name= (of a sweep: sweep=), and resume=",
        ),
        ("seed", 1, "these", "other settings (seed=0, now 1); "),
        ("seed", 1, "others", "other settings (seed=0, now 1; the pictures themselves); "),
        ("evaluate_samples", 99, "these", "other settings (evaluate_samples=2500, now 99); "),
        ("resume", "never", "these", "resume=never, but "),
    ],
)
def test_a_directory_of_another_run_is_refused(config, state, tmp_path, setting, value, pictures, sentence):
    state.step = 3
    run_directory.save(state, config, tmp_path, origin(config))
    setattr(config, setting, value)
    other = engine.build(config, 10, CPU)
    with pytest.raises(UserError) as refusal:
        run_directory.resume(other, config, tmp_path, origin(config, pictures))
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert other.step == 0


def test_a_disk_that_is_full_is_a_warning_on_the_way_and_an_error_in_the_end(
    config, state, tmp_path, monkeypatch, caplog
):
    state.step = 3
    run_directory.save(state, config, tmp_path, origin(config))
    monkeypatch.setattr(torch, "save", full)
    state.step = 6
    run_directory.save(state, config, tmp_path, origin(config))
    (message,) = (record.getMessage() for record in caplog.records)
    path = tmp_path / "checkpoints" / "step-00000006.pt"
    expected = f"no checkpoint at step 6 ([Errno 28] No space left on device: '{path}'); training goes on"
    assert message == expected
    with pytest.raises(UserError, match=r"the checkpoint of step 6 cannot be written to .*; make room and"):
        run_directory.save(state, config, tmp_path, origin(config), last=True)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000003.pt"]


def test_the_least_value_is_kept_whatever_comes_later(config, state, tmp_path):
    best = run_directory.Best(tmp_path, afresh=True)
    seen = []
    for state.step, value in enumerate([5.0, 7.0, 4.0, math.nan, 6.0, 3.0]):
        best.offer(state, origin(config), "distance", value)
        seen.append(kept(tmp_path))
    assert seen == [(0, 5), (0, 5), (2, 4), (2, 4), (2, 4), (5, 3)]
    stored = checkpoint.load(best.path)
    assert stored["evaluation"] == {"measure": "distance", "value": 3}
    assert stored["data_fingerprint"] == "these"
    engine.build(config, 10, CPU).load_state_dict(stored)


@pytest.mark.parametrize(("afresh", "left"), [(False, (1, 4)), (True, (2, 5))])
def test_a_resumed_run_knows_its_best_and_a_new_one_none(config, state, tmp_path, afresh, left):
    state.step = 1
    run_directory.Best(tmp_path, afresh=True).offer(state, origin(config), "distance", 4.0)
    state.step = 2
    run_directory.Best(tmp_path, afresh=afresh).offer(state, origin(config), "distance", 5.0)
    assert kept(tmp_path) == left


def test_a_damaged_best_is_replaced(config, state, tmp_path, caplog):
    run_directory.Best(tmp_path, afresh=True).offer(state, origin(config), "distance", 4.0)
    path = tmp_path / "checkpoints" / "best.pt"
    path.write_bytes(path.read_bytes()[:1000])
    best, state.step = run_directory.Best(tmp_path, afresh=False), 2
    assert "best.pt is damaged" in caplog.text
    assert "the next evaluation replaces it" in caplog.text
    best.offer(state, origin(config), "distance", 5.0)
    assert kept(tmp_path) == (2, 5)


def test_a_best_that_was_never_evaluated_is_replaced(config, state, tmp_path, caplog):
    checkpoint.write(tmp_path / "checkpoints" / "best.pt", {**origin(config), **state.state_dict()})
    best, state.step = run_directory.Best(tmp_path, afresh=False), 2
    assert "is not of an evaluation; the next evaluation replaces it" in caplog.text
    best.offer(state, origin(config), "distance", 5.0)
    assert kept(tmp_path) == (2, 5)


def test_networks_of_another_version_are_a_sentence(config, state, tmp_path):
    run_directory.save(state, config, tmp_path, origin(config))
    (path,) = (tmp_path / "checkpoints").glob("step-*.pt")
    old = checkpoint.load(path)
    name, weight = old["generator_ema"].popitem()
    old["generator_ema"][f"{name}.0"] = old["generator"][f"{name}.0"] = weight
    del old["generator"][name]
    checkpoint.write(path, old)
    with pytest.raises(UserError, match="networks of another version of dcgan; use the version that wrote them"):
        run_directory.resume(state, config, tmp_path, origin(config))
    with pytest.raises(UserError, match="a network of another version of dcgan"):
        sampling.load_generator(path)


def test_a_value_counts_only_when_it_was_written(config, state, tmp_path, monkeypatch, caplog):
    best = run_directory.Best(tmp_path, afresh=True)
    best.offer(state, origin(config), "distance", 5.0)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        best.offer(state, origin(config), "distance", 3.0)
    assert "best.pt cannot be written" in caplog.text
    assert kept(tmp_path) == (0, 5)
    state.step = 2
    best.offer(state, origin(config), "distance", 4.0)
    assert kept(tmp_path) == (2, 4)


def test_the_best_by_another_measure_is_no_rival(config, state, tmp_path):
    state.step = 1
    run_directory.Best(tmp_path, afresh=True).offer(state, origin(config), "distance", 1.0)
    best = run_directory.Best(tmp_path, afresh=False)
    seen = []
    for state.step, value in enumerate([math.nan, 5.0, 6.0, 4.0], 2):
        best.offer(state, origin(config), "other", value)
        seen.append(kept(tmp_path))
    assert seen == [(1, 1), (3, 5), (3, 5), (5, 4)]
