"""The measures: which values are good, and how they are written down."""

from dataclasses import dataclass

HEADLINES = ("frechet_classifier_distance", "sliced_wasserstein_distance")  # the first available one counts
LOWER, HIGHER, ONE = "lower is better", "higher is better", "1 is best"  # ONE: relative to real images


GOALS = {  # which values are good
    "frechet_classifier_distance": LOWER,
    "kernel_classifier_distance": LOWER,
    "density": ONE,
    "coverage": HIGHER,
    "class_agreement": HIGHER,  # share of images recognised as the requested class
    "class_histogram_distance": LOWER,  # half the sum of absolute differences between the class shares recognised
    "sliced_wasserstein_distance": LOWER,
    "diversity": ONE,
    "checkerboard": ONE,
    "novelty": ONE,  # distance to the nearest training image, over that of held-out images; less suggests copies
    "svm_agreement": HIGHER,  # class agreement by a support vector machine; the floor uses held-out images
    "nearest_neighbour_error": LOWER,  # share of held-out images whose nearest generated image has another class
    "nearest_neighbour_error_of_many": LOWER,  # the same with several generated images per real one
    "frechet_inception_distance": LOWER,
    "kernel_inception_distance": LOWER,
}


@dataclass(frozen=True)
class Measure:
    """A value for generated images, and its floor: the value that real images give in their place."""

    value: float
    floor: float


def scalars(measures: dict[str, Measure]) -> dict[str, float]:
    """Return the values as ``evaluation/NAME`` and their floors as ``evaluation_floor/NAME``."""
    return {f"evaluation/{name}": measure.value for name, measure in measures.items()} | {
        f"evaluation_floor/{name}": measure.floor for name, measure in measures.items()
    }


def summary(measures: dict[str, Measure]) -> str:
    """Return the most important measures, at most three, on one line."""
    shown = [name for name in (HEADLINES[0], "coverage", "class_agreement", HEADLINES[1]) if name in measures]
    return ", ".join(
        f"{name.replace('_', ' ')} {measures[name].value:.3g} (real {measures[name].floor:.3g})" for name in shown[:3]
    )


def table(measures: dict[str, Measure]) -> str:
    """Return the measures as a table in aligned text."""
    lines = [f"{'':<34}{'generated':>11}{'real':>11}"]
    for name, measure in measures.items():
        lines.append(
            f"{name.replace('_', ' '):<34}{measure.value:>11.4g}{measure.floor:>11.4g}   {GOALS.get(name, '')}".rstrip()
        )
    return "\n".join(lines)
