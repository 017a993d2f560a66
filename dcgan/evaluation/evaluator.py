"""All measures of generated images that take only seconds, each beside the same measure of real images."""

import logging

import numpy as np
import torch
from torch import Tensor

from dcgan.data import Data
from dcgan.errors import UserError
from dcgan.evaluation import distances
from dcgan.evaluation.classifier import Classifier, accuracy, classifier_of
from dcgan.evaluation.measures import HEADLINES, Measure
from dcgan.evaluation.pixels import SlicedWasserstein, checkerboard
from dcgan.images import diversity, to_float
from dcgan.randomness import random_generator

log = logging.getLogger(__name__)

MIN_IMAGES = 10  # the fifth neighbour and the covariance need a few images
DIVERSITY_IMAGES = 512  # images compared in pairs


class Evaluator:
    """Measures generated images against one set of pictures.

    All pictures, training and held-out, are shuffled together. The first ``count`` are the reference; the next
    ``count`` give the floor. The same number of generated images then replace the latter, each generated with the
    label of the picture it replaces, so value and floor differ only in who made the images. The exception is class
    agreement: its floor is of held-out pictures, as most others taught the classifier; without any it is not measured.
    A floor is not a bound: a generator that gave back training pictures could beat it, as most of the reference is those.

    Args:
        found: the pictures.
        count: the number of images in each set, capped at half of the pictures.
        conditional: whether the generator is given class labels.
        device: where to compute features.
        seed: the seed of the shuffle.

    Raises:
        UserError: if there are fewer than 20 pictures, or ``count`` is less than 10.
    """

    def __init__(self, found: Data, count: int, conditional: bool, device: torch.device, seed: int = 0) -> None:
        total = len(found.train) + len(found.held_out)
        self.count = min(count, total // 2)
        if count < MIN_IMAGES:
            raise UserError(f"an evaluation takes at least {MIN_IMAGES} samples, not {count}; set more")
        if self.count < MIN_IMAGES:
            raise UserError(
                f"an evaluation takes at least {2 * MIN_IMAGES} pictures, half of them to measure against, here {total}; "
                "find more pictures (a training does without an evaluation if evaluate_every=0)"
            )
        order = torch.randperm(total, generator=random_generator(seed, "evaluation")).numpy()
        chosen = order[: 2 * self.count]
        both = found.train, found.held_out
        self.found, self._rows = found, np.concatenate([part.rows for part in both])[chosen]
        labels = torch.from_numpy(np.concatenate([part.labels for part in both])[chosen])
        self.labels: Tensor | None = labels[self.count :] if conditional else None
        self.classifier, self.accuracy, self.why_no_classifier = _classifier(found, device)
        reference = self.reference
        if self.classifier is not None:
            self._features, self._recognised = self.classifier.describe(reference)
        self._patches = SlicedWasserstein(reference)
        self._diversity = _diversity(reference, labels[: self.count] if conditional else None)
        self._checkerboard = checkerboard(reference)
        self._floors = self._values(self.real)
        if self.accuracy is not None and self.labels is not None:
            self._floors["class_agreement"] = self.accuracy

    @property
    def headline(self) -> str:
        """The name of the measure by which runs are compared; lower is better."""
        return next(name for name in HEADLINES if name in self._floors)

    @property
    def reference(self) -> Tensor:
        """The real images that others are compared with, uint8 ``(count, C, H, W)``, read anew on each access."""
        return torch.from_numpy(self.found.train.store[self._rows[: self.count]])

    @property
    def real(self) -> Tensor:
        """The real images that give the floor, uint8 ``(count, C, H, W)``, read anew on each access."""
        return torch.from_numpy(self.found.train.store[self._rows[self.count :]])

    def __call__(self, images: Tensor) -> dict[str, Measure]:
        """Return all measures except the slow ones, by name.

        Args:
            images: uint8 ``(count, C, H, W)``, generated with `labels`.

        Raises:
            ValueError: for images of another type, number or size; floats in [-1, 1] would give wrong numbers.
        """
        wanted = (self.count, *self.found.train.store.shape[1:])
        if images.dtype is not torch.uint8 or images.shape != wanted:
            raise ValueError(f"the images must be uint8 {wanted}, not {images.dtype} {tuple(images.shape)}")
        return {name: Measure(v, self._floors[name]) for name, v in self._values(images).items()}

    def _values(self, images: Tensor) -> dict[str, float]:
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
            if self.labels is not None and self.accuracy is not None:
                values["class_agreement"] = float((recognised == self.labels).float().mean())
        return values | {
            "sliced_wasserstein_distance": self._patches(images),
            "diversity": _diversity(images, self.labels) / max(self._diversity, 1e-9),
            "checkerboard": checkerboard(images) / max(self._checkerboard, 1e-9),
        }

    def _counts(self, recognised: Tensor) -> Tensor:
        assert self.classifier is not None
        return torch.bincount(recognised, minlength=self.classifier.head.out_features)


def _classifier(found: Data, device: torch.device) -> tuple[Classifier | None, float | None, str | None]:
    """Return the classifier and its accuracy on held-out pictures, or the reason why there is no classifier."""
    if len(found.train.classes) < 2:
        return None, None, "the pictures have no classes to train a classifier on"
    network = classifier_of(found, device)
    recognised = accuracy(network, found.held_out)
    labels = found.held_out.labels
    guessed = float(np.mean(labels == np.bincount(found.train.labels).argmax())) if len(labels) else 0.0
    enough = len(labels) >= MIN_IMAGES and len(np.unique(labels)) > 1  # to judge by
    if recognised is not None and enough and recognised <= guessed:
        why = (
            f"the classifier recognises {recognised:.1%} of the held-out pictures, no more than the guess of the most "
            "frequent class would; if these are no classes that one can see, set model.conditional=false"
        )
        log.warning("no measures of features: %s", why)
        return None, None, why
    return network, recognised, None


def _diversity(images: Tensor, labels: Tensor | None) -> float:
    some = None if labels is None else labels[:DIVERSITY_IMAGES]
    return float(diversity(to_float(images[:DIVERSITY_IMAGES]), some))
