"""End-to-end tests of evaluations during a run, ``best.pt`` and ``scripts/evaluate.py``."""

import json
import shutil
import signal

import pytest
import torch
from PIL import Image
from runs import assert_refused, assert_same_run, commands, last_state, lively, numbers

from dcgan import checkpoint, evaluation, sampling
from dcgan.config import ModelConfig
from dcgan.networks import Generator, initialise

# The pictures are small, so that training their classifier takes seconds.
TINY = [
    "experiment=smoke",
    "data.image_size=8",
    "steps=40",
    "log_every=1",
    "checkpoint_every=7",
    "device=cpu",
]
EVALUATED = [*TINY, "evaluate_every=10", "evaluate_samples=100"]
DISTANCE = "frechet_classifier_distance"


def evaluations(run_dir):
    name = f"evaluation/{DISTANCE}"
    return {line["step"]: line[name] for line in numbers(run_dir) if name in line}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a finished training with evaluations, and its directory; tests must not change it."""
    directory = tmp_path_factory.mktemp("evaluated")
    with commands(directory) as command:
        done = command("train", *EVALUATED, "name=whole", f"data.store={directory / 'store'}")
    assert done.returncode == 0, done.stderr
    return done, directory


@pytest.fixture
def whole(finished, tmp_path):
    """Return a copy of that run."""
    return shutil.copytree(finished[1] / "outputs" / "whole", tmp_path / "outputs" / "whole")


def test_a_run_is_evaluated_and_keeps_its_best(finished, whole):
    stderr = finished[0].stderr
    assert "training the classifier" in stderr
    assert "step 10/40  frechet classifier distance" in stderr
    measured = evaluations(whole)
    assert list(measured) == [10, 20, 30, 40]
    best = checkpoint.load(whole / "checkpoints" / "best.pt")
    least = pytest.approx(min(measured.values()))
    assert best["evaluation"] == {"measure": DISTANCE, "value": least}
    assert measured[best["step"]] == min(measured.values())


def test_an_evaluated_run_comes_to_the_same_when_killed(command, finished, whole, tmp_path):
    settings = [*EVALUATED, "name=cut", f"data.store={finished[1] / 'store'}"]
    killed = command("train", *settings, signalled=(signal.SIGKILL, 26))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    cut = tmp_path / "outputs" / "cut"
    assert list(evaluations(cut)) == [10, 20]
    resumed = command("train", *settings)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed at step 21" in resumed.stderr
    assert "training the classifier" not in resumed.stderr
    assert_same_run(cut, whole)
    best, other = (checkpoint.load(path / "checkpoints" / "best.pt") for path in (whole, cut))
    assert (other["step"], other["evaluation"]) == (best["step"], best["evaluation"])


def test_an_evaluation_draws_nothing_that_the_training_would_have_drawn(command, whole, tmp_path):
    without = command("train", *TINY, "name=without")
    assert without.returncode == 0, without.stderr
    one, two = (last_state(tmp_path / "outputs" / name) for name in ("without", "whole"))
    assert all(torch.equal(tensor, two["generator"][name]) for name, tensor in one["generator"].items())


def test_the_scripts_numbers_are_those_of_the_run(command, whole):
    done = command("evaluate.py", "run=outputs/whole", "samples=100", "device=cpu")
    assert done.returncode == 0, done.stderr
    assert "outputs/whole, step 40: 100 generated images" in done.stdout
    assert "nearest neighbour error" in done.stdout
    report = json.loads((whole / "evaluation.json").read_text())
    assert report["measures"][DISTANCE]["value"] == pytest.approx(evaluations(whole)[40])
    assert (report["step"], report["samples"]) == (40, 100)
    assert len(report["features"]) == 16
    assert sum(report["recognised"].values()) == 100


def test_seed_weights_statistics_truncation_and_checkpoint_are_those_asked_for(here, whole, tmp_path):
    usual = {
        "run": "outputs/whole",
        "seed": 0,
        "weights": "ema",
        "statistics": "running",
        "truncation": 1.0,
    }
    values = []
    best = "outputs/whole/checkpoints/step-00000028.pt"
    changes = [
        {"seed": 1},
        {"weights": "raw"},
        {"statistics": "standing"},
        {"truncation": 0.5},
        {"run": best},
    ]
    for change in ({}, *changes):
        asked = usual | change
        arguments = [f"{key}={value}" for key, value in asked.items()]
        done = here("evaluate.py", *arguments, "samples=100", "out=it.json", "overwrite=true", "device=cpu")
        assert done.returncode == 0, done.stderr
        report = json.loads((tmp_path / "it.json").read_text())
        how = (asked["weights"], asked["statistics"], asked["truncation"])
        trained = sampling.load_generator(tmp_path / asked.pop("run"), *how)
        assert {"step": trained.step, **asked}.items() <= report.items()
        evaluator = evaluation.Evaluator(trained.pictures(), 100, True, torch.device("cpu"), asked["seed"])
        measures = evaluator(sampling.generate_many(trained.network, 100, evaluator.labels, asked["seed"]))
        for name, measure in measures.items():
            assert report["measures"][name] == {
                "value": pytest.approx(measure.value, rel=1e-4),
                "floor": pytest.approx(measure.floor, rel=1e-4),
            }
        values.append(measures[DISTANCE].value)
    assert len(set(values)) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run=outputs/none"], "run=outputs/none does not exist"),
        (["run=outputs/whole", "samples=3"], "at least 10"),
        (["run=outputs/whole", "sample=3"], "did you mean samples?"),
        (["run=outputs/whole", "root=elsewhere", "weights=best"], "weights"),
        (["run=outputs/whole", "out=outputs"], "out=outputs exists; set another out=, or overwrite=true"),
    ],
    ids=lambda value: "",
)
def test_what_cannot_be_evaluated_is_refused(here, whole, arguments, message):
    assert_refused(here("evaluate.py", *arguments), message)
    assert not (whole / "evaluation.json").exists()


def test_pictures_without_classes_are_evaluated_and_others_are_refused(here, tmp_path):
    for number in range(30):
        picture = Image.effect_noise((16, 16), 10 + 5 * number)
        (tmp_path / "pictures").mkdir(exist_ok=True)
        picture.save(tmp_path / "pictures" / f"{number}.png")
    folder = ["data=folder", "data.root=pictures", "data.image_size=16", "data.channels=1", "batch_size=8"]
    done = here("train", "experiment=smoke", "name=flat", *folder, "steps=4", "evaluate_every=2")
    assert done.returncode == 0, done.stderr
    best = checkpoint.load(tmp_path / "outputs" / "flat" / "checkpoints" / "best.pt")
    assert best["evaluation"]["measure"] == "sliced_wasserstein_distance"
    done = here("evaluate.py", "run=outputs/flat")
    assert done.returncode == 0, done.stderr
    assert "15 generated images" in done.stdout
    assert "no classes to train a classifier on" in done.stdout

    (tmp_path / "pictures").rename(tmp_path / "moved")
    gone = here("evaluate.py", "run=outputs/flat")
    assert_refused(gone, "data.root=pictures does not exist")
    found = here("evaluate.py", "run=outputs/flat", "root=moved")
    assert found.returncode == 0, found.stderr

    (tmp_path / "moved").rename(tmp_path / "pictures")
    Image.new("L", (16, 16)).save(tmp_path / "pictures" / "other.png")
    failed = here("evaluate.py", "run=outputs/flat")
    assert_refused(
        failed, "the pictures of data=folder in pictures are not those that the run was trained on; set root="
    )

    few = ["data=folder", "data.root=few", "data.image_size=16", "data.channels=1", "batch_size=4"]
    (tmp_path / "few").mkdir()
    for number in range(12):
        Image.new("L", (16, 16), 10 * number).save(tmp_path / "few" / f"{number}.png")
    failed = here("train", "experiment=smoke", *few, "evaluate_every=2")
    assert failed.returncode == 1
    assert (
        "half of them to measure against, here 12; find more pictures (a training does without an evaluation if evaluate_every=0)"
        in failed.stderr.splitlines()[-1]
    )
    assert not (tmp_path / "outputs" / "few").exists()


def test_standing_statistics_are_the_mean_over_batches_of_the_network_as_it_is(monkeypatch):
    network = Generator(ModelConfig(width=4, latent_dim=8), (16, 16), 1, 3)
    initialise(network, 0, "generator")
    lively(network)
    norm = next(module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    seen = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    sampling.use_standing_statistics(network, [1, 1, 1])
    assert not network.training
    assert norm.momentum == 0.1
    assert len(seen) == sampling.STANDING_BATCHES
    expected = torch.stack([batch.mean((0, 2, 3)) for batch in seen]).mean(0)
    torch.testing.assert_close(norm.running_mean, expected, rtol=1e-3, atol=1e-5)
    expected = torch.stack([batch.var((0, 2, 3)) for batch in seen]).mean(0)
    torch.testing.assert_close(norm.running_var, expected, rtol=1e-3, atol=1e-7)


def test_standing_statistics_are_of_classes_as_frequent_as_in_the_set():
    network = Generator(ModelConfig(width=2, latent_dim=3), (8, 8), 1, 3)
    labels = []
    network.register_forward_pre_hook(lambda _, given: labels.append(given[1]))
    sampling.use_standing_statistics(network, [300, 0, 100])
    shares = torch.cat(labels).bincount(minlength=3) / (sampling.STANDING_BATCHES * sampling.STANDING_BATCH)
    torch.testing.assert_close(shares, torch.tensor([0.75, 0, 0.25]), rtol=0, atol=0.02)


def test_many_images_are_those_that_come_one_by_one():
    network = Generator(ModelConfig(width=4, latent_dim=8), (16, 16), 1, 3)
    initialise(network, 0, "generator")
    lively(network)
    labels = torch.arange(300) % 3
    many = sampling.generate_many(network, 300, labels, seed=5)
    latents = torch.randn(300, 8, generator=sampling.random_generator(5, "evaluation latents"))
    single = sampling.generate(network, latents, labels)
    assert (many.int() - single.int()).abs().max() <= 1
    assert many.float().std() > 0.2 * 127.5
