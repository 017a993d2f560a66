"""Steps that are recorded on a GPU train like steps that are not."""

import copy
import dataclasses
import gc

import pytest
import torch

from dcgan import cuda_graphs, engine
from dcgan.config import Config, LossConfig, ModelConfig
from dcgan.errors import UserError

GPU = torch.device("cuda")
STEPS = 12


def gpu(test):
    """Mark a test that needs a GPU, and that needs computations to be repeatable as far as possible."""
    needed = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none here")
    return needed(pytest.mark.usefixtures("same_kernels")(test))


@pytest.fixture
def same_kernels():
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


def a_config(**settings):
    return Config(model=ModelConfig(width=4, latent_dim=8), steps=STEPS, batch_size=6, log_every=2, **settings)


def batches(device=GPU):
    random = torch.Generator().manual_seed(0)
    return [torch.rand(6, 1, 28, 28, generator=random).to(device) * 2 - 1 for _ in range(STEPS)]


def trained(config, step_with):
    """Return the state after all steps, and the metrics of each step."""
    labels = torch.arange(6, device=GPU) if config.model.conditional else None
    state = engine.build(config, 10 if config.model.conditional else 0, GPU)
    told = []
    for number, real in enumerate(batches()):
        scalars = step_with(state, config, real, labels, statistics=number % config.log_every == 0)
        told.append({name: float(value) for name, value in scalars.items()})
    return state, told


@gpu
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"loss": LossConfig(name="wasserstein", r1=0, gradient_penalty=10, penalty_every=1)},
        {"loss": LossConfig(name="relativistic", r1=1, r2=1)},
        {"loss": LossConfig(auxiliary_classifier=1)},
        {"loss": LossConfig(augment=["color", "translation", "cutout"], instance_noise=0.1)},
        {"model": ModelConfig(width=4, latent_dim=8, spectral_norm=True, upsample="builtin")},
        {"model": ModelConfig(width=4, latent_dim=8, conditional=False, upsample="resize")},
        {"precision": "bfloat16"},
        {"compile": True},
    ],
    ids=str,
)
def test_recorded_steps_train_as_others_do(change):
    config = dataclasses.replace(a_config(), **change)
    expected, all_told = trained(config, engine.train_step)
    recorder = cuda_graphs.RecordedSteps()
    state, told = trained(config, recorder)
    assert all(recorder.graphs.values())
    near = 0.05 if config.precision == "bfloat16" else 1e-3
    for mine, theirs in zip(told, all_told, strict=True):
        assert mine == pytest.approx(theirs, rel=near, abs=near)
    assert state.step == expected.step == STEPS
    if config.precision == "bfloat16":
        return  # within its rounding, weights that have hardly moved agree with any
    for network in ("generator", "discriminator", "generator_ema"):
        for one, two in zip(*(getattr(s, network).parameters() for s in (state, expected)), strict=True):
            torch.testing.assert_close(one, two, rtol=near, atol=near)


@gpu
def test_a_recorded_step_that_is_not_finite_is_stopped_before_the_update():
    config, labels = a_config(), torch.arange(6, device=GPU)
    state, step_with = engine.build(config, 10, GPU), cuda_graphs.RecordedSteps()
    for real in batches()[:-1]:
        step_with(state, config, real, labels)
    assert all(step_with.graphs.values())
    before = copy.deepcopy(state.discriminator.state_dict())
    with pytest.raises(UserError, match="the loss of the discriminator is not finite at step 12"):
        step_with(state, config, torch.full((6, 1, 28, 28), torch.inf, device=GPU), labels)
    for name, parameter in state.discriminator.named_parameters():
        assert torch.equal(parameter, before[name])
    assert all(parameter.isfinite().all() for parameter in state.generator.parameters())
    assert state.step == STEPS - 1


@gpu
def test_the_runs_of_a_sweep_leave_no_memory_behind():
    held = []
    for _ in range(3):
        trained(a_config(), cuda_graphs.RecordedSteps())
        gc.collect()
        held.append(torch.cuda.memory_allocated())
    assert held[2] - held[0] < 2**20


@gpu
def test_a_state_goes_from_the_cpu_to_a_gpu_and_back():
    config, labels, cpu = a_config(), torch.arange(6), torch.device("cpu")
    states = [engine.build(config, 10, device) for device in (cpu, GPU, cpu)]
    step_with = [cuda_graphs.train_step_on(device, config) for device in (cpu, GPU, cpu)]
    for number, real in enumerate(batches(cpu)):
        at = (number >= 4) + (number >= 7)  # the GPU's last step is a recorded one
        if number in (4, 7):
            states[at].load_state_dict(copy.deepcopy(states[at - 1].state_dict()))
        device = next(states[at].generator.parameters()).device
        step_with[at](states[at], config, real.to(device), labels.to(device))
    expected = engine.build(config, 10, cpu)
    for real in batches(cpu):
        engine.train_step(expected, config, real, labels)
    assert states[2].step == STEPS
    for one, two in zip(states[2].generator_ema.parameters(), expected.generator_ema.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3)
    assert isinstance(states[1].generator_optimizer.param_groups[0]["lr"], float)


@pytest.mark.parametrize(
    ("device", "settings"),
    [
        ("cpu", {"seed": 0}),
        ("cuda", {"cuda_graphs": False}),
        ("cuda", {"model": ModelConfig(algorithm="matrix")}),
        ("cuda", {}),  # with two processes
    ],
)
def test_what_cannot_be_recorded_is_done_as_it_is_written(monkeypatch, device, settings):
    monkeypatch.setattr(cuda_graphs, "RecordedSteps", lambda: "recorded")
    assert cuda_graphs.train_step_on(GPU, a_config()) == "recorded"
    if not settings:
        monkeypatch.setenv("WORLD_SIZE", "2")
    config = dataclasses.replace(a_config(), **settings)
    assert cuda_graphs.train_step_on(torch.device(device), config) is engine.train_step
