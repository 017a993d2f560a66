"""One training step, and the random numbers in it."""

import copy
import dataclasses
import itertools

import pytest
import torch

from dcgan import engine
from dcgan.config import Config, LossConfig, ModelConfig, OptimConfig
from dcgan.errors import UserError
from dcgan.networks import Judgement
from dcgan.randomness import random_generator

CPU = torch.device("cpu")


@pytest.fixture
def config():
    return Config(model=ModelConfig(width=4, latent_dim=8), steps=10)


@pytest.fixture
def batch():
    return torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1, torch.arange(6)


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


# (1 + 1) / (10 + 1): after few steps the memory of the average is short.
@pytest.mark.parametrize(("ema_decay", "decay"), [(0.999, 2 / 11), (0.1, 0.1)])
def test_the_average_lerps_parameters_and_copies_statistics(config, batch, ema_decay, decay):
    config.optim.ema_decay = ema_decay
    state = engine.build(config, 10, CPU)
    for _ in range(2):
        engine.train_step(state, config, *batch)
        if state.step == 1:
            first = copy.deepcopy(state.generator.state_dict())
    for name, parameter in state.generator_ema.named_parameters():
        expected = decay * first[name] + (1 - decay) * state.generator.state_dict()[name]
        torch.testing.assert_close(parameter.data, expected)
    for name, buffer in state.generator_ema.named_buffers():
        assert torch.equal(buffer, state.generator.state_dict()[name])


@pytest.mark.parametrize(("decay", "weight"), [(0.5, 0.5), (0.999, 9 / 1010)])
def test_the_averages_memory_grows_up_to_the_one_that_was_set(decay, weight):
    assert 1 - engine.ema_decay(1000, decay) == pytest.approx(weight)


def rates_and_betas(state):
    groups = [o.param_groups for o in (state.generator_optimizer, state.discriminator_optimizer)]
    return [(pytest.approx(group["lr"]), group["betas"]) for (group,) in groups]


def test_each_optimiser_takes_the_step_with_its_own_rate(config, batch):
    config.optim = OptimConfig(generator_lr=1e-3, discriminator_lr=4e-3, betas=[0.3, 0.9], decay_from=0.5)
    state = engine.build(config, 10, CPU)
    state.step = 6  # of 10 steps: a fifth of the way from 5 to 10
    scalars = engine.train_step(state, config, *batch)
    assert rates_and_betas(state) == [(0.8e-3, (0.3, 0.9)), (3.2e-3, (0.3, 0.9))]
    assert scalars["learning_rate/generator"] == pytest.approx(0.8e-3)
    assert scalars["learning_rate/discriminator"] == pytest.approx(3.2e-3)


def test_a_run_that_goes_on_from_anothers_state_keeps_its_own_rates_and_betas(config, batch):
    other = engine.build(config, 10, CPU)  # betas of 0 and 0.99
    engine.train_step(other, config, *batch)
    config.optim = OptimConfig(generator_lr=1e-4, discriminator_lr=2e-4, betas=[0.5, 0.999])
    state = engine.build(config, 10, CPU)
    state.load_state_dict(copy.deepcopy(other.state_dict()))
    engine.train_step(state, config, *batch)
    assert rates_and_betas(state) == [(1e-4, (0.5, 0.999)), (2e-4, (0.5, 0.999))]
    assert state.step == 2
    for optimizer in (state.generator_optimizer, state.discriminator_optimizer):
        assert {int(moments["step"]) for moments in optimizer.state.values()} == {2}


def test_the_optimisers_moments_take_the_memory_format_of_the_parameters(config, batch):
    """A GPU updates all parameters at once only if moments and parameters share a format; the CPU's format differs."""
    state, other = (engine.build(config, 10, CPU) for _ in range(2))
    engine.train_step(state, config, *batch)
    for network in (other.generator, other.discriminator):
        network.to(memory_format=torch.contiguous_format)
    other.load_state_dict(state.state_dict())
    strides = set()
    for mine, theirs in (
        (state.generator_optimizer, other.generator_optimizer),
        (state.discriminator_optimizer, other.discriminator_optimizer),
    ):
        for (one, moments), (parameter, loaded) in zip(mine.state.items(), theirs.state.items(), strict=True):
            strides.add(one.stride() == parameter.stride())
            for key in ("exp_avg", "exp_avg_sq"):
                assert loaded[key].stride() == parameter.stride()
                assert torch.equal(loaded[key], moments[key])
    assert strides == {True, False}


