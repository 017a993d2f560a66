"""Each loss agrees with a calculation by hand, and improves the samples in a short run."""

import math

import pytest
import torch

from dcgan import data, engine, losses, sampling
from dcgan.config import Config, DataConfig, LossConfig, ModelConfig, OptimConfig
from dcgan.errors import UserError
from dcgan.evaluation.pixels import SlicedWasserstein

REAL, FAKE = torch.tensor([0.5, 2.0]), torch.tensor([-1.0, 0.25])


def log_sigmoid(x):
    return -math.log(1 + math.exp(-x))


@pytest.mark.parametrize(
    ("config", "of_discriminator", "of_generator"),
    [
        (
            LossConfig("nonsaturating"),
            -(log_sigmoid(0.5) + log_sigmoid(2)) / 2 - (log_sigmoid(1) + log_sigmoid(-0.25)) / 2,
            -(log_sigmoid(-1) + log_sigmoid(0.25)) / 2,
        ),
        (
            LossConfig("nonsaturating", label_smoothing=0.1),
            -(0.9 * log_sigmoid(0.5) + 0.1 * log_sigmoid(-0.5)) / 2
            - (0.9 * log_sigmoid(2) + 0.1 * log_sigmoid(-2)) / 2
            - (log_sigmoid(1) + log_sigmoid(-0.25)) / 2,
            -(log_sigmoid(-1) + log_sigmoid(0.25)) / 2,
        ),
        (LossConfig("hinge"), (0.5 + 0) / 2 + (0 + 1.25) / 2, 0.75 / 2),
        (LossConfig("least_squares"), (0.25 + 1 + 1 + 0.0625) / 4, (4 + 0.5625) / 4),
        (LossConfig("wasserstein"), -0.375 - 1.25, 0.375),
        (
            LossConfig("relativistic"),
            -(log_sigmoid(1.5) + log_sigmoid(1.75)) / 2,
            -(log_sigmoid(-1.5) + log_sigmoid(-1.75)) / 2,
        ),
    ],
)
def test_each_loss_by_hand(config, of_discriminator, of_generator):
    assert losses.discriminator_loss(config, REAL, FAKE) == pytest.approx(of_discriminator, rel=1e-6)
    assert losses.generator_loss(config, FAKE, REAL) == pytest.approx(of_generator, rel=1e-6)


def test_the_auxiliary_classifiers_loss_by_hand():
    class_logits = torch.tensor([[0.0, 0.0], [3.0, 0.0]]).log_softmax(1) + torch.tensor([[1.0], [5.0]])
    expected = (math.log(2) + math.log(1 + math.exp(3))) / 2  # what is added to all logits changes nothing
    assert losses.class_loss(class_logits, torch.tensor([0, 1])) == pytest.approx(expected, rel=1e-6)


def test_no_loss_overflows():
    for name in ("nonsaturating", "hinge", "relativistic"):
        far = torch.tensor([1e4])
        assert losses.discriminator_loss(LossConfig(name), -far, far).isfinite()


def test_the_penalties_of_a_linear_critic_by_hand():
    images = torch.randn(3, 1, 2, 2, requires_grad=True)
    weight = torch.tensor([1.0, 2.0, 2.0, 4.0]).view(1, 2, 2)  # of norm 5

    def logits():
        return (images * weight).sum((1, 2, 3))

    assert losses.squared_gradient(logits(), images) == pytest.approx(25)
    assert losses.gradient_penalty(logits(), images) == pytest.approx(16)


def test_the_accuracies_by_hand():
    assert [float(a) for a in losses.accuracies(LossConfig("hinge"), REAL, FAKE)] == [1, 0.5]
    assert [float(a) for a in losses.accuracies(LossConfig("least_squares"), REAL, FAKE)] == [0.5, 1]
    assert [float(a) for a in losses.accuracies(LossConfig("relativistic"), REAL, FAKE.flip(0))] == [1, 1]


def test_the_saturated_share_is_where_the_loss_is_flat():
    real, fake = torch.tensor([8.0, 9.0]), torch.tensor([-8.0, 4.0])
    for name, share in (
        ("nonsaturating", 0.75),
        ("relativistic", 0.5),
        ("wasserstein", 0),
        ("least_squares", 0),
        ("hinge", 0.75),
    ):
        assert losses.saturated(LossConfig(name), real, fake) == share
    assert losses.saturated(LossConfig("hinge"), real, -real) == 1
    assert losses.saturated(LossConfig("hinge"), -real, real) == 0


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return data.load(DataConfig(store=str(tmp_path_factory.mktemp("store")))).train


WITHOUT_NORM = {"discriminator_norm": "none"}
SHORT_RUNS = {
    "nonsaturating": ({}, {}),
    "hinge": ({"name": "hinge"}, {}),
    "least squares": ({"name": "least_squares"}, {}),
    "wgan_gp": ({"name": "wasserstein", "gradient_penalty": 10}, WITHOUT_NORM),
    "relativistic, R1 and R2": ({"name": "relativistic", "r1": 1, "r2": 1}, WITHOUT_NORM),
    "rare penalties": ({"r1": 1, "penalty_every": 4}, {}),
    "label smoothing": ({"label_smoothing": 0.1}, {}),
    "instance noise": ({"instance_noise": 0.2}, {}),
    "augmentation": ({"augment": ["color", "translation", "cutout"]}, {}),
    "spectral norm": ({}, {"spectral_norm": True}),
}


@pytest.mark.parametrize("variant", SHORT_RUNS)
def test_a_short_run_of_each_improves_the_samples(digits, variant):
    loss, model = SHORT_RUNS[variant]
    config = Config(
        model=ModelConfig(width=16, latent_dim=16, **model),
        loss=LossConfig(**loss),
        optim=OptimConfig(ema_decay=0.9),
    )
    config.steps = 120
    batches = data.Batches(digits, 32, 0, torch.device("cpu"))
    state = engine.build(config, 10, torch.device("cpu"))
    labels = torch.arange(500) % 10
    distance = SlicedWasserstein(digits[::9])

    def quality():
        return distance(sampling.generate_many(state.generator_ema, 500, labels))

    before = quality()
    for step in range(config.steps):
        engine.train_step(state, config, *batches[step])
    assert quality() < 0.7 * before


def test_what_has_no_effect_is_refused():
    with pytest.raises(UserError, match=r"label_smoothing=0\.1 has no effect with loss.name=hinge"):
        LossConfig("hinge", label_smoothing=0.1)
    with pytest.raises(UserError, match=r"loss\.augment=rotation is unknown; choose one of color, translation, cutout"):
        LossConfig(augment=["rotation"])
    with pytest.raises(UserError, match=r"loss\.r1=-1 must be at least 0"):
        LossConfig(r1=-1)
