"""Notices a training that goes wrong, and says so in words with the override to try. It changes nothing."""

from collections import Counter
from collections.abc import Iterator

GRACE = 300  # steps at first, when images are alike because nothing has been learnt
PATIENCE = 5  # records in a row that must look bad, so that a rough minute goes without a word
DECIDED = 0.99  # accuracy at which the discriminator has nothing left to learn
SATURATED = 0.5  # share of its logits
ALIKE = 0.4  # diversity of generated images over that of real ones
VANISHED = 1e-6  # norm of the generator's gradient
EXPLODED = 1e4  # and of either
CHECKERED = 3.0  # power at the frequency of a checkerboard over that of real images; of digits 1.2


class Watch:
    """Looks at the scalars of a run, record by record; says each thing once."""

    def __init__(self) -> None:
        self._in_a_row: Counter[str] = Counter()
        self._said: set[str] = set()

    def look(self, step: int, scalars: dict[str, float]) -> list[str]:
        """Sentences about what has looked bad `PATIENCE` times in a row.

        Args:
            step: steps done.
            scalars: those of `dcgan.engine.train_step`, and the newest evaluation's measures if there was one.
        """
        for sentence, bad in _symptoms(scalars) if step >= GRACE else ():
            self._in_a_row[sentence] = self._in_a_row[sentence] + 1 if bad else 0
        new = {sentence for sentence, times in self._in_a_row.items() if times >= PATIENCE} - self._said
        self._said |= new
        return sorted(new)


def _symptoms(scalars: dict[str, float]) -> Iterator[tuple[str, bool]]:
    """What could be said, and whether it looks so now."""
    yield (
        "the discriminator tells nearly all real from generated images, and has no doubt: the generator learns "
        "little from it; try loss.instance_noise=0.1, a larger loss.r1 or a smaller optim.discriminator_lr",
        min(scalars["discriminator/accuracy_real"], scalars["discriminator/accuracy_fake"]) > DECIDED
        and scalars["discriminator/saturated"] > SATURATED,
    )
    yield (
        "the generated images are much more alike than real ones, the generator may be collapsing; try "
        "loss=relativistic, loss.augment=[translation], or halve both learning rates",
        scalars["generator/diversity"] < ALIKE,
    )
    yield (
        "the generator's gradient has vanished: it no longer learns; try loss=least_squares or a larger loss.r1",
        scalars["gradient_norm/generator"] < VANISHED,
    )
    yield (
        "a gradient's norm is above 10,000: the training is about to diverge; try smaller optim.generator_lr and "
        "optim.discriminator_lr, or model.spectral_norm=true",
        max(scalars["gradient_norm/generator"], scalars["gradient_norm/discriminator"]) > EXPLODED,
    )
    yield (
        "the generated images have a checkerboard that real ones have not, as transposed convolutions leave it on "
        "even areas; model.upsample=resize leaves the least of it",
        scalars.get("checkerboard", 0.0) > CHECKERED,
    )