@pytest.mark.parametrize("upsample", ["scratch", "builtin"])
def test_bfloat16_is_for_what_the_networks_compute_and_for_nothing_else(config, batch, upsample):
    config.model.upsample = upsample
    config.loss.penalty_every = 1  # tests the gradient of a gradient, too
    exact = engine.train_step(engine.build(config, 10, CPU), config, *batch)
    config = dataclasses.replace(config, precision="bfloat16")
    state = engine.build(config, 10, CPU)
    maps = []
    for layer in (*state.generator.layers, *state.discriminator.layers):
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            layer.register_forward_hook(lambda *given: maps.append(given[2].dtype))
    scalars = engine.train_step(state, config, *batch)
    assert set(maps) == {torch.bfloat16}
    assert {tensor.dtype for tensor in (*state.generator.parameters(), *scalars.values())} == {torch.float32}
    # bfloat16 keeps 8 significant bits, and the penalty is the square of a gradient through all layers.
    for name, near in {"loss/discriminator": 0.02, "loss/generator": 0.02, "loss/penalty": 0.1}.items():
        assert scalars[name] == pytest.approx(float(exact[name]), rel=near)


def test_compiled_networks_train_as_they_do_otherwise(config, batch):
    config.loss.penalty_every = 2
    scalars = []
    for config.compile in (False, True):
        state = engine.build(config, 10, CPU)
        scalars += [engine.train_step(state, config, *batch) for _ in range(2)]  # the second step has a penalty
        sample = state.generator_ema(torch.zeros(1, 8), batch[1][:1])
    for expected, got in zip(scalars[:2], scalars[2:], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)
    assert sample.isfinite().all()
    assert all("_orig_mod" not in name for name in state.state_dict()["generator"])


def test_a_machine_that_cannot_compile_is_told_so(config, monkeypatch):
    def broken(_):
        raise RuntimeError("no C++ compiler\nand a long story")

    monkeypatch.setattr("torch.compile", broken)
    config.compile = True
    with pytest.raises(UserError, match=r"^compile=true does not work on this machine \(no C\+\+ compiler\); "):
        engine.build(config, 10, CPU)


def test_the_classifier_learns_from_real_images_and_judges_generated_ones(config, batch):
    config.loss.auxiliary_classifier, config.precision = 2.0, "bfloat16"
    state, (images, labels), made = engine.build(config, 10, CPU), batch, []
    state.generator.register_forward_hook(lambda *given: made.append(given[2].detach()))
    before = copy.deepcopy(state.discriminator)
    told = engine.train_step(state, config, images, labels)
    for of, discriminator, seen in (
        ("loss/class_real", before, images),
        ("loss/class_fake", state.discriminator, made[0]),  # the updated one
    ):
        with torch.autocast("cpu", torch.bfloat16):
            class_logits = discriminator(seen, labels).class_logits
        assert class_logits.dtype is torch.float32
        expected = torch.nn.functional.cross_entropy(class_logits, labels).item()
        assert told[of] == pytest.approx(expected, rel=1e-3)


def test_the_classifiers_weight_is_that_of_its_gradient_in_both_networks(config, batch):
    gradients = []
    for config.loss.auxiliary_classifier in (0.0, 1.0, 3.0):
        config.optim.discriminator_lr = 1e-9  # the generator's gradient must be through the same discriminator
        state = engine.build(config, 10, CPU)
        told = engine.train_step(state, config, *batch)
        assert ("loss/class_real" in told) == (config.loss.auxiliary_classifier > 0)
        weights = {"g": state.generator.layers[0].weight, "d": state.discriminator.layers[0].weight}
        gradients.append({name: weight.grad for name, weight in weights.items()})
    none, once, thrice = gradients
    for name in none:
        assert (once[name] - none[name]).norm() > 1e-2 * none[name].norm()
        torch.testing.assert_close(thrice[name] - none[name], 3 * (once[name] - none[name]), rtol=1e-3, atol=1e-6)


def test_a_classifier_needs_classes(config):
    config.loss.auxiliary_classifier = 0.5
    with pytest.raises(
        UserError, match=r"^loss\.auxiliary_classifier=0\.5 needs classes, which these pictures do not have; "
    ):
        engine.build(config, 0, CPU)


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


def spoil_the_pictures(state, real):
    real[3, 0, 5, 5] = float("nan")


def spoil_a_parameter(state, real):
    state.discriminator.layers[3].bias.data[2] = float("inf")


def spoil_a_gradient(state, real):
    state.discriminator.layers[2].weight.register_hook(lambda gradient: gradient * float("nan"))


