"""The state of a training and one step of it: tensors in, scalars out; no files, no clock."""

import copy
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Adam

from dcgan import parallel
from dcgan.augment import NUMBERS, augmented
from dcgan.choices import LossName, Precision
from dcgan.config import Config, LossConfig
from dcgan.errors import UserError
from dcgan.images import diversity
from dcgan.losses import (
    accuracies,
    class_loss,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    saturated,
    squared_gradient,
)
from dcgan.networks import Discriminator, Generator, Judgement, initialise, spectral_normalise, to_device
from dcgan.randomness import random_generator

# The parts of a `TrainState` that a checkpoint holds, besides the step.
PARTS = ("generator", "discriminator", "generator_ema", "generator_optimizer", "discriminator_optimizer")
# What the discriminator is shown in a step: images of the two kinds, and the generated ones again for the generator.
VIEWS = ("real", "generated", "generator's")


@dataclass
class TrainState:
    """Everything that changes during training, and so everything that a checkpoint must hold."""

    generator: Generator
    discriminator: Discriminator
    generator_ema: Generator  # averaged weights, in evaluation mode; draw samples from this one
    generator_optimizer: Adam
    discriminator_optimizer: Adam
    step: int = 0  # steps done

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and primitives only."""
        return {"step": self.step} | {part: getattr(self, part).state_dict() for part in PARTS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        self.step = state["step"]
        optimizers = (self.generator_optimizer, self.discriminator_optimizer)
        own = [dict(optimizer.param_groups[0]) for optimizer in optimizers]
        for part in PARTS:
            getattr(self, part).load_state_dict(state[part])
        for optimizer, settings in zip(optimizers, own, strict=True):
            optimizer.param_groups[0].update(settings)  # the state may come from another run or device
            for parameter, moments in optimizer.state.items():
                for key in ("exp_avg", "exp_avg_sq"):
                    moments[key] = torch.empty_like(parameter).copy_(moments[key])  # in the parameter's layout
                if settings["fused"]:  # fused Adam counts its steps on the device
                    moments["step"] = moments["step"].to(parameter.device)


def build(config: Config, num_classes: int, device: torch.device) -> TrainState:
    """Build the state before the first step, a function of the seed; ``num_classes`` is 0 if unconditional.

    Raises:
        UserError: if an auxiliary classifier is asked for where there are no classes.
    """
    classifies = config.loss.auxiliary_classifier > 0
    if classifies and not num_classes:
        raise UserError(
            f"loss.auxiliary_classifier={config.loss.auxiliary_classifier:g} needs classes, which these pictures do "
            "not have; leave it out, or put each class into a directory of its own (for celeba, set data.label=)"
        )
    shape = (config.model, config.data.image_size, config.data.channels, num_classes)
    generator, discriminator = Generator(*shape), Discriminator(*shape, classifies=classifies)
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
    if device.type == "cuda":  # fused: all weights at once; capturable: a CUDA graph can record it
        adam = partial(adam, fused=True, capturable=True)
    return TrainState(
        generator,
        discriminator,
        generator_ema,
        adam(generator.parameters(), lr=optim.generator_lr),
        adam(discriminator.parameters(), lr=optim.discriminator_lr),
    )


def compile_networks(generator: Generator, discriminator: Discriminator, device: torch.device) -> None:
    """Compile both networks with `torch.compile`; the compilation itself takes place in the first step.

    Raises:
        UserError: if the machine lacks what `torch.compile` needs, such as a C++ compiler.
    """
    try:
        torch.compile(torch.sin)(torch.zeros(2, device=device))
    except Exception as error:  # each missing backend raises an exception of its own
        reason = str(error).splitlines()[0]
        raise UserError(f"compile=true does not work on this machine ({reason}); leave it out") from error
    # The compiler reads the .grad of the generated images. They are not a leaf, so PyTorch warns.
    warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
    generator.compile()
    discriminator.compile()


class Inputs(NamedTuple):
    """All inputs of a step besides the state; the numbers are tensors if the step is recorded."""

    real: Tensor  # (N, C, H, W) float32 in [-1, 1]; with several processes, this one's share of the batch
    labels: Tensor | None  # (N,) int64: classes of the real images, requested of the generated ones, too
    latents: Tensor  # (N, Z)
    changes: Tensor | None  # (VIEWS, NUMBERS, N) in [0, 1): decides how each image is augmented in each view
    noise: Tensor | None  # (VIEWS, N, C, H, W): is added to each view
    discriminator_lr: float | Tensor
    generator_lr: float | Tensor
    ema_decay: float | Tensor


def train_step(
    state: TrainState, config: Config, real: Tensor, labels: Tensor | None, *, statistics: bool = True
) -> dict[str, Tensor]:
    """Update the discriminator, then the generator, then the average of the generator's weights.

    Args:
        state: changed in place.
        config: the run's settings.
        real: ``(N, C, H, W)`` float32 in [-1, 1]; with several processes, this one's share of the batch.
        labels: ``(N,)`` int64, of the real images and requested of the generated ones; None if unconditional.
        statistics: whether to include scalars that only serve the reader: diversity and `logit_statistics`.

    Returns:
        Scalar tensors by name: of this process's share, except for the norms, which are of the averaged gradients.

    Raises:
        UserError: if a loss, a gradient or a parameter is not finite; the optimiser does not apply it.
    """
    given = inputs(state, config, real, labels)
    set_learning_rates(state, given)
    scalars = update(state, config, given, statistics=statistics)
    state.step += 1
    return scalars | learning_rates(given)


def inputs(state: TrainState, config: Config, real: Tensor, labels: Tensor | None) -> Inputs:
    """The inputs of the next step: the batch, all that is drawn at random, and the values of the schedules."""
    step, optim, loss, device = state.step, config.optim, config.loss, real.device
    random = random_generator(config.seed, "latents", step)
    latents = parallel.shard(state.generator.draw(len(real) * parallel.world_size(), random))
    changes = noise = None
    if loss.augment:
        random = random_generator(config.seed, parallel.per_process("changes"), step)
        changes = torch.rand(len(VIEWS), NUMBERS, len(real), generator=random).to(device)
    if loss.instance_noise:
        random = random_generator(config.seed, parallel.per_process("noise"), step, device)
        deviation = loss.instance_noise * (1 - step / config.steps)
        noise = deviation * torch.randn(len(VIEWS), *real.shape, generator=random, device=device)
    rate = learning_rate_factor(step, config.steps, optim.decay_from)
    rates = (optim.discriminator_lr * rate, optim.generator_lr * rate)
    return Inputs(real, labels, latents.to(device), changes, noise, *rates, ema_decay(step, optim.ema_decay))


def set_learning_rates(state: TrainState, given: Inputs) -> None:
    """Set the learning rates that both optimisers use in their next step."""
    state.discriminator_optimizer.param_groups[0]["lr"] = given.discriminator_lr
    state.generator_optimizer.param_groups[0]["lr"] = given.generator_lr


def learning_rates(given: Inputs) -> dict[str, Tensor]:
    """The learning rates of a step as scalars to log."""
    return {
        "learning_rate/discriminator": torch.tensor(given.discriminator_lr),
        "learning_rate/generator": torch.tensor(given.generator_lr),
    }


def update(state: TrainState, config: Config, given: Inputs, *, statistics: bool) -> dict[str, Tensor]:
    """The part of `train_step` that runs on the device."""
    g, d, step = state.generator, state.discriminator, state.step
    real, labels = given.real, given.labels

    # --- Discriminator ---
    with precision(config, real.device):
        fake = g(given.latents, labels)
        real_seen = discriminator_view(real, config.loss, given, "real")
        # Detached: the discriminator's loss must not change the generator.
        fake_seen = discriminator_view(fake.detach(), config.loss, given, "generated")
        of_real, of_fake, penalty = judgements_and_penalty(d, config.loss, step, real_seen, fake_seen, labels)
    d_loss = discriminator_loss(config.loss, of_real.logits, of_fake.logits)
    d_total, class_losses = d_loss + penalty, {}
    if weight := config.loss.auxiliary_classifier:
        class_losses["loss/class_real"] = class_loss(of_real.class_logits, labels)
        d_total = d_total + weight * class_losses["loss/class_real"]
    d_grad_norm = _descend(state, d, state.discriminator_optimizer, d_total)

    # --- Generator: learns from the same images, whose graph still exists, and the updated discriminator ---
    d.requires_grad_(False)  # the generator's loss needs no gradient of these weights
    with precision(config, real.device):
        of_fake_after = d(discriminator_view(fake, config.loss, given, "generator's"), labels)
        compared = d(real_seen, labels).logits if config.loss.name is LossName.relativistic else None
    g_loss = generator_loss(config.loss, of_fake_after.logits, compared)
    g_total = g_loss
    if weight:
        class_losses["loss/class_fake"] = class_loss(of_fake_after.class_logits, labels)
        g_total = g_total + weight * class_losses["loss/class_fake"]
    g_grad_norm = _descend(state, g, state.generator_optimizer, g_total)
    d.requires_grad_(True)

    # --- Averages: BatchNorm's statistics, each of a share, over processes; the generator's weights over steps ---
    buffers = [buffer for network in (g, d) for buffer in network.buffers() if buffer.is_floating_point()]
    parallel.all_reduce_mean_(buffers)
    _average(state.generator_ema, g, given.ema_decay)
    scalars = {
        "loss/discriminator": d_loss,
        "loss/generator": g_loss,
        "gradient_norm/discriminator": d_grad_norm,
        "gradient_norm/generator": g_grad_norm,
        **({"loss/penalty": penalty} if penalty.requires_grad else {}),  # only if computed
        **class_losses,
    }
    if statistics:
        relative = diversity(fake.detach(), labels) / diversity(real, labels).clamp(min=1e-6)
        scalars["generator/diversity"] = relative
        scalars |= logit_statistics(config.loss, of_real.logits, of_fake.logits, of_fake_after.logits)
    return {name: scalar.detach() for name, scalar in scalars.items()}


def precision(config: Config, device: torch.device) -> torch.autocast:
    """A context in which the networks compute with the ``precision`` of the settings."""
    lower = config.precision is Precision.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=lower)


def discriminator_view(images: Tensor, loss: LossConfig, given: Inputs, which: str) -> Tensor:
    """The images as the discriminator sees them in one of the `VIEWS`: augmented and noisy."""
    view = VIEWS.index(which)
    if given.changes is not None:
        images = augmented(images, loss.augment, given.changes[view])
    return images if given.noise is None else images + given.noise[view]


def judgements_and_penalty(
    d: Discriminator, loss: LossConfig, step: int, real: Tensor, fake: Tensor, labels: Tensor | None
) -> tuple[Judgement, Judgement, Tensor]:
    """What the discriminator says of real and of generated images, and the weighted penalty on its gradients."""
    # Penalise rarely but heavily, not always but lightly (lazy regularisation, Karras et al. 2020, section 3.1).
    weight = loss.penalty_every if penalty_is_due(loss, step) else 0
    r1, r2 = weight * loss.r1, weight * loss.r2
    real, fake = real.detach().requires_grad_(r1 > 0), fake.requires_grad_(r2 > 0)
    # A penalty differentiates a gradient, which compiled code cannot do: call the uncompiled forward.
    judge = d.forward if r1 or r2 or weight * loss.gradient_penalty else d
    of_real, of_fake = judge(real, labels), judge(fake, labels)
    penalty = of_real.logits.new_zeros(())
    if r1:
        penalty = penalty + r1 / 2 * squared_gradient(of_real.logits, real)
    if r2:
        penalty = penalty + r2 / 2 * squared_gradient(of_fake.logits, fake)
    if weight * loss.gradient_penalty:
        # Positions between the images are evenly spaced, not drawn: equally uniform, without randomness.
        count = len(real) * parallel.world_size()
        share = parallel.shard((torch.arange(count, device=real.device) + 0.5).view(-1, 1, 1, 1)) / count
        between = torch.lerp(real, fake, share).detach().requires_grad_(True)
        penalty = penalty + weight * loss.gradient_penalty * gradient_penalty(judge(between, labels).logits, between)
    return of_real, of_fake, penalty


def penalty_is_due(loss: LossConfig, step: int) -> bool:
    """Whether the step that follows ``step`` finished steps has a penalty."""
    return loss.is_penalised and (step + 1) % loss.penalty_every == 0


def logit_statistics(loss: LossConfig, real: Tensor, fake: Tensor, fake_after: Tensor) -> dict[str, Tensor]:
    """Scalars of the logits, by name, that show which network is winning."""
    accuracy_real, accuracy_fake = accuracies(loss, real, fake)
    logits = {"real": real, "fake_before": fake, "fake_after": fake_after}
    if loss.name is LossName.nonsaturating:  # only here are logits log-odds
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
    """The factor of the learning rates: 1 until ``decay_from * steps``, then falling linearly to 0."""
    decay_begins = decay_from * steps
    return 1.0 if step < decay_begins else (steps - step) / (steps - decay_begins)


def ema_decay(step: int, most: float) -> float:
    """The share of the average that a step keeps, at most ``most``; 0 at the first step.

    The memory grows as a ninth of the steps done, up to that of ``most``. With the full memory from the start,
    samples of the first thousand steps would come from averages over untrained weights.
    """
    return min((1 + step) / (10 + step), most) if step else 0.0


@torch.no_grad()
def _average(ema: Generator, generator: Generator, decay: float | Tensor) -> None:
    """Update the averaged parameters, and copy BatchNorm's statistics."""
    for averaged, new in zip(ema.parameters(), generator.parameters(), strict=True):
        averaged.lerp_(new, 1 - decay)
    for copied, now in zip(ema.buffers(), generator.buffers(), strict=True):
        copied.copy_(now)


