"""Real images measured against real ones give the floor, and each flaw is ranked worse by the measure meant for it."""

import copy
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dcgan import data, evaluation
from dcgan.config import DataConfig
from dcgan.errors import UserError
from dcgan.evaluation import classifier, inception, thorough
from dcgan.images import to_float

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return data.load(DataConfig(store=str(tmp_path_factory.mktemp("store"))))


@pytest.fixture(scope="module")
def evaluator(found):
    return evaluation.Evaluator(found, 1000, True, CPU)


def test_apples_gpus_leave_the_classifier_to_the_cpu(found, evaluator):
    """They pool only sizes that divide evenly, and 7 pixels do not divide by 4."""
    network = classifier.classifier_of(found, torch.device("mps"))
    assert next(network.parameters()).device == CPU


@pytest.fixture(scope="module")
def others(found, evaluator):
    """Return ``count`` real digits with the requested labels, none of them in the reference or the floor."""
    used = {image.numpy().tobytes() for image in torch.cat([evaluator.reference, evaluator.real])}
    images = found.train[:]
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).tolist()  # the set is sorted
    free = [row for row in order if images[row].numpy().tobytes() not in used]
    labels = found.train.labels[free]
    chosen = []
    for label in evaluator.labels.tolist():
        place = next(i for i, kind in enumerate(labels) if kind == label)
        chosen.append(free.pop(place))
        labels = np.delete(labels, place)
    return images[chosen]


def test_the_floor_of_class_agreement_is_of_pictures_that_the_classifier_has_not_seen(evaluator):
    agreement = evaluator(evaluator.real)["class_agreement"]
    assert agreement.floor == evaluator.accuracy < agreement.value


@pytest.mark.parametrize("wrong", [to_float, lambda images: images[1:], lambda images: images.repeat(1, 3, 1, 1)])
def test_images_that_would_give_wrong_numbers_are_refused(evaluator, wrong):
    with pytest.raises(ValueError, match=r"the images must be uint8 \(.*, 1, 28, 28\), not torch\."):
        evaluator(wrong(evaluator.real))


def test_a_class_is_compared_with_itself_for_diversity(evaluator):
    assert evaluator(evaluator.real)["diversity"].value == pytest.approx(1, abs=0.03)


def test_the_classifier_is_good_and_trained_once(found, evaluator, monkeypatch):
    assert evaluator.accuracy > 0.95
    features, _ = evaluator.classifier.describe(found.train[:500])
    assert features.square().mean() == pytest.approx(1, rel=0.2)
    monkeypatch.setattr(classifier, "_train", None)
    assert classifier.classifier_of(found, CPU).digest == evaluator.classifier.digest


@pytest.fixture
def two_steps(monkeypatch):
    monkeypatch.setattr(classifier, "MIN_STEPS", 2)
    monkeypatch.setattr(classifier, "MAX_STEPS", 2)


@pytest.mark.usefixtures("two_steps")
def test_a_damaged_classifier_is_trained_again_and_is_the_same(found, tmp_path, caplog):
    few = found._replace(train=found.train.limited(300), store=tmp_path)
    digest = classifier.classifier_of(few, CPU).digest
    (path,) = tmp_path.glob("classifier-*.pt")
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    assert classifier.classifier_of(few, CPU).digest == digest
    assert "is damaged" in caplog.text
    assert len(path.read_bytes()) == len(whole)


@pytest.mark.usefixtures("two_steps")
def test_each_of_several_processes_has_the_classifier_of_one(found, tmp_path, monkeypatch):
    few = found._replace(train=found.train.limited(300), store=tmp_path / "one")
    alone = classifier.classifier_of(few, CPU)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert classifier.classifier_of(few._replace(store=tmp_path / "two"), CPU).digest == alone.digest


@pytest.mark.usefixtures("two_steps")
def test_where_nothing_can_be_written_the_classifier_is_trained_and_not_kept(found, tmp_path, monkeypatch, caplog):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    few = found._replace(train=found.train.limited(300), store=tmp_path)
    kept = classifier.classifier_of(few._replace(store=tmp_path / "elsewhere"), CPU)
    monkeypatch.setattr(classifier, "FileLock", refused)
    monkeypatch.setattr("dcgan.checkpoint.write", refused)
    assert classifier.classifier_of(few._replace(store=tmp_path / "here"), CPU).digest == kept.digest
    assert "the classifier cannot be kept in" in caplog.text
    assert not (tmp_path / "here").exists()
    # An existing classifier is read without a lock.
    monkeypatch.setattr(classifier, "_train", refused)
    assert classifier.classifier_of(few._replace(store=tmp_path / "elsewhere"), CPU).digest == kept.digest