def spoil_the_generator(state, real):
    state.generator.layers[0].weight.register_hook(lambda gradient: gradient * float("inf"))


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (spoil_the_pictures, "the loss of the discriminator"),
        (spoil_a_parameter, "the parameter layers.3.bias of the discriminator"),
        (spoil_a_gradient, "the gradient of layers.2.weight of the discriminator"),
        (spoil_the_generator, "the gradient of layers.0.weight of the generator"),
    ],
)
def test_a_step_that_is_not_finite_is_stopped_before_the_update(config, batch, spoil, named):
    state = engine.build(config, 10, CPU)
    real, labels = batch
    spoil(state, real)
    before = copy.deepcopy(state.state_dict())
    with pytest.raises(UserError, match=f"{named} is not finite at step 1: "):
        engine.train_step(state, config, real, labels)
    spoilt = "generator" if "generator" in named else "discriminator"
    for name, tensor in getattr(state, spoilt).named_parameters():
        assert torch.equal(tensor, before[spoilt][name])
    assert state.step == 0


def test_every_step_draws_anew_what_its_seed_and_number_say(config, batch, monkeypatch):
    config.loss.augment, config.loss.instance_noise = ["translation"], 0.1
    state, drawn = engine.build(config, 10, CPU), {"latents": [], "changed": [], "noise": []}
    state.generator.register_forward_hook(lambda *given: drawn["latents"].append(given[1][0]))

    def augmented(images, changes, random):
        drawn["changed"].append(random)
        return 0 * images  # so that the discriminator is shown the noise alone

    state.discriminator.register_forward_pre_hook(lambda _, seen: drawn["noise"].append(seen[0].detach()))
    monkeypatch.setattr(engine, "augmented", augmented)
    for _ in range(3):
        engine.train_step(state, config, *batch)
    monkeypatch.undo()
    assert [len(draws) for draws in drawn.values()] == [3, 9, 9]  # per step: real, generated, the generator's
    for draws in drawn.values():
        assert len({draw.numpy().tobytes() for draw in draws}) == len(draws)
    again = torch.randn(6, 8, generator=random_generator(config.seed, "latents", 2))
    assert torch.equal(drawn["latents"][2], again)


