"""What training is: the state, and one step of it. Tensors in, scalars out; no files, no clock."""

import copy
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Adam

from dcgan import parallel
from dcgan.augment import augmented
from dcgan.choices import LossName, Precision
from dcgan.config import Config, LossConfig
from dcgan.errors import UserError
from dcgan.images import diversity
from dcgan.losses import (
    accuracies,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    saturated,
    squared_gradient,
)
from dcgan.networks import Discriminator, Generator, initialise, spectral_normalise, to_device
from dcgan.randomness import random_generator

# What a checkpoint holds of a `TrainState`, beside the step.
PARTS = ("generator", "discriminator", "generator_ema", "generator_optimizer", "discriminator_optimizer")


@dataclass
class TrainState:
    """All that changes while training, and so all that a checkpoint holds."""

    generator: Generator
    discriminator: Discriminator
    generator_ema: Generator  # with averaged weights, in evaluation mode: the one to take samples from
    generator_optimizer: Adam
    discriminator_optimizer: Adam
    step: int = 0  # steps done

    def state_dict(self) -> dict[str, Any]:
        """Tensors and primitives only."""
        return {"step": self.step} | {part: getattr(self, part).state_dict() for part in PARTS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.step = state["step"]
        optimizers = (self.generator_optimizer, self.discriminator_optimizer)
        own = [dict(optimizer.param_groups[0]) for optimizer in optimizers]
        for part in PARTS:
            getattr(self, part).load_state_dict(state[part])
        for optimizer, settings in zip(optimizers, own, strict=True):
            optimizer.param_groups[0].update(settings)  # the state may be another run's, or another device's
            for parameter, moments in optimizer.state.items():
                for key in ("exp_avg", "exp_avg_sq"):
                    moments[key] = torch.empty_like(parameter).copy_(moments[key])  # in its memory format
                if settings["fused"]:  # which counts on the device
                    moments["step"] = moments["step"].to(parameter.device)


def build(config: Config, num_classes: int, device: torch.device) -> TrainState:
    """The state before the first step, a function of the seed; ``num_classes`` 0 for unconditional."""
    shape = (config.model, config.data.image_size, config.data.channels, num_classes)
    generator, discriminator = Generator(*shape), Discriminator(*shape)
    initialise(generator, config.seed, "generator")
    initialise(discriminator, config.seed, "discriminator")
    if config.model.spectral_norm:
        spectral_normalise(discriminator, config.seed)
    generator, discriminator = to_device(generator, device), to_device(discriminator, device)
    generator_ema = copy.deepcopy(generator).eval()
    if config.compile:
        compile_networks(generator, discriminator, device)
    optim = config.optim
    adam = partial(Adam, betas=(optim.betas[0], optim.betas[1]))
    if device.type == "cuda":  # all weights at once, in a way that can be recorded
        adam = partial(adam, fused=True, capturable=True)
    return TrainState(
        generator,
        discriminator,
        generator_ema,
        adam(generator.parameters(), lr=optim.generator_lr),
        adam(discriminator.parameters(), lr=optim.discriminator_lr),
    )


def compile_networks(generator: Generator, discriminator: Discriminator, device: torch.device) -> None:
    """Let `torch.compile` translate both; the first step takes the time for it.

    Raises:
        UserError: if the machine lacks what that takes, such as a C++ compiler.
    """
    try:
        torch.compile(torch.sin)(torch.zeros(2, device=device))
    except Exception as error:  # whichever backend is missing, with an error of its own
        reason = str(error).splitlines()[0]
        raise UserError(f"compile=true does not work on this machine ({reason}); leave it out") from error
    # The compiler looks for a gradient of the generated images, which are no leaf, and is warned.
    warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
    generator.compile()
    discriminator.compile()


class Inputs(NamedTuple):
    """All that a step computes from beside the state; numbers are tensors where the step is recorded."""

    real: Tensor  # (N, C, H, W) float32 in [-1, 1]; of several processes, this one's share of the batch
    labels: Tensor | None  # (N,) int64, of the real images and asked of the generated ones
    latents: Tensor  # (N, Z)
    discriminator_lr: float | Tensor
    generator_lr: float | Tensor
    ema_decay: float | Tensor


def train_step(
    state: TrainState, config: Config, real: Tensor, labels: Tensor | None, *, statistics: bool = True
) -> dict[str, Tensor]:
    """One update of the discriminator, then one of the generator, then of its average.

    Args:
        state: is changed in place.
        config: the run's settings.
        real: ``(N, C, H, W)`` float32 in [-1, 1]; of several processes, this one's share of the batch.
        labels: ``(N,)`` int64, of the real images and asked of the generated ones; None if unconditional.
        statistics: whether to return what only a reader needs, too: diversity, and what the logits say.

    Returns:
        Scalar tensors by name. Of several processes, each has those of its share.

    Raises:
        UserError: if a loss, a gradient or a parameter is not finite, before it spoils a parameter.
    """
    given = inputs(state, config, real, labels)
    set_learning_rates(state, given)
    scalars = update(state, config, given, statistics=statistics)
    state.step += 1
    return scalars | learning_rates(given)


def inputs(state: TrainState, config: Config, real: Tensor, labels: Tensor | None) -> Inputs:
    """What the next step computes from: the batch, its latents, and what the schedules say."""
    step, optim = state.step, config.optim
    random = random_generator(config.seed, "latents", step)
    latents = parallel.shard(state.generator.draw(len(real) * parallel.world_size(), random))
    rate = learning_rate_factor(step, config.steps, optim.decay_from)
    rates = (optim.discriminator_lr * rate, optim.generator_lr * rate)
    return Inputs(real, labels, latents.to(real.device), *rates, ema_decay(step, optim.ema_decay))


def set_learning_rates(state: TrainState, given: Inputs) -> None:
    """Let both optimisers take their next step with those that are given."""
    state.discriminator_optimizer.param_groups[0]["lr"] = given.discriminator_lr
    state.generator_optimizer.param_groups[0]["lr"] = given.generator_lr


def learning_rates(given: Inputs) -> dict[str, Tensor]:
    """Those of a step, for the reader."""
    return {
        "learning_rate/discriminator": torch.tensor(given.discriminator_lr),
        "learning_rate/generator": torch.tensor(given.generator_lr),
    }


def update(state: TrainState, config: Config, given: Inputs, *, statistics: bool) -> dict[str, Tensor]:
    """What `train_step` computes on the device."""
    g, d, step = state.generator, state.discriminator, state.step
    real, labels = given.real, given.labels

    # --- Discriminator ---
    with precision(config, real.device):
        fake = g(given.latents, labels)
        real_seen = discriminator_view(real, config, step, "real")
        # Detached: this loss shall not change the generator.
        fake_seen = discriminator_view(fake.detach(), config, step, "generated")
        real_logits, fake_logits, penalty = logits_and_penalty(d, config.loss, step, real_seen, fake_seen, labels)
    d_loss = discriminator_loss(config.loss, real_logits, fake_logits)
    d_grad_norm = _descend(state, d, state.discriminator_optimizer, d_loss + penalty)

    # --- Generator: by the same images, whose graph is still there, and the discriminator that has just learnt ---
    d.requires_grad_(False)  # its weights take no gradient here
    with precision(config, real.device):
        fake_logits_after = d(discriminator_view(fake, config, step, "generator's"), labels)
        compared = d(real_seen, labels) if config.loss.name is LossName.relativistic else None
    g_loss = generator_loss(config.loss, fake_logits_after, compared)
    g_grad_norm = _descend(state, g, state.generator_optimizer, g_loss)
    d.requires_grad_(True)

    # --- Averages: of BatchNorm's statistics, which are of a share, over processes; of the weights, over steps ---
    buffers = [buffer for network in (g, d) for buffer in network.buffers() if buffer.is_floating_point()]
    parallel.all_reduce_mean_(buffers)
    _average(state.generator_ema, g, given.ema_decay)
    scalars = {
        "loss/discriminator": d_loss,
        "loss/generator": g_loss,
        "gradient_norm/discriminator": d_grad_norm,
        "gradient_norm/generator": g_grad_norm,
        **({"loss/penalty": penalty} if penalty.requires_grad else {}),  # where one was computed
    }
    if statistics:
        relative = diversity(fake.detach(), labels) / diversity(real, labels).clamp(min=1e-6)
        scalars["generator/diversity"] = relative
        scalars |= logit_statistics(config.loss, real_logits, fake_logits, fake_logits_after)
    return {name: scalar.detach() for name, scalar in scalars.items()}


def precision(config: Config, device: torch.device) -> torch.autocast:
    """A context in which the networks compute as ``precision`` says."""
    lower = config.precision is Precision.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=lower)


