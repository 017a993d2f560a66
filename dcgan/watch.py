"""Notices when a training goes wrong, and warns in words, with the override to try. It changes nothing."""

from collections import Counter
from collections.abc import Iterator

GRACE = 300  # first steps without warnings: images are alike because nothing is learnt yet
PATIENCE = 5  # bad records in a row before a warning, so that a short rough phase causes none
EVALUATIONS = 2  # bad evaluations in a row before a warning
DECIDED = 0.99  # accuracy above which the discriminator has nothing left to learn
SATURATED = 0.5  # share of its logits that are saturated
ALIKE = 0.4  # diversity of generated images relative to that of real ones
VANISHED = 1e-6  # norm of the generator's gradient
EXPLODED = 1e4  # norm of either network's gradient
CHECKERED = 3.0  # power at a checkerboard's frequency relative to that of real images; 1.2 for digits


class Watch:
    """Looks at each record and each evaluation of a run; gives each warning once."""

    def __init__(self) -> None:
        self._in_a_row: Counter[str] = Counter()
        self._said: set[str] = set()

    def look(self, step: int, scalars: dict[str, float]) -> list[str]:
        """Warnings about scalars of `dcgan.engine.train_step` that have looked bad `PATIENCE` times in a row."""
        return self._new(_symptoms(scalars), PATIENCE) if step >= GRACE else []

    def look_at_measures(self, step: int, measures: dict[str, float]) -> list[str]:
        """Warnings about measures of `dcgan.evaluation` that have looked bad `EVALUATIONS` times in a row."""
        return self._new(_symptoms_of_images(measures), EVALUATIONS) if step >= GRACE else []

    def _new(self, symptoms: Iterator[tuple[str, bool]], patience: int) -> list[str]:
        new = set()
        for sentence, bad in symptoms:
            self._in_a_row[sentence] = self._in_a_row[sentence] + 1 if bad else 0
            if self._in_a_row[sentence] >= patience:
                new.add(sentence)
        new -= self._said
        self._said |= new
        return sorted(new)


def _symptoms(scalars: dict[str, float]) -> Iterator[tuple[str, bool]]:
    """Each possible warning, and whether it applies now."""
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
        "optim.discriminator_lr, or model.spectral_norm=true model.discriminator_norm=none",
        max(scalars["gradient_norm/generator"], scalars["gradient_norm/discriminator"]) > EXPLODED,
    )


def _symptoms_of_images(measures: dict[str, float]) -> Iterator[tuple[str, bool]]:
    yield (
        "the generated images have a checkerboard that real ones have not, as transposed convolutions leave it on "
        "flat areas; model.upsample=resize leaves the least of it",
        measures["checkerboard"] > CHECKERED,
    )
