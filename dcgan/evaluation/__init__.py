"""How good generated images are, in numbers that stand beside their floor.

``classifier`` (features of a labelled set) and ``inception`` (those of papers) -> ``distances`` of features;
``pixels`` and ``outsiders`` need no features. Here they meet: all measures of one set of images.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dcgan.data import Data, ImageSet
from dcgan.errors import UserError
from dcgan.evaluation import distances, inception, outsiders
from dcgan.evaluation.classifier import accuracy, classifier_of
from dcgan.evaluation.pixels import SlicedWasserstein, checkerboard
from dcgan.images import diversity, to_float
from dcgan.randomness import generator

log = logging.getLogger(__name__)

LEAST = 10  # images: the fifth neighbour and a covariance need some
DIVERSITY_IMAGES = 512  # whose pairs are compared
MOST_REFERENCES = 50_000  # images that the nearest neighbour is sought in; Radford et al. 2015, table 3
MOST_TAUGHT = 10_000  # images that the support vector machine learns from; its time is quadratic in them
MOST_REFERENCE_PIXELS = 1_000_000_000  # of all of them: a gigabyte
MOST_ASKED = 2_500  # images whose nearest training image is sought
MOST_PIXELS = 10_000_000  # of all of them, and of those that it is asked about

HEADLINES = ("frechet_classifier_distance", "sliced_wasserstein_distance")  # the first that there is

Sample = Callable[[Tensor | None, int], Tensor]  # labels (N,) or None, N -> generated uint8 (N, C, H, W)


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
    "frechet_inception_distance": Better.lower,
    "kernel_inception_distance": Better.lower,
}


@dataclass(frozen=True)
class Measure:
    """A number, and the same number of as many real images in place of the generated ones."""

    value: float
    floor: float


@dataclass
class Report:
    """All that is said of a generator."""

    measures: dict[str, Measure]
    notes: list[str]  # what could not be measured, and why
    recognised: dict[str, int] | None  # how many images the classifier takes for each class
    features: str | None  # hash of the classifier, which must be the same for distances to be compared
    classifier_accuracy: float | None  # on held-out pictures


class Evaluator:
    """Measures generated images against one set of pictures.

    All pictures, held out or not, are shuffled: the first ``count`` are the reference, the next ``count`` give the
    floor, and ``count`` generated images take the place of those, each asked for with the label of the real
    one whose place it takes. So value and floor differ in nothing but who made the images.

    Args:
        found: the pictures.
        count: images in each set; at most half of the pictures.
        conditional: whether the generator is asked for classes.
        device: where features are computed.
        seed: of the shuffling.

    Raises:
        UserError: if there are fewer than 20 pictures, or a count of less than 10.
    """

    def __init__(
        self, found: Data, count: int, conditional: bool, device: torch.device, seed: int = 0
    ) -> None:
        total = len(found.train) + len(found.held_out)
        self.count = min(count, total // 2)
        if self.count < LEAST:
            raise UserError(
                f"an evaluation takes at least {LEAST} of at least {2 * LEAST} pictures, here {count} of {total}; "
                "find more pictures, or set evaluate_every=0"
            )
        chosen = torch.randperm(total, generator=generator(seed, "evaluation"))[: 2 * self.count].numpy()
        self.found, (self._rows, labels) = found, _of_both(found, chosen)
        self.labels: Tensor | None = labels[self.count :] if conditional else None
        self.classifier = classifier_of(found, device) if len(found.train.classes) > 1 else None
        self.accuracy = accuracy(self.classifier, found.held_out) if self.classifier is not None else None
        reference = self.reference
        if self.classifier is not None:
            self._features, self._recognised = self.classifier.describe(reference)
        self._patches = SlicedWasserstein(reference)
        self._diversity = _diversity(reference, labels[: self.count] if conditional else None)
        self._checkerboard = checkerboard(reference)
        self._floors = self._values(self.real)

    @property
    def headline(self) -> str:
        """Name of the measure by which runs are compared, of which less is better."""
        return next(name for name in HEADLINES if name in self._floors)

    @property
    def reference(self) -> Tensor:
        """The real images that others are compared with, uint8 ``(count, C, H, W)``; read anew each time."""
        return torch.from_numpy(self.found.train.store[self._rows[: self.count]])

    @property
    def real(self) -> Tensor:
        """The real images that give the floor, uint8 ``(count, C, H, W)``; read anew each time."""
        return torch.from_numpy(self.found.train.store[self._rows[self.count :]])

    def __call__(self, images: Tensor) -> dict[str, Measure]:
        """All measures but the slow ones, by name.

        Args:
            images: uint8 ``(count, C, H, W)``, generated with `labels`.
        """
        return {name: Measure(v, self._floors[name]) for name, v in self._values(images).items()}

    def _values(self, images: Tensor) -> dict[str, float]:
        assert len(images) == self.count
        values = {}
        if self.classifier is not None:
            features, recognised = self.classifier.describe(images)
            density, coverage = distances.density_and_coverage(self._features, features)
            shares = (self._counts(recognised) - self._counts(self._recognised)) / self.count
            values = {
                "frechet_classifier_distance": distances.frechet(self._features, features),
                "kernel_classifier_distance": distances.kernel(self._features, features),
                "density": density,
                "coverage": coverage,
                "class_histogram_distance": float(shares.abs().sum() / 2),
            }
            if self.labels is not None:
                values["class_agreement"] = float((recognised == self.labels).float().mean())
        return values | {
            "sliced_wasserstein_distance": self._patches(images),
            "diversity": _diversity(images, self.labels) / max(self._diversity, 1e-9),
            "checkerboard": checkerboard(images) / max(self._checkerboard, 1e-9),
        }

    def _counts(self, recognised: Tensor) -> Tensor:
        assert self.classifier is not None
        return torch.bincount(recognised, minlength=self.classifier.head.out_features)


def report(evaluator: Evaluator, sample: Sample, device: torch.device) -> Report:
    """All measures of a generator, the slow ones included."""
    found, classifier = evaluator.found, evaluator.classifier
    images = sample(evaluator.labels, evaluator.count)
    measures, about = evaluator(images), Report({}, [], None, None, None)
    if classifier is None:
        about.notes.append("no measures of features: the pictures have no classes to train a classifier on")
    else:
        recognised = torch.bincount(classifier.describe(images)[1], minlength=len(found.train.classes))
        about.recognised = dict(zip(found.train.classes, recognised.tolist(), strict=True))
        about.features, about.classifier_accuracy = classifier.digest, evaluator.accuracy
    if len(found.held_out):
        measures["novelty"] = _novelty(found, images)
    if evaluator.labels is not None and len(found.held_out):
        measures |= _outsiders(evaluator, images, sample)
    else:
        about.notes.append("no test by outsiders: it takes a conditional generator and held-out pictures")
    missing = inception.missing()
    if found.train.store.shape[1] != 3:
        about.notes.append("no Inception distances: they are of RGB pictures")
    elif missing is not None:
        about.notes.append(missing)
    else:
        measures |= _inception_distances(evaluator, images, device)
    about.measures = measures
    return about


def _inception_distances(evaluator: Evaluator, images: Tensor, device: torch.device) -> dict[str, Measure]:
    """The distances that papers give."""
    real, floor, fake = (
        inception.features(of, device) for of in (evaluator.reference, evaluator.real, images)
    )
    return {
        f"{name}_inception_distance": Measure(distance(real, fake), distance(real, floor))
        for name, distance in (("frechet", distances.frechet), ("kernel", distances.kernel))
    }


def _novelty(found: Data, images: Tensor) -> Measure:
    """Whether the images are copies of training images, or as far from them as held-out ones are."""
    shown, queries = found.shown.images(_references(found.shown)), found.held_out.images(slice(MOST_ASKED))
    generated, real = (
        outsiders.distance_to_nearest(asked, shown) for asked in (images[:MOST_ASKED], queries)
    )
    return Measure(generated / max(real, 1e-9), 1.0)


def _references(train: ImageSet) -> npt.NDArray[np.int64]:
    """Positions of the training images that stand for all, in a random order."""
    most = min(MOST_REFERENCES, MOST_REFERENCE_PIXELS // train.store[0].size)
    order = torch.randperm(len(train), generator=generator(0, "outsiders"))
    return order[:most].numpy()


def _outsiders(evaluator: Evaluator, images: Tensor, sample: Sample) -> dict[str, Measure]:
    """What a support vector machine and the nearest neighbour say, beside what they say with real images."""
    measures: dict[str, Measure] = {}
    assert evaluator.labels is not None
    train, held_out = evaluator.found.train, evaluator.found.held_out
    references = _references(train)
    queries, asked = held_out.images(), torch.from_numpy(held_out.labels)

    most = max(MOST_PIXELS // queries[0].numel(), LEAST)
    taught = references[: min(MOST_TAUGHT, most)]
    labels = torch.from_numpy(train.labels[taught])
    log.info("asking outsiders: a support vector machine and the nearest neighbours")
    if len(labels.unique()) > 1:  # else there is nothing to tell apart
        machine = outsiders.support_vector_machine(train.images(taught), labels)
        agreements = (
            outsiders.agreement(machine, shown[:most], wanted[:most])
            for shown, wanted in ((images, evaluator.labels), (queries, asked))
        )
        measures["svm_agreement"] = Measure(*agreements)

    labels = torch.from_numpy(train.labels[references])
    errors = (
        outsiders.error(reference, labels, queries, asked)
        for reference in (sample(labels, len(labels)), train.images(references))
    )
    return measures | {"nearest_neighbour_error": Measure(*errors)}


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


def remarks(report: Report) -> str:
    """What the table leaves out, a line each."""
    lines = list(report.notes)
    if report.recognised is not None:
        lines.append("recognised: " + ", ".join(f"{n} {kind}" for kind, n in report.recognised.items()))
        sure = report.classifier_accuracy
        right = "" if sure is None else f"; it recognises {sure:.1%} of held-out pictures"
        lines.append(f"features {report.features} of the classifier trained on these pictures{right}")
    return "\n".join(lines)


def table(measures: dict[str, Measure]) -> str:
    """The measures as aligned text."""
    lines = [f"{'':<30}{'generated':>11}{'real':>11}"]
    for name, measure in measures.items():
        goal = "1 is best" if BETTER[name] is Better.one else f"{BETTER[name].value} is better"
        lines.append(f"{name.replace('_', ' '):<30}{measure.value:>11.4g}{measure.floor:>11.4g}   {goal}")
    return "\n".join(lines)


def _of_both(found: Data, chosen: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Tensor]:
    """Rows and labels of positions that count through the training pictures and then the held-out ones."""
    parts = (found.train, found.held_out)
    rows = np.concatenate([part.rows for part in parts])[chosen]
    labels = np.concatenate([part.labels for part in parts])[chosen]
    return rows, torch.from_numpy(labels)


def _diversity(images: Tensor, labels: Tensor | None) -> float:
    some = None if labels is None else labels[:DIVERSITY_IMAGES]
    return float(diversity(to_float(images[:DIVERSITY_IMAGES]), some))
