"""One training step, and what is random in it."""

import copy

import pytest
import torch

from dcgan import engine
from dcgan.config import Config, ModelConfig
from dcgan.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture
def config():
    return Config(model=ModelConfig(width=4, latent_dim=8), steps=10)


@pytest.fixture
def batch():
    return torch.rand(6, 1, 28, 28) * 2 - 1, torch.arange(6)


def test_a_seed_gives_the_same_networks_whatever_was_drawn_before(config):
    one = engine.build(config, 10, CPU)
    torch.rand(7)
    two = engine.build(config, 10, CPU)
    for first, second in zip(one.generator.parameters(), two.generator.parameters(), strict=True):
        assert torch.equal(first, second)
    config.seed = 1
    other = engine.build(config, 10, CPU)
    assert not torch.equal(next(one.generator.parameters()), next(other.generator.parameters()))


def test_the_state_holds_all_that_a_step_depends_on(config, batch):
    state = engine.build(config, 10, CPU)
    engine.train_step(state, config, *batch)
    copied = engine.build(config, 10, CPU)
    copied.load_state_dict(copy.deepcopy(state.state_dict()))
    expected, got = (engine.train_step(s, config, *batch) for s in (state, copied))
    assert expected == got
    for one, two in zip(state.generator_ema.parameters(), copied.generator_ema.parameters(), strict=True):
        assert torch.equal(one, two)


def test_the_average_lerps_parameters_and_copies_statistics(config, batch):
    state = engine.build(config, 10, CPU)
    for _ in range(2):
        engine.train_step(state, config, *batch)
        if state.step == 1:
            first = copy.deepcopy(state.generator.state_dict())
    decay = 2 / 11  # (1 + 1) / (10 + 1): the memory is short while there is little to remember
    for name, parameter in state.generator_ema.named_parameters():
        expected = decay * first[name] + (1 - decay) * state.generator.state_dict()[name]
        torch.testing.assert_close(parameter.data, expected)
    for name, buffer in state.generator_ema.named_buffers():
        assert torch.equal(buffer, state.generator.state_dict()[name])


def test_the_generators_step_leaves_no_gradient_in_the_discriminator(config, batch, monkeypatch):
    state = engine.build(config, 10, CPU)
    seen = {}
    step = state.generator_optimizer.step

    def watched():
        seen["d"] = [p.grad.clone() for p in state.discriminator.parameters()]
        return step()

    d_step = state.discriminator_optimizer.step

    def d_watched():
        seen["after d"] = [p.grad.clone() for p in state.discriminator.parameters()]
        return d_step()

    monkeypatch.setattr(state.generator_optimizer, "step", watched)
    monkeypatch.setattr(state.discriminator_optimizer, "step", d_watched)
    engine.train_step(state, config, *batch)
    assert all(torch.equal(one, two) for one, two in zip(seen["after d"], seen["d"], strict=True))
    assert all(p.requires_grad for p in state.discriminator.parameters())


def test_a_step_that_is_not_finite_is_stopped_before_the_update(config, batch):
    state = engine.build(config, 10, CPU)
    before = copy.deepcopy(state.discriminator.state_dict())
    real, labels = batch
    real[3, 0, 5, 5] = float("nan")
    with pytest.raises(UserError, match="discriminator at step 1 is not finite"):
        engine.train_step(state, config, real, labels)
    for name, parameter in state.discriminator.named_parameters():
        assert torch.equal(parameter, before[name])
    assert state.step == 0


@pytest.mark.parametrize(
    ("step", "decay_from", "factor"), [(0, 0.5, 1), (5, 0.5, 1), (6, 0.5, 0.8), (9, 0.5, 0.2), (9, 1, 1)]
)
def test_the_learning_rate_falls_linearly_at_the_end(step, decay_from, factor):
    assert engine.learning_rate_factor(step, 10, decay_from) == pytest.approx(factor)
