"""What training is: the state, and one step of it. Tensors in, scalars out; no files, no clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.swa_utils import AveragedModel

from dcgan.config import Config
from dcgan.errors import UserError
from dcgan.losses import discriminator_loss, generator_loss
from dcgan.networks import Discriminator, Generator, initialise
from dcgan.randomness import generator as random_generator


@dataclass
class TrainState:
    """All that changes while training, and so all that a checkpoint holds."""

    generator: Generator
    discriminator: Discriminator
    average: AveragedModel  # of the generator: parameters averaged, BatchNorm's statistics copied
    generator_optimizer: Adam
    discriminator_optimizer: Adam
    step: int = 0  # steps done

    @property
    def generator_ema(self) -> Generator:
        """The generator with averaged weights, in evaluation mode: the one to take samples from."""
        ema = self.average.module
        assert isinstance(ema, Generator)
        return ema

    def state_dict(self) -> dict[str, Any]:
        """Tensors and primitives only."""
        return {
            "step": self.step,
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "generator_ema": self.generator_ema.state_dict(),
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.step = state["step"]
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.generator_ema.load_state_dict(state["generator_ema"])
        self.average.n_averaged.fill_(self.step)
        self.generator_optimizer.load_state_dict(state["generator_optimizer"])
        self.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])


def build(config: Config, num_classes: int, device: torch.device) -> TrainState:
    """The state before the first step, a function of the seed; ``num_classes`` 0 for unconditional."""
    shape = (config.model, config.data.image_size, config.data.channels, num_classes)
    generator, discriminator = Generator(*shape), Discriminator(*shape)
    initialise(generator, config.seed, "generator")
    initialise(discriminator, config.seed, "discriminator")
    generator, discriminator = generator.to(device), discriminator.to(device)
    optim, betas = config.optim, (config.optim.betas[0], config.optim.betas[1])
    return TrainState(
        generator,
        discriminator,
        AveragedModel(generator, multi_avg_fn=_WarmedUpAverage(optim.ema_decay)).eval(),
        Adam(generator.parameters(), lr=optim.generator_lr, betas=betas),
        Adam(discriminator.parameters(), lr=optim.discriminator_lr, betas=betas),
    )


def train_step(state: TrainState, config: Config, real: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
    """One update of the discriminator, then one of the generator, then of its average.

    Args:
        state: is changed in place.
        config: the run's settings.
        real: ``(N, C, H, W)`` float32 in [-1, 1].
        labels: ``(N,)`` int64, of the real images and asked of the generated ones; None if unconditional.

    Returns:
        Scalar tensors by name, on the device: reading one waits for the step to end.
    """
    g, d = state.generator, state.discriminator
    rate = learning_rate_factor(state.step, config.steps, config.optim.decay_from)
    d_lr, g_lr = config.optim.discriminator_lr * rate, config.optim.generator_lr * rate
    latents = random_latents(config, state.step, len(real)).to(real.device)

    fake = g(latents, labels)
    real_logits, fake_logits = d(real, labels), d(fake.detach(), labels)
    d_loss = discriminator_loss(real_logits, fake_logits)
    d_grad_norm = _update(
        state.discriminator_optimizer, d_loss, d_lr, f"discriminator at step {state.step + 1}"
    )

    d.requires_grad_(False)  # its weights take no gradient in the generator's step
    fake_logits_after = d(fake, labels)
    g_loss = generator_loss(fake_logits_after)
    g_grad_norm = _update(state.generator_optimizer, g_loss, g_lr, f"generator at step {state.step + 1}")
    d.requires_grad_(True)

    state.average.update_parameters(g)
    state.step += 1
    return {
        "loss/discriminator": d_loss.detach(),
        "loss/generator": g_loss.detach(),
        "discriminator/real": real_logits.detach().sigmoid().mean(),
        "discriminator/fake_before": fake_logits.detach().sigmoid().mean(),
        "discriminator/fake_after": fake_logits_after.detach().sigmoid().mean(),
        "gradient_norm/discriminator": d_grad_norm,
        "gradient_norm/generator": g_grad_norm,
        "learning_rate/discriminator": torch.tensor(d_lr),
        "learning_rate/generator": torch.tensor(g_lr),
    }


def learning_rate_factor(step: int, steps: int, decay_from: float) -> float:
    """What the learning rates are multiplied by: 1, from ``decay_from * steps`` on linearly falling to 0."""
    decay_begins = decay_from * steps
    return 1.0 if step < decay_begins else (steps - step) / (steps - decay_begins)


def random_latents(config: Config, step: int, count: int) -> Tensor:
    """The latents of one training step, ``(count, Z)`` from N(0, 1)."""
    return torch.randn(
        count, config.model.latent_dim, generator=random_generator(config.seed, "latents", step)
    )


def _update(optimizer: Adam, loss: Tensor, lr: float, of_what: str) -> Tensor:
    """One step down the loss with the learning rate ``lr``; the norm of the gradient."""
    optimizer.zero_grad()
    loss.backward()
    group = optimizer.param_groups[0]
    group["lr"] = lr
    norm = nn.utils.get_total_norm([p.grad for p in group["params"] if p.grad is not None])
    if not torch.isfinite(loss + norm):
        raise UserError(
            f"the loss or gradient of the {of_what} is not finite: the training diverged; the last checkpoint "
            "is kept; start anew with smaller optim.generator_lr and optim.discriminator_lr"
        )
    optimizer.step()
    return norm


class _WarmedUpAverage:
    """Exponential average whose memory is at first a tenth of the steps done.

    With the full memory from the start, samples of the first thousand steps would be averages over
    untrained weights.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def __call__(self, averages: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        count = torch.as_tensor(count)
        weight = 1 - torch.clamp((1 + count) / (10 + count), max=self.decay)
        for average, new in zip(averages, current, strict=True):
            average.lerp_(new, weight)