def discriminator_view(images: Tensor, config: Config, step: int, which: str) -> Tensor:
    """What the discriminator is shown of images: changed and with noise, each time in a way of its own."""
    loss = config.loss
    random = random_generator(config.seed, parallel.per_process(f"augment {which}"), step)
    images = augmented(images, loss.augment, random)
    deviation = loss.instance_noise * (1 - step / config.steps)
    if deviation:
        random = random_generator(config.seed, parallel.per_process(f"noise {which}"), step, images.device)
        images = images + deviation * torch.randn(images.shape, generator=random, device=images.device)
    return images


def logits_and_penalty(
    d: Discriminator, loss: LossConfig, step: int, real: Tensor, fake: Tensor, labels: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The discriminator's logits for real and generated images, and the weighted penalty on its gradients."""
    # Rarely and heavily instead of always and lightly (lazy regularisation, Karras et al. 2020, section 3.1).
    weight = loss.penalty_every if penalty_is_due(loss, step) else 0
    r1, r2 = weight * loss.r1, weight * loss.r2
    real, fake = real.detach().requires_grad_(r1 > 0), fake.requires_grad_(r2 > 0)
    # A penalty derives a gradient, which compiled code cannot: its forward is taken as it is written.
    judge = d.forward if r1 or r2 or weight * loss.gradient_penalty else d
    real_logits, fake_logits = judge(real, labels), judge(fake, labels)
    penalty = real_logits.new_zeros(())
    if r1:
        penalty = penalty + r1 / 2 * squared_gradient(real_logits, real)
    if r2:
        penalty = penalty + r2 / 2 * squared_gradient(fake_logits, fake)
    if weight * loss.gradient_penalty:
        # The places between are not drawn but spread evenly: as uniform, and nothing random.
        count = len(real) * parallel.world_size()
        share = parallel.shard((torch.arange(count, device=real.device) + 0.5).view(-1, 1, 1, 1)) / count
        between = torch.lerp(real, fake, share).detach().requires_grad_(True)
        penalty = penalty + weight * loss.gradient_penalty * gradient_penalty(judge(between, labels), between)
    return real_logits, fake_logits, penalty


def penalty_is_due(loss: LossConfig, step: int) -> bool:
    """Whether the step after so many has a penalty."""
    return (step + 1) % loss.penalty_every == 0 and max(loss.r1, loss.r2, loss.gradient_penalty) > 0


def logit_statistics(loss: LossConfig, real: Tensor, fake: Tensor, fake_after: Tensor) -> dict[str, Tensor]:
    """What the logits say about who is winning."""
    accuracy_real, accuracy_fake = accuracies(loss, real, fake)
    logits = {"real": real, "fake_before": fake, "fake_after": fake_after}
    if loss.name is LossName.nonsaturating:  # else the logits are no log-odds
        shown = {f"discriminator/{name}": of.sigmoid().mean() for name, of in logits.items()}
    else:
        shown = {f"discriminator/logit_{name}": of.mean() for name, of in logits.items()}
    return {
        **shown,
        "discriminator/accuracy_real": accuracy_real,
        "discriminator/accuracy_fake": accuracy_fake,
        "discriminator/saturated": saturated(loss, real, fake),
    }


def learning_rate_factor(step: int, steps: int, decay_from: float) -> float:
    """What the learning rates are multiplied by: 1, from ``decay_from * steps`` on linearly falling to 0."""
    decay_begins = decay_from * steps
    return 1.0 if step < decay_begins else (steps - step) / (steps - decay_begins)


def ema_decay(step: int, most: float) -> float:
    """How much of the average stays; its memory is a ninth of the steps done, until that is what ``most`` says.

    With the full memory from the start, samples of the first thousand steps would be averages over untrained
    weights.
    """
    return min((1 + step) / (10 + step), most) if step else 0.0


@torch.no_grad()
def _average(ema: Generator, generator: Generator, decay: float | Tensor) -> None:
    """Move the averaged parameters on, and copy BatchNorm's statistics."""
    for averaged, new in zip(ema.parameters(), generator.parameters(), strict=True):
        averaged.lerp_(new, 1 - decay)
    for copied, now in zip(ema.buffers(), generator.buffers(), strict=True):
        copied.copy_(now)


def _descend(state: TrainState, network: nn.Module, optimizer: Adam, loss: Tensor) -> Tensor:
    """One step of a network down the loss; the norm of the gradient."""
    optimizer.zero_grad()
    loss.backward()
    gradients = [p.grad for p in optimizer.param_groups[0]["params"] if p.grad is not None]
    mean_loss = loss.detach().clone()
    parallel.all_reduce_mean_([*gradients, mean_loss])
    norm = nn.utils.get_total_norm(gradients)
    finite = torch.isfinite(mean_loss + norm)
    if loss.is_cuda and torch.cuda.is_current_stream_capturing():
        # There is no number to look at yet: when it is played, the optimiser does, and does nothing if it is not.
        optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
        optimizer.step()
        del optimizer.found_inf  # type: ignore[attr-defined]
        return norm
    if not finite:
        what = f"{_not_finite(network, mean_loss)} of the {type(network).__name__.lower()}"
        raise diverged(what, state.step + 1)
    optimizer.step()
    return norm


def diverged(what: str, step: int) -> UserError:
    """The end of a training in which something is not finite."""
    return UserError(
        f"{what} is not finite at step {step}: the training diverged; the last checkpoint is kept; start anew with "
        "smaller optim.generator_lr and optim.discriminator_lr, or with loss.r1=1"
    )


def _not_finite(network: nn.Module, loss: Tensor) -> str:
    """The first tensor that is not: a parameter spoils the loss, and the loss every gradient."""
    for name, parameter in network.named_parameters():
        if not parameter.isfinite().all():
            return f"the parameter {name}"
    if not loss.isfinite():
        return "the loss"
    for name, parameter in network.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            return f"the gradient of {name}"
    return "the norm of the gradient"
