"""The presets: each states its question, and all its runs can be started."""

import itertools

import pytest
from hydra import compose, initialize_config_dir
from runs import ROOT

from dcgan import cli, data
from dcgan.choices import DataName, LossName
from dcgan.config import CONFIG_DIR, Config, flatten
from dcgan.networks import map_sizes, map_widths

DIRECTORY = ROOT / "configs" / "experiment"
PRESETS = sorted(str(path.relative_to(DIRECTORY).with_suffix("")) for path in DIRECTORY.rglob("*.yaml"))


def swept(preset):
    """Return the settings that the preset sweeps over, each with its choices separated by commas."""
    cli.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIG_DIR)):
        whole = compose("train", overrides=[f"experiment={preset}"], return_hydra_config=True)
    return whole.hydra.sweeper.params or {}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_asks_a_question_and_all_its_runs_can_be_started(preset):
    comments = [line for line in (DIRECTORY / f"{preset}.yaml").read_text().splitlines() if "#" in line]
    assert "?" in " ".join(comments), f"{preset}.yaml must ask its question in the comment at its top"
    assert f"experiment={preset}" in comments[1], f"line 2 of {preset}.yaml must say how to run it: experiment={preset}"
    params = swept(preset)
    choices = [[f"{key}={value}" for value in str(values).split(",")] for key, values in params.items()]
    for overrides in itertools.product(*choices):
        config = cli.compose([f"experiment={preset}", *overrides], None)
    if choices:
        assert config.sweep == preset, f"{preset}.yaml must set sweep: {preset}"
        assert len(str(params.get("seed", "")).split(",")) >= 3, f"{preset}.yaml must sweep over three seeds or more"


def test_every_set_and_loss_has_its_file():
    assert {path.stem for path in (CONFIG_DIR / "data").iterdir()} == {*DataName} == {*data.SETS}
    losses = [path.stem for path in (CONFIG_DIR / "loss").iterdir()]
    assert {cli.compose([f"loss={loss}"], None).loss.name for loss in losses} == {*LossName}


@pytest.mark.parametrize(
    ("chosen", "changed"),
    [
        ("loss=nonsaturating", {}),
        # These two have no penalty of their own, so ours stays.
        ("loss=hinge", {"loss.name": "hinge"}),
        ("loss=least_squares", {"loss.name": "least_squares"}),
        # Gulrajani et al. 2017, algorithm 1: lambda = 10, beta_1 = 0, beta_2 = 0.9; section 4: no critic BatchNorm.
        (
            "loss=wgan_gp",
            {
                "loss.name": "wasserstein",
                "loss.gradient_penalty": 10,
                "loss.r1": 0,
                "loss.penalty_every": 1,
                "model.discriminator_norm": "none",
                "optim.betas": [0, 0.9],
            },
        ),
        # Huang et al. 2024: both penalties in every step, and no BatchNorm.
        (
            "loss=relativistic",
            {
                "loss.name": "relativistic",
                "loss.r1": 1,
                "loss.r2": 1,
                "loss.penalty_every": 1,
                "model.discriminator_norm": "none",
            },
        ),
        # Radford et al. 2015, figure 1: 100 uniform latents, 1024 channels down to 128; the code: kernels of 5.
        (
            "model=paper",
            {
                "model.kernel_size": 5,
                "model.latent_dim": 100,
                "model.width": 128,
                "model.latents": "uniform",
            },
        ),
        # Section 4: batches of 128, Adam with 0.0002 and 0.5; the average, the penalty and the decay are ours.
        (
            "experiment=plain",
            {
                "batch_size": 128,
                "loss.r1": 0,
                "optim.generator_lr": 2e-4,
                "optim.discriminator_lr": 2e-4,
                "optim.betas": [0.5, 0.999],
                "optim.decay_from": 1,
                "optim.ema_decay": 0,
            },
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_choice_changes_what_its_source_says_and_nothing_else(chosen, changed):
    default, now = flatten(Config().to_plain()), flatten(cli.compose([chosen], None).to_plain())
    assert {key: value for key, value in now.items() if value != default[key]} == changed


def test_the_papers_networks_have_the_papers_widths():
    config = cli.compose(["model=paper", "data.image_size=64"], None)
    sizes = map_sizes(config.data.image_size, config.model.kernel_size)
    assert sizes == [(side, side) for side in (64, 32, 16, 8, 4)]
    assert map_widths(3, config.model.width, len(sizes)) == [3, 128, 256, 512, 1024]


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