@pytest.mark.usefixtures("two_steps")
def test_other_pictures_have_another_classifier(found, evaluator):
    fewer = copy.copy(found.train)
    fewer.rows, fewer.labels = fewer.rows[:1000], fewer.labels[:1000]
    fewer.__dict__.pop("fingerprint", None)
    other = classifier.classifier_of(found._replace(train=fewer), CPU)
    assert other.digest != evaluator.classifier.digest
    assert len(list(found.store.glob("classifier-*.pt"))) == 2


def test_other_real_images_are_at_the_floor(evaluator, others):
    for name, measure in evaluator(others).items():
        assert measure.value == pytest.approx(measure.floor, rel=0.35, abs=0.02), name


def test_the_floor_is_the_value_of_the_real_images_in_the_place_of_the_generated(evaluator):
    measures = evaluator(evaluator.real)
    del measures["class_agreement"]  # its floor is of held-out pictures
    assert len(measures) == 8
    assert all(measure.value == measure.floor for measure in measures.values())


def test_each_fault_is_seen_by_the_numbers_that_should_see_it(evaluator, others):
    labels, random = evaluator.labels, torch.Generator().manual_seed(0)
    of_three = others[(labels == 3).nonzero()[0, 0]]
    faults = {
        "noise": torch.randint(0, 256, others.shape, generator=random, dtype=torch.uint8),
        "repeated": others[:1].expand_as(others),
        "one for each class": torch.stack([others[(labels == label).nonzero()[0, 0]] for label in labels]),
        "missing": others.where((labels != 7)[:, None, None, None], of_three),
        "blurred": F.avg_pool2d(others.float(), 5, 1, 2).to(torch.uint8),
        "wrong": others.roll(1, 0),
    }
    distances = {"frechet_classifier_distance", "kernel_classifier_distance", "sliced_wasserstein_distance"}
    seen_by = {
        "noise": distances | {"coverage", "density", "class_agreement", "class_histogram_distance", "checkerboard"},
        "repeated": distances | {"coverage", "diversity", "class_agreement", "class_histogram_distance"},
        "one for each class": distances | {"coverage", "diversity"},
        "missing": {"frechet_classifier_distance", "coverage", "class_agreement", "class_histogram_distance"},
        "blurred": distances | {"coverage", "checkerboard"},
        "wrong": {"class_agreement"},
    }
    for fault, images in faults.items():
        measures = evaluator(images)
        for name in seen_by[fault]:
            value, floor = measures[name].value, measures[name].floor
            if evaluation.GOALS[name] == "higher is better":
                assert value < 0.93 * floor, (fault, name, value, floor)
            elif evaluation.GOALS[name] == "lower is better":
                assert value > 1.4 * max(floor, 0), (fault, name, value, floor)
            else:
                assert not 0.8 < value / floor < 1.25, (fault, name, value, floor)


def test_an_unconditional_generator_is_not_asked_for_classes(found, others):
    evaluator = evaluation.Evaluator(found, 1000, False, CPU)
    measures = evaluator(others)
    assert evaluator.labels is None
    assert "class_agreement" not in measures
    assert measures["diversity"].value == pytest.approx(1, abs=0.05)
    report = evaluation.measure_thoroughly(evaluator, lambda labels, count: others[:count], CPU)
    assert "no support vector machine and no nearest neighbours" in evaluation.remarks(report)


def test_a_report_asks_other_classifiers_and_the_same_of_real_images(evaluator, found):
    labels_asked = []

    def sample(labels, count):
        """Act as a perfect generator, except for a wrong class in one of ten images."""
        labels_asked.append(labels)
        if count == evaluator.count:
            return evaluator.real
        order = torch.randperm(len(found.train), generator=torch.Generator().manual_seed(0))
        by_class = {kind: order[found.train.labels[order] == kind].tolist() for kind in range(10)}
        wrong = torch.rand(count, generator=torch.Generator().manual_seed(0)) < 0.1
        shown = (labels + wrong) % 10
        return found.train[np.array([by_class[k][i % 400] for i, k in enumerate(shown.tolist())])]

    report = evaluation.measure_thoroughly(evaluator, sample, CPU)
    measure = report.measures["nearest_neighbour_error"]
    assert 0.03 < measure.floor < 0.08  # the references are 4,500 real digits
    assert measure.floor + 0.04 < measure.value < 0.3
    assert len(found.train) == 4500
    assert len(labels_asked[1]) == 5 * 4500
    many = report.measures["nearest_neighbour_error_of_many"]
    assert many.floor == measure.floor
    assert measure.floor < many.value < 0.3
    assert measure.floor + 0.005 < report.error_by_heart < measure.floor + 0.03
    assert f"{report.error_by_heart:.4g}" in evaluation.remarks(report)
    measure = report.measures["svm_agreement"]
    assert 0.94 < measure.floor < measure.value  # the floor is of held-out digits; most others it has learnt from
    assert sum(report.recognised.values()) == evaluator.count
    text = evaluation.table(report.measures) + evaluation.remarks(report)
    assert "frechet classifier distance" in text
    assert "1 is best" in text
    assert f"features {evaluator.classifier.digest}" in text


def test_copies_of_training_images_are_no_novelty(found):
    held_out = found.held_out[:]
    copies = found.train[:4000:8].clone()
    copies[:, 0, 0, 0] = 255  # changes one pixel
    assert thorough._novelty(found, held_out).value == 1
    assert thorough._novelty(found, copies).value < 0.25
    noise = torch.randint(0, 256, held_out.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert thorough._novelty(found, noise).value > 1.5
    # Only pictures that the networks were shown count: the others are as new to them as held-out ones.
    few = found._replace(shown=found.train.limited(500))
    assert thorough._novelty(few, few.shown[:]).value == 0
    unseen = np.setdiff1d(np.arange(4500), np.searchsorted(found.train.rows, few.shown.rows))
    assert thorough._novelty(few, found.train[unseen[:500]]).value == pytest.approx(1, abs=0.1)


def test_some_of_the_held_out_pictures_stand_for_all_though_they_are_sorted(monkeypatch):
    """Black pictures come before white ones; held-out white ones are so grey that they are taken for black."""
    labels = np.repeat([0, 1], 60)

    def pictures(black, white):
        pixels = np.repeat(np.array([black, white], np.uint8), 60).reshape(120, 1, 1, 1)
        return data.ImageSet(pixels, np.arange(120), labels, ["black", "white"], "")

    train, held_out = pictures(0, 200), pictures(0, 90)
    found = data.Data(train, train, held_out, {}, None)
    monkeypatch.setattr(thorough, "MAX_SVM_NUMBERS", 40)
    asked = SimpleNamespace(found=found, labels=torch.from_numpy(labels))
    measures = thorough._support_vector_machine(asked, train[:])
    assert measures["svm_agreement"].floor == pytest.approx(0.5, abs=0.2)
    measures, by_heart = thorough._nearest_neighbours(found, lambda labels, count: train[:].repeat(5, 1, 1, 1))
    assert measures["nearest_neighbour_error"].floor == by_heart == 0.5
    held_out.store[20:] = 50  # the first twenty stay as black as the training pictures
    monkeypatch.setattr(thorough, "MAX_NOVELTY_QUERIES", 20)
    assert thorough._novelty(found, held_out[20:60]).value == pytest.approx(1)


def test_a_generator_that_has_pictures_by_heart_gives_some_of_them_with_the_class_asked_for(found):
    known = found.train.limited(300)
    labels = torch.from_numpy(found.train.labels)
    given = thorough.by_heart(known, labels)
    for label in range(10):
        own = known[np.flatnonzero(known.labels == label)].unique(dim=0)
        drawn = given[labels == label].unique(dim=0)
        assert torch.equal(own, drawn)  # 450 draws from 30 miss none
    few = torch.from_numpy(known.labels)
    shown = thorough.by_heart(known, few).unique(dim=0)
    assert len(shown) == pytest.approx(300 * (1 - np.exp(-1)), abs=25)  # 300 draws from 300 pictures miss about a third


def test_too_few_pictures_are_a_sentence(found):
    few = found._replace(train=copy.copy(found.train), held_out=copy.copy(found.held_out))
    few.train.rows, few.held_out.rows = few.train.rows[:10], few.held_out.rows[:9]
    with pytest.raises(UserError, match="at least 20 pictures, half of them to measure against, here 19"):
        evaluation.Evaluator(few, 100, True, CPU)
    with pytest.raises(UserError, match="at least 10 samples, not 9; set more"):
        evaluation.Evaluator(found, 9, True, CPU)


@pytest.mark.usefixtures("two_steps")
def test_a_classifier_that_guesses_is_no_yardstick(found, tmp_path, caplog):
    """This happens with directories that are not classes, for instance albums by date."""
    mixed = found._replace(train=found.train.limited(400), held_out=copy.copy(found.held_out), store=tmp_path)
    random = np.random.default_rng(0)
    for part in (mixed.train, mixed.held_out):
        part.labels = (random.permutation(part.labels) > 0).astype(np.int64)  # nine in ten are in one class
    evaluator = evaluation.Evaluator(mixed, 100, True, CPU)
    assert "no measures of features: the classifier recognises" in caplog.text
    assert evaluator.headline == "sliced_wasserstein_distance"
    about = evaluation.measure_thoroughly(evaluator, lambda labels, count: found.train[:count], CPU)
    assert "no more than the guess of the most frequent class" in evaluation.remarks(about)
    assert "nearest_neighbour_error" in about.measures
    mixed.held_out.rows = mixed.held_out.rows[mixed.held_out.labels == 1]
    mixed.held_out.labels = mixed.held_out.labels[mixed.held_out.labels == 1]
    assert evaluation.Evaluator(mixed, 100, True, CPU).headline == "frechet_classifier_distance"


def test_without_held_out_pictures_class_agreement_has_no_floor_and_is_not_measured(found, evaluator):
    whole = found._replace(
        held_out=dataclasses.replace(found.held_out, rows=np.array([], int), labels=np.array([], int))
    )
    without = evaluation.Evaluator(whole, 1000, True, CPU)
    assert set(evaluator(evaluator.real)) - set(without(without.real)) == {"class_agreement"}
    about = evaluation.measure_thoroughly(without, lambda labels, count: without.real[:count], CPU)
    assert "no class agreement: no picture is held out" in evaluation.remarks(about)


def test_without_labels_the_pixels_are_measured(found):
    unlabelled = found._replace(train=copy.copy(found.train), held_out=copy.copy(found.held_out))
    unlabelled.train.classes = unlabelled.held_out.classes = []
    evaluator = evaluation.Evaluator(unlabelled, 200, False, CPU)
    measures = evaluator(evaluator.real)
    assert set(measures) == {"sliced_wasserstein_distance", "diversity", "checkerboard"}
    assert evaluator.headline == "sliced_wasserstein_distance"
    assert "no classes" in evaluation.remarks(
        evaluation.measure_thoroughly(evaluator, lambda labels, count: evaluator.real, CPU)
    )


def test_inception_distances_where_the_weights_are(tmp_path, monkeypatch):
    from torch_fidelity import feature_extractor_inceptionv3 as fidelity

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert inception.weights_path().name in fidelity.URL_INCEPTION_V3
    assert f"put torch-fidelity's {inception.WEIGHTS}" in inception.missing()

    # The network has random weights: the real ones are not available everywhere, and would load in the same way.
    network = fidelity.FeatureExtractorInceptionV3
    with monkeypatch.context() as patch:
        patch.setattr(fidelity, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(network, "load_state_dict", lambda *_: None)
        torch.manual_seed(0)
        weights = network("inception-v3-compat", ["2048"]).state_dict()
    inception.weights_path().parent.mkdir()
    torch.save(weights, inception.weights_path())
    assert inception.missing() is None
    noise = torch.randint(0, 256, (4, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    (expected,) = network("inception-v3-compat", ["2048"], str(inception.weights_path())).eval()(noise)
    assert torch.equal(inception.features(noise, CPU), expected)  # the same resizing, which is part of the measure

    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (30, 3, 32, 32), generator=random, dtype=torch.uint8).numpy()
    train = data.ImageSet(pixels, np.arange(30), np.zeros(30, np.int64), [], "digest")
    evaluator = evaluation.Evaluator(
        data.Data(train, train, dataclasses.replace(train, rows=np.arange(0), labels=np.arange(0)), {}, tmp_path),
        10,
        False,
        CPU,
    )
    images = evaluator.real
    measures = evaluation.measure_thoroughly(evaluator, lambda labels, count: images, CPU).measures
    for name in ("frechet_inception_distance", "kernel_inception_distance"):
        assert measures[name].value == measures[name].floor > 0


def test_inception_distances_are_of_rgb_pictures(found):
    evaluator = evaluation.Evaluator(found, 100, False, CPU)
    report = evaluation.measure_thoroughly(evaluator, lambda labels, count: evaluator.real, CPU)
    assert "they are of RGB pictures" in evaluation.remarks(report)
