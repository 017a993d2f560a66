"""What is measured, which values of it are good, and how it is written down."""

from dataclasses import dataclass
from enum import Enum

HEADLINES = ("frechet_classifier_distance", "sliced_wasserstein_distance")  # the first that there is


class Better(Enum):
    """Which values of a measure are good."""

    lower = "lower"
    higher = "higher"
    one = "1"  # a ratio to real images


BETTER = {
    "frechet_classifier_distance": Better.lower,
    "kernel_classifier_distance": Better.lower,
    "density": Better.one,
    "coverage": Better.higher,
    "class_agreement": Better.higher,  # share of images recognised as what was asked for
    "class_histogram_distance": Better.lower,  # half the sum of differences of the recognised classes' shares
    "sliced_wasserstein_distance": Better.lower,
    "diversity": Better.one,
    "checkerboard": Better.one,
    "novelty": Better.one,  # distance to the nearest training image, over that of held-out ones; less is copied
    "svm_agreement": Better.higher,  # the same by a support vector machine; the floor is that of held-out images
    "nearest_neighbour_error": Better.lower,  # share of held-out images whose nearest generated one is of another class
    "nearest_neighbour_error_of_many": Better.lower,  # of several times as many generated images as real ones
    "frechet_inception_distance": Better.lower,
    "kernel_inception_distance": Better.lower,
}


@dataclass(frozen=True)
class Measure:
    """A number, and the same number of as many real images in place of the generated ones."""

    value: float
    floor: float


def scalars(measures: dict[str, Measure]) -> dict[str, float]:
    """The values as ``evaluation/NAME`` and their floors as ``evaluation_floor/NAME``."""
    return {f"evaluation/{name}": measure.value for name, measure in measures.items()} | {
        f"evaluation_floor/{name}": measure.floor for name, measure in measures.items()
    }


def summary(measures: dict[str, Measure]) -> str:
    """The measures that one watches, on one line."""
    shown = [name for name in (HEADLINES[0], "coverage", "class_agreement", HEADLINES[1]) if name in measures]
    return ", ".join(
        f"{name.replace('_', ' ')} {measures[name].value:.3g} (real {measures[name].floor:.3g})"
        for name in shown[:3]
    )


def table(measures: dict[str, Measure]) -> str:
    """The measures as aligned text."""
    lines = [f"{'':<34}{'generated':>11}{'real':>11}"]
    for name, measure in measures.items():
        goal = "1 is best" if BETTER[name] is Better.one else f"{BETTER[name].value} is better"
        lines.append(f"{name.replace('_', ' '):<34}{measure.value:>11.4g}{measure.floor:>11.4g}   {goal}")
    return "\n".join(lines)
