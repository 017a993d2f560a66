"""Adversarial losses, functions of the discriminator's logits ``(N,)``; each returns a scalar."""

import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """``-log D(x) - log(1 - D(G(z)))``, averaged (Goodfellow et al. 2014, equation 1).

    ``softplus(-l) = -log sigmoid(l)``: on logits it neither overflows nor saturates to infinity.
    """
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """``-log D(G(z))``, the non-saturating form (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-fake_logits).mean()
