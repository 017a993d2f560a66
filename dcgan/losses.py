"""Adversarial losses on the discriminator's logits ``(N,)``, penalties on its gradient, and the loss of classes.

Each adversarial loss has two sides: the discriminator minimises one, the generator the other. All values are scalars.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgan.choices import LossName
from dcgan.config import LossConfig

# Logits of a larger magnitude are saturated: the slope of the sigmoid is below a thousandth there.
SATURATED = 7.0


def discriminator_loss(config: LossConfig, real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss, from its logits for real and generated images.

    * nonsaturating: ``-log D(x) - log(1 - D(G(z)))``, where D is the sigmoid of the logit (Goodfellow et al. 2014,
      equation 1). With ``label_smoothing`` s, the target of real images is 1 - s; the target of generated
      images stays 0 (Salimans et al. 2016, section 3.4).
    * hinge: ``max(0, 1 - D(x)) + max(0, 1 + D(G(z)))`` (Lim and Ye 2017; Miyato et al. 2018, equation 16).
    * least_squares: ``((D(x) - 1)^2 + D(G(z))^2) / 2`` (Mao et al. 2017, equation 9).
    * wasserstein: ``D(G(z)) - D(x)`` (Arjovsky et al. 2017), for use with ``gradient_penalty``.
    * relativistic: ``-log sigmoid(D(x) - D(G(z)))`` per pair (Jolicoeur-Martineau 2018; Huang et al. 2024).
    """
    match config.name:
        case LossName.nonsaturating:
            # softplus(-l) = -log sigmoid(l). Computed from logits, it neither overflows nor saturates to infinity.
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
    """The generator's loss; only relativistic needs ``real``, the logits of real images.

    For nonsaturating it is ``-log D(G(z))`` (Goodfellow et al. 2014, section 3); for the rest see `discriminator_loss`.
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


def class_loss(class_logits: Tensor | None, labels: Tensor | None) -> Tensor:
    """The loss of the auxiliary classifier, ``-log P(class | image)`` (Odena et al. 2017, equation 3).

    Both networks minimise it, the discriminator for real images and the generator for its own. The paper's
    discriminator learns from generated images, too; ours does not, because these need not show the class asked for.

    Args:
        class_logits: ``(N, classes)``.
        labels: ``(N,)`` int64.
    """
    assert class_logits is not None
    assert labels is not None
    return F.cross_entropy(class_logits, labels)


def squared_gradient(logits: Tensor, images: Tensor) -> Tensor:
    """Mean ``|dD/dx|^2``: R1 at real images, R2 at generated ones (Mescheder et al. 2018, equations 9 and 10).

    The gradient is that of the sum of all logits, as one backward pass gives it. With BatchNorm, where each logit
    depends on all images of the batch, it includes these dependencies.

    Args:
        logits: ``(N,)``, computed from ``images``.
        images: ``(N, C, H, W)``, which must require a gradient.
    """
    return _gradients(logits, images).square().flatten(1).sum(1).mean()


def gradient_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Mean ``(|dD/dx| - 1)^2`` at images between real and generated ones (Gulrajani et al. 2017, equation 3)."""
    norms = torch.linalg.vector_norm(_gradients(logits, images).flatten(1), dim=1)
    penalty: Tensor = (norms - 1).square().mean()
    return penalty


def accuracies(config: LossConfig, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """The shares of real and of generated images that the discriminator classifies correctly.

    For losses on differences of logits, both are the share of pairs whose real image has the larger logit.
    """
    match config.name:
        case LossName.wasserstein | LossName.relativistic:
            pairs = (real > fake).float().mean()
            return pairs, pairs
        case LossName.nonsaturating | LossName.hinge:
            border = 0.0
        case LossName.least_squares:
            border = 0.5
    return (real > border).float().mean(), (fake < border).float().mean()


def saturated(config: LossConfig, real: Tensor, fake: Tensor) -> Tensor:
    """The share of logits, or of pairs, at which the discriminator's loss is flat; 0 for losses that are so nowhere."""
    match config.name:
        case LossName.nonsaturating:
            flat = torch.cat([real, fake]).abs() > SATURATED
        case LossName.hinge:
            flat = torch.cat([real, -fake]) > 1
        case LossName.relativistic:
            flat = (real - fake).abs() > SATURATED
        case LossName.least_squares | LossName.wasserstein:
            flat = torch.zeros_like(real, dtype=torch.bool)
    return flat.float().mean()


def _gradients(logits: Tensor, images: Tensor) -> Tensor:
    (gradients,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradients
