"""All measures of a finished generator: the evaluator's, and slow ones by raw-pixel classifiers and Inception distances."""

import logging
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from dcgan.data import Data, ImageSet
from dcgan.evaluation import distances, inception, pixel_classifiers
from dcgan.evaluation.evaluator import MIN_IMAGES, Evaluator
from dcgan.evaluation.measures import Measure
from dcgan.randomness import random_generator

log = logging.getLogger(__name__)

MAX_REFERENCES = 50_000  # images among which the nearest neighbour is searched; Radford et al. 2015, table 3
MAX_REFERENCE_NUMBERS = 1_000_000_000  # pixel values in all references: a gigabyte
SAMPLES_PER_REAL = 5  # generated references per real one, if the limits above allow so many
MAX_SVM_IMAGES = 10_000  # images that the support vector machine learns from; its time is quadratic in their number
MAX_SVM_NUMBERS = 10_000_000  # pixel values in these images, and likewise in those that it classifies
MAX_NOVELTY_QUERIES = 2_500  # images whose nearest training image is searched

Sample = Callable[[Tensor | None, int], Tensor]  # labels (N,) or None, N -> generated uint8 (N, C, H, W)


@dataclass
class Results:
    """All results about one generator."""

    measures: dict[str, Measure] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # what could not be measured, and why
    recognised: dict[str, int] | None = None  # class: number of generated images that the classifier assigns to it
    features: str | None = None  # hash of the classifier; distances are comparable only if it is the same
    classifier_accuracy: float | None = None  # on held-out pictures
    error_by_heart: float | None = None  # nearest neighbour error of a generator that repeats its training pictures


def measure_thoroughly(evaluator: Evaluator, sample: Sample, device: torch.device) -> Results:
    """Compute all measures of a generator, including the slow ones."""
    found, classifier = evaluator.found, evaluator.classifier
    images = sample(evaluator.labels, evaluator.count)
    measures, about = evaluator(images), Results()
    if classifier is None:
        about.notes.append(f"no measures of features: {evaluator.why_no_classifier}")
    else:
        recognised = torch.bincount(classifier.describe(images)[1], minlength=len(found.train.classes))
        about.recognised = dict(zip(found.train.classes, recognised.tolist(), strict=True))
        about.features, about.classifier_accuracy = classifier.digest, evaluator.accuracy
        if evaluator.labels is not None and evaluator.accuracy is None:
            about.notes.append("no class agreement: no picture is held out, and the others taught the classifier")
    if len(found.held_out):
        measures["novelty"] = _novelty(found, images)
    if evaluator.labels is not None and len(found.held_out):
        log.info("asking a support vector machine and the nearest neighbours")
        measures |= _support_vector_machine(evaluator, images)
        errors, about.error_by_heart = _nearest_neighbours(found, sample)
        measures |= errors
    else:
        about.notes.append(
            "no support vector machine and no nearest neighbours: they take a conditional generator and held-out pictures"
        )
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
    """Compute the Fréchet and kernel distances that papers report."""
    real, floor, fake = (inception.features(of, device) for of in (evaluator.reference, evaluator.real, images))
    return {
        f"{name}_inception_distance": Measure(distance(real, fake), distance(real, floor))
        for name, distance in (("frechet", distances.frechet), ("kernel", distances.kernel))
    }


def _novelty(found: Data, images: Tensor) -> Measure:
    """Compare how far generated and held-out images are from their nearest training images; copies are close."""
    (shown, _), (queries, _) = _some(found.shown), _some(found.held_out)
    generated, real = (
        pixel_classifiers.distance_to_nearest(asked[:MAX_NOVELTY_QUERIES], shown) for asked in (images, queries)
    )
    return Measure(generated / max(real, 1e-9), 1.0)


def _some(images: ImageSet) -> tuple[Tensor, Tensor]:
    """Draw images that represent the set, with their labels, in random order, because sets are sorted."""
    order = torch.randperm(len(images), generator=random_generator(0, "outsiders"))
    chosen = order[: _max_references(images)].numpy()
    return images[chosen], torch.from_numpy(images.labels[chosen])


def _max_references(images: ImageSet) -> int:
    return min(MAX_REFERENCES, MAX_REFERENCE_NUMBERS // int(images.store[0].size))


def _support_vector_machine(evaluator: Evaluator, images: Tensor) -> dict[str, Measure]:
    """Compute how often the machine recognises the requested class; nothing if the set has only one class."""
    assert evaluator.labels is not None
    (taught, labels), (queries, wanted) = _some(evaluator.found.train), _some(evaluator.found.held_out)
    most = max(MAX_SVM_NUMBERS // taught[0].numel(), MIN_IMAGES)
    taught, labels = taught[: min(MAX_SVM_IMAGES, most)], labels[: min(MAX_SVM_IMAGES, most)]
    if len(labels.unique()) < 2:
        return {}
    machine = pixel_classifiers.support_vector_machine(taught, labels)
    generated, real = (
        pixel_classifiers.agreement(machine, shown[:most], asked[:most])
        for shown, asked in ((images, evaluator.labels), (queries, wanted))
    )
    return {"svm_agreement": Measure(generated, real)}


def _nearest_neighbours(found: Data, sample: Sample) -> tuple[dict[str, Measure], float]:
    """Compute the nearest neighbour errors, and the error of a generator that repeats its training pictures."""
    (references, labels), held_out = _some(found.train), _some(found.held_out)
    real = pixel_classifiers.error(references, labels, *held_out)
    times = max(1, min(SAMPLES_PER_REAL, _max_references(found.train) // len(labels)))
    many = labels.repeat(times)

    def mean_error(generated: Tensor) -> float:
        draws = generated.split(len(labels))
        return statistics.mean(pixel_classifiers.error(draw, labels, *held_out) for draw in draws)

    generated = sample(many, len(many))
    measures = {"nearest_neighbour_error": Measure(mean_error(generated), real)}
    if times > 1:
        error = pixel_classifiers.error(generated, many, *held_out)
        measures["nearest_neighbour_error_of_many"] = Measure(error, real)
    return measures, mean_error(by_heart(found.shown, many))


def by_heart(known: ImageSet, labels: Tensor) -> Tensor:
    """Draw a random known picture of each label's class, as a generator does that has memorised its pictures."""
    random, rows = random_generator(0, "by heart"), torch.empty_like(labels)
    for label in labels.unique():
        own, asked = torch.from_numpy(np.flatnonzero(known.labels == int(label))), labels == label
        rows[asked] = own[torch.randint(len(own), (int(asked.sum()),), generator=random)]
    return known[rows.numpy()]


def remarks(results: Results) -> str:
    """Return what the table leaves out, one remark per line."""
    lines = list(results.notes)
    if results.error_by_heart is not None:
        lines.append(
            "a generator that had the training pictures by heart, and gave one at random, would have a nearest "
            f"neighbour error of {results.error_by_heart:.4g}: so many draws miss some pictures"
        )
    if results.recognised is not None:
        lines.append("recognised: " + ", ".join(f"{kind}: {n}" for kind, n in results.recognised.items()))
        sure = results.classifier_accuracy
        right = "" if sure is None else f"; it recognises {sure:.1%} of held-out pictures"
        lines.append(f"features {results.features} of the classifier trained on these pictures{right}")
    return "\n".join(lines)