def _descend(state: TrainState, network: nn.Module, optimizer: Adam, loss: Tensor) -> Tensor:
    """Take one step of a network down the loss; return the norm of the gradient."""
    optimizer.zero_grad()
    loss.backward()
    gradients = [p.grad for p in optimizer.param_groups[0]["params"] if p.grad is not None]
    mean_loss = loss.detach().clone()
    parallel.all_reduce_mean_([*gradients, mean_loss])
    norm = nn.utils.get_total_norm(gradients)
    finite = torch.isfinite(mean_loss + norm)
    if loss.is_cuda and torch.cuda.is_current_stream_capturing():
        # Recording yields no values to check. On replay, the optimiser reads found_inf and skips the step if it is 1.
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
    """The error that ends a training in which ``what`` is not finite."""
    return UserError(
        f"{what} is not finite at step {step}: the training diverged; the last checkpoint is kept; start anew with "
        "smaller optim.generator_lr and optim.discriminator_lr, or with loss.r1=1"
    )


def _not_finite(network: nn.Module, loss: Tensor) -> str:
    """Name the original non-finite tensor: a parameter spoils the loss, and the loss spoils every gradient."""
    for name, parameter in network.named_parameters():
        if not parameter.isfinite().all():
            return f"the parameter {name}"
    if not loss.isfinite():
        return "the loss"
    for name, parameter in network.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            return f"the gradient of {name}"
    return "the norm of the gradient"
