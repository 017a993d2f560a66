"""Adversarial losses, functions of the discriminator's logits ``(N,)``, and penalties on its gradient.

Each has two sides: what the discriminator minimises and what the generator minimises. All return scalars.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgan.choices import LossName
from dcgan.config import LossConfig

# Logits beyond this are saturated: the sigmoid's slope there is below a thousandth.
SATURATED = 7.0


def discriminator_loss(config: LossConfig, real: Tensor, fake: Tensor) -> Tensor:
    """What the discriminator minimises, of its logits for real and generated images.

    * nonsaturating: ``-log D(x) - log(1 - D(G(z)))`` (Goodfellow et al. 2014, equation 1). With
      ``label_smoothing`` s the target of real images is 1 - s, that of generated ones stays 0 (Salimans et
      al. 2016, section 3.4).
    * hinge: ``max(0, 1 - D(x)) + max(0, 1 + D(G(z)))`` (Lim and Ye 2017; Miyato et al. 2018, equation 16).
    * least_squares: ``((D(x) - 1)^2 + D(G(z))^2) / 2`` (Mao et al. 2017, equation 9).
    * wasserstein: ``D(G(z)) - D(x)`` (Arjovsky et al. 2017), for use with ``gradient_penalty``.
    * relativistic: ``-log sigmoid(D(x) - D(G(z)))`` for each pair (Jolicoeur-Martineau 2018; Huang et al. 2024).
    """
    match config.name:
        case LossName.nonsaturating:
            # softplus(-l) = -log sigmoid(l): on logits it neither overflows nor saturates to infinity.
            smoothed = config.label_smoothing
            of_real = (1 - smoothed) * F.softplus(-real) + smoothed * F.softplus(real)
            return of_real.mean() + F.softplus(fake).mean()
        case LossName.hinge:
            return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        case LossName.least_squares:
            return ((real - 1).square().mean() + fake.square().mean()) / 2
        case LossName.wasserstein:
            return fake.mean() - real.mean()
        case LossName.relativistic:
            return F.softplus(fake - real).mean()


def generator_loss(config: LossConfig, fake: Tensor, real: Tensor | None) -> Tensor:
    """What the generator minimises; ``real`` are the logits of real images, which only relativistic needs.

    ``-log D(G(z))`` for nonsaturating (Goodfellow et al. 2014, section 3); see `discriminator_loss` for the rest.
    """
    match config.name:
        case LossName.nonsaturating:
            return F.softplus(-fake).mean()
        case LossName.hinge | LossName.wasserstein:
            return -fake.mean()
        case LossName.least_squares:
            return (fake - 1).square().mean() / 2
        case LossName.relativistic:
            assert real is not None
            return F.softplus(real - fake).mean()


def squared_gradient(logits: Tensor, images: Tensor) -> Tensor:
    """``|dD/dx|^2``, averaged: R1 at real and R2 at generated images (Mescheder et al. 2018, equation 9, 10).

    Through BatchNorm an image's logit depends a little on the others of the batch, and the gradient is that of the
    sum of all logits by this image.

    Args:
        logits: ``(N,)``, computed from ``images``.
        images: ``(N, C, H, W)`` that require a gradient.
    """
    return _gradients(logits, images).square().flatten(1).sum(1).mean()


def gradient_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """``(|dD/dx| - 1)^2``, averaged, at images between real and generated ones (Gulrajani et al. 2017, eq. 3)."""
    norms = torch.linalg.vector_norm(_gradients(logits, images).flatten(1), dim=1)
    penalty: Tensor = (norms - 1).square().mean()
    return penalty


def accuracies(config: LossConfig, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of the real and of the generated images that the discriminator takes for what they are.

    Losses in which only differences count have one share: that of the pairs in the right order.
    """
    if config.name in (LossName.wasserstein, LossName.relativistic):
        pairs = (real > fake).float().mean()
        return pairs, pairs
    border = 0.5 if config.name is LossName.least_squares else 0.0
    return (real > border).float().mean(), (fake < border).float().mean()


def saturated(config: LossConfig, real: Tensor, fake: Tensor) -> Tensor:
    """Share of the logits, or pairs of them, at which the loss's sigmoid is flat; 0 for losses without one."""
    if config.name is LossName.nonsaturating:
        flat = torch.cat([real, fake]).abs() > SATURATED
    elif config.name is LossName.relativistic:
        flat = (real - fake).abs() > SATURATED
    else:
        return torch.zeros_like(real.mean())
    return flat.float().mean()


def _gradients(logits: Tensor, images: Tensor) -> Tensor:
    (gradients,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradients
