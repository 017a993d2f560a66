"""The presets: each says its question, and every run of it is one that can be started."""

import itertools

import pytest
from conftest import ROOT
from hydra import compose, initialize_config_dir

from dcgan import cli
from dcgan.config import flatten

DIRECTORY = ROOT / "configs" / "experiment"
PRESETS = sorted(str(path.relative_to(DIRECTORY).with_suffix("")) for path in DIRECTORY.rglob("*.yaml"))


def swept(preset):
    """What the preset sweeps over: setting, comma, choices."""
    cli.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(cli.CONFIG_DIR)):
        whole = compose("train", overrides=[f"experiment={preset}"], return_hydra_config=True)
    return whole.hydra.sweeper.params or {}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_asks_a_question_and_all_its_runs_can_be_started(preset):
    comments = [line for line in (DIRECTORY / f"{preset}.yaml").read_text().splitlines() if "#" in line]
    assert "?" in " ".join(comments)
    assert f"experiment={preset}" in comments[1]
    params = swept(preset)
    choices = [[f"{key}={value}" for value in str(values).split(",")] for key, values in params.items()]
    for overrides in itertools.product(*choices):
        config = cli.compose([f"experiment={preset}", *overrides], None)
    if choices:
        assert config.sweep == preset
        assert "seed=0,1,2" in [f"{key}={value}" for key, value in params.items()]


def test_each_claim_differs_from_the_papers_training_in_what_it_claims():
    def settings(name):
        return flatten(cli.compose([f"experiment=claims/{name}"], None).to_plain())

    paper = settings("paper")
    assert (paper["model.latents"], paper["optim.generator_lr"], paper["batch_size"]) == (
        "uniform",
        2e-4,
        128,
    )
    changed = {
        "norm": {"model.discriminator_norm": "every"},
        "momentum": {"optim.betas": [0.9, 0.999]},
        "rate": {"optim.generator_lr": 1e-3, "optim.discriminator_lr": 1e-3},
        "relu": {"model.discriminator_activation": "relu"},
        "normal": {"model.latents": "normal"},
    }
    for name, changes in changed.items():
        claim = settings(name)
        assert {key: value for key, value in claim.items() if value != paper[key]} == changes
