"""Evaluations during a run, ``best.pt`` and ``scripts/evaluate.py``, the whole way."""

import json
import signal

import pytest
import torch
from PIL import Image
from test_train import assert_same_run, numbers, wait_for_step

from dcgan import checkpoint, sampling
from dcgan.config import ModelConfig
from dcgan.networks import Generator, initialise

# Small pictures, so that their classifier takes seconds.
TINY = [
    "experiment=smoke",
    "data.image_size=8",
    "steps=40",
    "log_every=1",
    "checkpoint_every=7",
]
EVALUATED = ["evaluate_every=10", "evaluate_samples=100"]


def evaluations(run_dir):
    return {
        line["step"]: line["evaluation/frechet_classifier_distance"]
        for line in numbers(run_dir)
        if "evaluation/frechet_classifier_distance" in line
    }


def test_a_run_is_evaluated_keeps_its_best_and_comes_to_the_same_when_killed(command, tmp_path):
    whole, cut = tmp_path / "outputs" / "whole", tmp_path / "outputs" / "cut"
    done = command("train", *TINY, *EVALUATED, "name=whole")
    assert done.returncode == 0, done.stderr
    assert "training the classifier" in done.stderr
    assert "step 10/40  frechet classifier distance" in done.stderr
    measured = evaluations(whole)
    assert list(measured) == [10, 20, 30, 40]
    best = checkpoint.load(whole / "checkpoints" / "best.pt")
    assert best["evaluation"] == {
        "measure": "frechet_classifier_distance",
        "value": pytest.approx(min(measured.values())),
    }
    assert measured[best["step"]] == min(measured.values())

    process = command("train", *TINY, *EVALUATED, "name=cut", wait=False)
    wait_for_step(process, cut, 26)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    resumed = command("train", *TINY, *EVALUATED, "name=cut")
    assert resumed.returncode == 0, resumed.stderr
    assert "training the classifier" not in resumed.stderr
    assert_same_run(cut, whole)
    other = checkpoint.load(cut / "checkpoints" / "best.pt")
    assert (other["step"], other["evaluation"]) == (best["step"], best["evaluation"])

    # The evaluation draws nothing that the training would have drawn.
    without = command("train", *TINY, "name=without")
    assert without.returncode == 0, without.stderr
    one, two = (
        checkpoint.newest(tmp_path / "outputs" / name / "checkpoints") for name in ("without", "whole")
    )
    assert all(torch.equal(tensor, two["generator"][name]) for name, tensor in one["generator"].items())

    # The script's numbers are those of the run.
    done = command("evaluate.py", "run=outputs/whole", "samples=100")
    assert done.returncode == 0, done.stderr
    assert "outputs/whole, step 40: 100 generated images" in done.stdout
    assert "nearest neighbour error" in done.stdout
    report = json.loads((whole / "evaluation.json").read_text())
    assert report["measures"]["frechet_classifier_distance"]["value"] == pytest.approx(measured[40])
    assert (report["step"], report["samples"], report["seed"], report["weights"]) == (40, 100, 0, "ema")
    assert len(report["features"]) == 16
    assert sum(report["recognised"].values()) == 100

    best_of = ["evaluate.py", "run=outputs/whole/checkpoints/best.pt", "samples=100", "out=best.json"]
    assert command(*best_of, "statistics=standing", "seed=1", "weights=raw").returncode == 0
    of_best = json.loads((tmp_path / "best.json").read_text())
    assert of_best["statistics"] == "standing"
    assert of_best["measures"] != report["measures"]

    for arguments, message in [
        (["run=outputs/none"], "run=outputs/none does not exist"),
        (["run=outputs/whole", "samples=3"], "at least 10"),
        (["run=outputs/whole", "sample=3"], "did you mean samples?"),
        (["run=outputs/whole", "root=elsewhere", "weights=best"], "weights"),
    ]:
        failed = command("evaluate.py", *arguments)
        assert failed.returncode == 1
        assert len(failed.stderr.strip().splitlines()) == 1, failed.stderr
        assert message in failed.stderr
    assert "checkpoints/best.pt" in command("evaluate.py", "--help").stdout


def test_pictures_without_classes_are_evaluated_and_others_are_refused(command, tmp_path):
    for number in range(30):
        picture = Image.effect_noise((16, 16), 10 + 5 * number)
        (tmp_path / "pictures").mkdir(exist_ok=True)
        picture.save(tmp_path / "pictures" / f"{number}.png")
    folder = ["data=folder", "data.root=pictures", "data.image_size=16", "data.channels=1", "batch_size=8"]
    done = command("train", "experiment=smoke", "name=flat", *folder, "steps=4", "evaluate_every=2")
    assert done.returncode == 0, done.stderr
    best = checkpoint.load(tmp_path / "outputs" / "flat" / "checkpoints" / "best.pt")
    assert best["evaluation"]["measure"] == "sliced_wasserstein_distance"
    done = command("evaluate.py", "run=outputs/flat")
    assert done.returncode == 0, done.stderr
    assert "15 generated images" in done.stdout
    assert "no classes to train a classifier on" in done.stdout

    Image.new("L", (16, 16)).save(tmp_path / "pictures" / "other.png")
    failed = command("evaluate.py", "run=outputs/flat")
    assert failed.returncode == 1
    assert "the pictures in pictures are not those that the run was trained on; set root=" in failed.stderr

    few = ["data.root=few", "batch_size=4"]
    (tmp_path / "few").mkdir()
    for number in range(12):
        Image.new("L", (16, 16), 10 * number).save(tmp_path / "few" / f"{number}.png")
    failed = command("train", "experiment=smoke", *folder, *few, "evaluate_every=2")
    assert failed.returncode == 1
    assert "here 2500 of 12; find more pictures, or set evaluate_every=0" in failed.stderr
    assert not (tmp_path / "outputs" / "few").exists()


def test_standing_statistics_are_the_mean_over_batches_of_the_network_as_it_is(monkeypatch):
    network = Generator(ModelConfig(width=4, latent_dim=8), (16, 16), 1, 3)
    initialise(network, 0, "generator")
    norm = next(module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    seen = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    sampling.use_standing_statistics(network, 3)
    assert not network.training
    assert norm.momentum == 0.1
    assert len(seen) == sampling.STANDING_BATCHES
    expected = torch.stack([batch.mean((0, 2, 3)) for batch in seen]).mean(0)
    torch.testing.assert_close(norm.running_mean, expected, rtol=1e-3, atol=1e-5)
    expected = torch.stack([batch.var((0, 2, 3)) for batch in seen]).mean(0)
    torch.testing.assert_close(norm.running_var, expected, rtol=1e-3, atol=1e-7)


def test_many_images_are_those_that_come_one_by_one():
    network = Generator(ModelConfig(width=4, latent_dim=8), (16, 16), 1, 3).eval()
    initialise(network, 0, "generator")
    labels = torch.arange(300) % 3
    many = sampling.generate_many(network, 300, labels, seed=5)
    latents = torch.randn(300, 8, generator=sampling.random_generator(5, "evaluation latents"))
    single = sampling.generate(network, latents, labels)
    assert (many.int() - single.int()).abs().max() <= 1
    assert many.float().std() > 0