def test_what_is_only_told_of_a_step_does_not_change_it(config, batch):
    with_statistics, without = engine.build(config, 10, CPU), engine.build(config, 10, CPU)
    told = engine.train_step(with_statistics, config, *batch)
    untold = engine.train_step(without, config, *batch, statistics=False)
    assert told.keys() - untold.keys() >= {"generator/diversity", "discriminator/accuracy_real"}
    assert 0 < told["discriminator/real"] < 1
    for one, two in zip(with_statistics.generator.parameters(), without.generator.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_probability_is_told_only_where_a_logit_is_one(config, batch):
    config.loss = LossConfig("least_squares")
    told = engine.train_step(engine.build(config, 10, CPU), config, *batch)
    assert {"discriminator/logit_real", "discriminator/logit_fake_before"} <= told.keys()
    assert "discriminator/real" not in told


def test_two_draws_of_what_the_discriminator_is_shown_are_independent(config, batch):
    config.loss.instance_noise = 0.5
    state = engine.build(config, 10, CPU)
    state.step = 3  # of 10
    given = engine.inputs(state, config, *batch)
    noise = [engine.discriminator_view(batch[0], config.loss, given, which) - batch[0] for which in engine.VIEWS]
    for one, two in itertools.combinations(noise, 2):
        assert torch.corrcoef(torch.stack([one.flatten(), two.flatten()]))[0, 1].abs() < 0.1
    for drawn in noise:
        assert drawn.std() == pytest.approx(0.5 * 0.7, rel=0.05)


def test_each_process_draws_its_own_changes_and_its_share_of_the_latents(config, batch, monkeypatch):
    config.loss.augment, config.loss.instance_noise = ["color"], 0.1
    state, (real, labels) = engine.build(config, 10, CPU), batch
    alone = engine.inputs(state, config, torch.cat([real, real]), torch.cat([labels, labels]))
    monkeypatch.setenv("WORLD_SIZE", "2")
    shares = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        shares.append(engine.inputs(state, config, real, labels))
    assert torch.equal(torch.cat([share.latents for share in shares]), alone.latents)
    assert (shares[0].changes != shares[1].changes).all()
    assert (shares[0].noise != shares[1].noise).all()


def test_the_discriminator_sees_nothing_but_what_is_shown(config, batch):
    config.loss = LossConfig("relativistic", augment=["cutout"])
    state, seen, made = engine.build(config, 10, CPU), [], []
    state.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    state.generator.register_forward_hook(lambda _, inputs, images: made.append(images.detach().clone()))
    engine.train_step(state, config, *batch)
    assert len(made) == 1
    assert len(seen) == 4  # real, generated; generated, real
    for images, whole in zip(seen, (batch[0], made[0], made[0], batch[0]), strict=True):
        cut = (images == 0) & (whole != 0)
        assert cut.flatten(1).any(1).all()
        assert torch.equal(images.where(~cut, whole), whole)
    assert not torch.equal(seen[1] == 0, seen[2] == 0)


@pytest.mark.parametrize(("every", "steps"), [(1, [0, 1, 2, 3]), (4, [3]), (3, [2])])
def test_penalties_come_when_they_are_due(config, batch, every, steps):
    config.loss.r1, config.loss.penalty_every = 1.0, every
    state = engine.build(config, 10, CPU)
    due = [step for step in range(4) if "loss/penalty" in engine.train_step(state, config, *batch)]
    assert due == steps


def half_the_squared_length(images, _):
    """Act as a discriminator whose gradient is the image."""
    return Judgement(images.square().flatten(1).sum(1) / 2, None)


half_the_squared_length.forward = half_the_squared_length


@pytest.mark.parametrize(
    ("penalties", "real", "fake", "expected"),
    [
        ({"r1": 1}, [3, 4], [0, 2], 12.5),  # 5 * 5 / 2
        ({"r1": 0, "r2": 1}, [3, 4], [0, 2], 2),
        ({"r1": 1, "r2": 1}, [3, 4], [4, 3], 12.5 + 12.5),
        ({"r1": 0, "gradient_penalty": 10}, [6, 8], [0, 0], 160),  # the norm half-way is 5: 10 * (5 - 1)^2
        ({"r1": 3, "r2": 2, "gradient_penalty": 10}, [6, 8], [0, 0], 150 + 0 + 160),
    ],
    ids=str,
)
@pytest.mark.parametrize(("every", "step", "times"), [(1, 0, 1), (1, 1, 1), (4, 2, 0), (4, 3, 4), (4, 4, 0)])
def test_penalties_by_hand(penalties, real, fake, expected, every, step, times):
    loss = LossConfig(penalty_every=every, **penalties)
    images = [torch.tensor([[[pixels]]], dtype=torch.float32) for pixels in (real, fake)]
    *judged, penalty = engine.judgements_and_penalty(half_the_squared_length, loss, step, *images, None)
    assert penalty == times * expected
    assert [of.logits.tolist() for of in judged] == [[(a * a + b * b) / 2] for a, b in (real, fake)]


def test_a_penalty_is_the_mean_over_images_at_places_evenly_spread_between():
    real, fake = torch.full((2, 1, 1, 1), 8.0), torch.zeros(2, 1, 1, 1)
    loss = LossConfig(r1=1, r2=0, gradient_penalty=1, penalty_every=1)
    # The places are 1/4 and 3/4 of the way from 8 to 0: (6 - 1)^2 and (2 - 1)^2.
    penalty = engine.judgements_and_penalty(half_the_squared_length, loss, 0, real, fake, None)[2]
    assert penalty == 32 + (25 + 1) / 2


def test_a_rare_penalty_has_as_many_times_the_weight(config, batch):
    real, labels = batch
    state, penalties = engine.build(config, 10, CPU).discriminator.eval(), []
    for every in (1, 5):
        config.loss.r1, config.loss.penalty_every = 1.0, every
        penalties.append(engine.judgements_and_penalty(state, config.loss, 4, real, real.clone(), labels)[2].item())
    assert penalties[1] == pytest.approx(5 * penalties[0])


def test_spectral_norm_leaves_no_singular_value_above_one(config):
    config.model.spectral_norm = True
    discriminator = engine.build(config, 10, CPU).discriminator.eval()
    torch.rand(7)
    again = engine.build(config, 10, CPU).discriminator.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in discriminator.state_dict().items())
    weights = [
        m.weight.detach() for m in discriminator.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Embedding)
    ]
    assert len(weights) == 5  # three halvings, the head, the classes
    for weight in weights:
        assert torch.linalg.matrix_norm(weight.flatten(1), 2) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("step", "decay_from", "factor"), [(0, 0.5, 1), (5, 0.5, 1), (6, 0.5, 0.8), (9, 0.5, 0.2), (9, 1, 1)]
)
def test_the_learning_rate_falls_linearly_at_the_end(step, decay_from, factor):
    assert engine.learning_rate_factor(step, 10, decay_from) == pytest.approx(factor)


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 5]], ids=["two of each", "one of each"])
def test_as_diverse_as_the_real_images_is_one_also_where_no_two_are_of_one_class(config, labels):
    state, labels = engine.build(config, 10, CPU), torch.tensor(labels)
    latents = state.generator.draw(6, random_generator(config.seed, "latents", 0))
    real = state.generator(latents, labels).detach()  # the images that the step will generate
    assert engine.train_step(state, config, real, labels)["generator/diversity"] == pytest.approx(1)
