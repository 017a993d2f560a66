"""``scripts/sample.py``: images from a run, each determined by its seed."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from runs import assert_refused, lively, pixels

from dcgan import exploring, images, sampling
from dcgan.config import Config, ModelConfig
from dcgan.errors import UserError
from dcgan.networks import Generator, initialise


@pytest.fixture
def run(trained_run, tmp_path):
    return shutil.copytree(trained_run, tmp_path / "outputs" / "tiny")


def test_one_run_becomes_a_grid_files_and_arrays(command, here, tmp_path, run):
    done = command("sample.py", "run=outputs/tiny", "count=20")
    assert done.returncode == 0, done.stderr
    assert pixels(run / "sampled.png").shape == (2 * 30 + 2, 10 * 30 + 2, 3)

    done = here("sample.py", f"run={run}", "format=npz", "seeds=0-3,7", "out=some/where.NPZ")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "some").iterdir()] == ["where.NPZ"]
    with np.load(tmp_path / "some" / "where.NPZ") as arrays:
        assert arrays["images"].shape == (5, 28, 28, 1)
        assert arrays["images"].dtype == np.uint8
        assert arrays["labels"].tolist() == arrays["seeds"].tolist() == [0, 1, 2, 3, 7]
        images = arrays["images"]
        assert images[0].std() > 5
        assert np.abs(images[0].astype(int) - images[1]).max() > 5

    newest = run / "checkpoints" / "step-00000080.pt"
    done = here("sample.py", f"run={newest}", "format=files", "seeds=7,2,7", "out=single")
    assert done.returncode == 0, done.stderr
    assert "2 images of step 80" in done.stdout
    assert sorted(path.name for path in (tmp_path / "single").iterdir()) == [
        "seed-000002-class-2.png",
        "seed-000007-class-7.png",
    ]
    # A seed gives the same image whatever else is requested, and in every format.
    assert np.array_equal(pixels(tmp_path / "single" / "seed-000007-class-7.png"), images[4, :, :, 0])
    assert np.array_equal(pixels(tmp_path / "single" / "seed-000002-class-2.png"), images[2, :, :, 0])

    assert here("sample.py", "run=outputs/tiny", "count=4", "classes=3", "format=npz").returncode == 0
    with np.load(run / "sampled.npz") as arrays:
        assert arrays["labels"].tolist() == [3, 3, 3, 3]
        assert np.array_equal(arrays["images"][3], images[3])
    assert "run=outputs/mnist5k" in here("sample.py", "--help").stdout


def test_weights_statistics_and_truncation_are_those_asked_for(here, run):
    usual, found = {"weights": "ema", "statistics": "running", "truncation": 1.0}, []
    for change in ({}, {"weights": "raw"}, {"statistics": "standing"}, {"truncation": 0.5}):
        asked = usual | change
        arguments = [f"{key}={value}" for key, value in asked.items()]
        assert here("sample.py", f"run={run}", "format=npz", "count=5", *arguments).returncode == 0
        with np.load(run / "sampled.npz") as arrays:
            found.append(torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2))
        trained = sampling.load_generator(run, **asked)
        assert torch.equal(found[-1], trained.sample(range(5), None)[0])
    for other in found[1:]:
        assert (other.int() - found[0].int()).abs().max() > 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run=outputs/none"], "run=outputs/none does not exist"),
        ([], "run"),
        (["run=outputs/tiny", "classes=11"], "classes=11 unknown; this run has 0 to 9"),
        (["run=outputs/tiny", "seeds=a-b"], "seeds=a-b must be numbers and ranges"),
        (["run=outputs/tiny", "seed=3"], "there is no setting seed; did you mean seeds?"),
        (["run=outputs/tiny", "count=3", "seeds=1"], "count and seeds"),
        (["run=outputs/tiny", "format=mp4"], "format"),
        (["outputs/tiny"], "'outputs/tiny' is not of the form key=value"),
        # There is no such run, but the script has not looked for it yet.
        (["run=none", "count=0"], "count=0 must be from 1 to 1,000,000"),
        (["run=none", "count=9999999999"], "count=9999999999 must be from 1 to 1,000,000"),
        (["run=none", "frames=0", "format=gif"], "frames=0 must be from 1 to 1,000,000"),
        (["run=outputs/tiny", "seeds=0-9999999999"], "at most 1,000,000 of them"),
        (["run=outputs/tiny", "seeds=0-999999,7"], "at most 1,000,000 of them"),
        (["run=outputs/tiny", "seeds=99999999999999999999"], "numbers are below 2^63"),
        (["run=outputs/tiny", "seeds=1:30"], "seeds=1:30 must be numbers and ranges"),
        (["run=outputs/tiny", "truncation=0"], "truncation=0.0 must be above 0 and at most 1"),
        (["run=outputs/tiny", "truncation=1.5"], "truncation=1.5 must be above 0 and at most 1"),
        (["run=none", "out=threes"], "out=threes must end in .png or .jpg or .webp with format=grid"),
        (["run=none", "out=threes.PNG"], "run=none does not exist"),
        (["run=none", "out=digits", "format=npz"], "out=digits must end in .npz with format=npz"),
        (["run=none", "out=walk.png", "format=gif"], "out=walk.png must end in .gif with format=gif"),
        (["run=none", "format=arithmetic", "seeds=1"], "format=arithmetic needs seeds=, minus= and plus="),
        (["run=none", "minus=3"], "minus=3 has no effect with format=grid; it is for arithmetic"),
        (["run=none", "between=classes", "format=npz"], "between=classes has no effect with format=npz"),
        (["run=none", "format=film", "weights=raw"], "weights=raw has no effect with format=film"),
        (
            ["run=outputs/tiny", "count=[1"],
            "count=[1 must be a whole number, written like 1000",
        ),
        (["run=outputs/tiny", "seeds=5-2,7"], "seeds=5-2,7: 5-2 is an empty range"),
        (
            ["run=outputs/tiny", "out=outputs", "overwrite=true"],
            "out=outputs is a directory; set another out=",
        ),
        (
            ["run=outputs/tiny", "format=files", "out=outputs/tiny/run.log", "overwrite=true"],
            "is no directory",
        ),
        (["run=outputs/tiny", "out=outputs/tiny/run.log/x.png"], "run.log is no directory"),
        (["run=outputs/tiny/checkpoints"], "has no directory checkpoints/ with a checkpoint"),
        (["run=none", "format=film"], "run=none is not a run directory, which format=film needs"),
        (["run=outputs/tiny/checkpoints/step-00000080.pt", "format=film"], "is not a run directory"),
    ],
    ids=lambda value: "",
)
def test_what_cannot_be_asked_for_is_refused_before_anything_is_written(here, tmp_path, run, arguments, message):
    before = sorted(tmp_path.rglob("*"))
    assert_refused(here("sample.py", *arguments), message)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("seeds", "classes"), [([], None), ([1], [])])
def test_no_images_are_a_sentence(run, seeds, classes):
    with pytest.raises(UserError, match=r"no (seeds|classes) are asked for"):
        sampling.load_generator(str(run)).sample(seeds, classes)


@pytest.mark.parametrize("latents", ["normal", "uniform"])
def test_truncation_multiplies_latents_also_those_of_standing_statistics(monkeypatch, latents):
    network = Generator(ModelConfig(width=2, latent_dim=3, latents=latents), (8, 8), 1, 0)
    whole = sampling.latents_of(network, [4, 7])
    network.truncation = 0.25
    assert torch.equal(sampling.latents_of(network, [4, 7]), whole / 4)
    seen = []
    network.register_forward_pre_hook(lambda _, given: seen.append(given[0].abs().mean()))
    sampling.use_standing_statistics(network, None)
    assert torch.stack(seen).mean() == pytest.approx({"normal": 0.798, "uniform": 0.5}[latents] / 4, rel=0.05)


def test_what_is_taken_of_one_checkpoint_lies_in_the_run_directory_under_its_name(here, run):
    assert here("sample.py", f"run={run}/checkpoints/step-00000080.pt", "seeds=007").returncode == 0
    assert (run / "step-00000080-sampled.png").is_file()
    assert not list((run / "checkpoints").glob("*.png"))


def test_a_picture_that_cannot_be_written_leaves_none_that_is_half(tmp_path, monkeypatch):
    def full(_, path):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space"):
        images.save_png(torch.zeros(1, 8, 8, dtype=torch.uint8), tmp_path / "one.png")
    assert not list(tmp_path.iterdir())


def test_a_picture_that_is_too_large_for_its_format_is_a_sentence(tmp_path):
    wide = Image.new("L", (20_000, 1))
    with pytest.raises(UserError, match=r"wide.webp cannot be written \(.*\); choose another format, such as .png"):
        images.save_picture(wide, tmp_path / "wide.webp")
    assert not list(tmp_path.iterdir())


def test_arrays_that_cannot_be_written_leave_what_was_there(here, run, monkeypatch):
    def full(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    (run / "sampled.npz").write_text("mine")
    monkeypatch.setattr(np, "savez", full)
    assert_refused(here("sample.py", f"run={run}", "format=npz", "count=1"), "No space left")
    assert (run / "sampled.npz").read_text() == "mine"


def test_a_film_needs_pictures(here, run):
    shutil.rmtree(run / "samples")
    assert_refused(here("sample.py", f"run={run}", "format=film"), "has no pictures in samples/")


@pytest.mark.parametrize(
    "damage", [lambda data: data[:60], lambda data: data[:40] + bytes(20) + data[60:], lambda _: b""]
)
def test_a_damaged_picture_of_a_film_is_named(tmp_path, damage):
    path = tmp_path / "samples" / "step-00000200.png"
    path.parent.mkdir()
    Image.effect_noise((32, 32), 50).save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"step-00000200\.png is damaged .*; delete it"):
        exploring.film(tmp_path)


def test_the_frames_of_a_film_are_of_one_size_though_the_steps_are_wider_than_the_pictures(tmp_path):
    (tmp_path / "samples").mkdir()
    for step in (0, 200, 20000):
        Image.new("L", (32, 64)).save(tmp_path / "samples" / f"step-{step:08d}.png")
    Image.new("L", (99, 99)).save(tmp_path / "samples" / "step-00000200 (copy).png")  # not ours
    sizes = {frame.size for frame in exploring.film(tmp_path)}
    assert len(sizes) == 1


def test_files_leave_no_picture_of_an_earlier_call_that_wrote_more(here, run):
    assert here("sample.py", f"run={run}", "format=files", "count=3").returncode == 0
    (run / "sampled" / "notes.txt").write_text("mine")
    assert here("sample.py", f"run={run}", "format=files", "seeds=1").returncode == 0
    assert sorted(path.name for path in (run / "sampled").iterdir()) == [
        "notes.txt",
        "seed-000001-class-1.png",
    ]


def test_the_grid_of_the_training_shows_what_the_script_gives(run):
    trained = sampling.load_generator(run)
    assert not trained.network.training
    latents, labels, columns = sampling.fixed_inputs(trained.network, 10)
    grid_images = sampling.generate(trained.network, latents, labels)
    last = pixels(run / "samples" / "step-00000080.png")
    assert columns == 10
    for row, column in [(0, 0), (3, 5), (7, 9)]:
        image, _ = trained.sample([row], [column])
        assert torch.equal(image[0], grid_images[row * columns + column])
        cell = last[2 + 30 * row :, 2 + 30 * column :][:28, :28, 0]
        assert np.array_equal(cell, image[0, 0].numpy())


def test_images_are_made_one_at_a_time(monkeypatch):
    network = Generator(ModelConfig(width=2, latent_dim=8), (8, 9), 3, 2)
    initialise(network, 0, "generator")
    rows, whole = [], lively(network).render
    monkeypatch.setattr(network, "render", lambda codes: rows.append(len(codes)) or whole(codes))
    images = sampling.generate(network, torch.randn(5, 8), torch.arange(5) % 2)
    assert rows == [1] * 5
    assert images.shape == (5, 3, 8, 9)


def test_walks_and_films(here, tmp_path, run):
    done = here("sample.py", f"run={run}", "format=gif", "seeds=3,5", "frames=4", "classes=1,7")
    assert done.returncode == 0, done.stderr
    trained = sampling.load_generator(run)
    with Image.open(run / "walk.gif") as walk:
        # Pillow merges equal frames into one that is shown longer.
        assert sum(frame.info["duration"] for frame in ImageSequence.Iterator(walk)) == 8 * 80
        assert walk.size == (2 * (2 * 30 + 2), 2 * (30 + 2))  # two classes side by side, twice as large
    walk = exploring.between_seeds(trained, [3, 5], [1, 7], 4, spherical=True, closed=True)
    for frame, seed in ((0, 3), (4, 5)):
        assert torch.equal(walk[frame, 1], trained.sample([seed], [7])[0][0])
    done = here("sample.py", f"run={run}", "format=film", "out=film.gif")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == len(list((run / "samples").iterdir())) == 14
        assert film.width == 10 * 30 + 2
        assert film.height > 8 * 30 + 2 + 16
        assert np.array(film.convert("L"))[:16].min() < 100  # the step number is written there


def test_a_walk_takes_two_stops(here, run):
    one_seed = here("sample.py", f"run={run}", "format=gif", "seeds=1")
    assert_refused(one_seed, "a walk takes two stops: two of seeds=, or with between=classes two of classes=")
    one_class = here("sample.py", f"run={run}", "format=strip", "between=classes", "classes=3")
    assert_refused(one_class, "a walk takes two stops")


def test_classes_are_asked_for_by_their_names_too(run):
    trained = sampling.load_generator(run)
    assert trained.classes == [str(digit) for digit in range(10)]
    trained.classes = ["cats", "t-shirts", "7", "1999", *"abcdef"]
    assert trained.parse_classes("all") is None
    assert trained.parse_classes("t-shirts, cats,2-3,7-7,1999") == [1, 0, 2, 3, 7, 3]
    with pytest.raises(UserError, match="classes=7 is the name of class 2, and the number of d; set classes=2-2 for"):
        trained.parse_classes("cats,7")
    with pytest.raises(UserError, match=r"classes=dogs unknown; this run has 0 cats, 1 t-shirts, 2 7, 3 1999, "):
        trained.parse_classes("cats,dogs")
    with pytest.raises(UserError, match="classes=12 unknown; this run has 0 cats"):
        trained.known([12])
    trained.classes = ()  # as in a run of an earlier version
    with pytest.raises(UserError, match="classes=cats unknown; this run has 0 to 9"):
        trained.parse_classes("cats")


def test_a_spherical_walk_keeps_the_length_and_a_straight_one_does_not():
    ends = sampling.latents_of(Generator(ModelConfig(width=2, latent_dim=64), (8, 8), 1, 0), [1, 2])
    spherical, straight = (exploring.interpolated(ends, 10, spherical=kind, closed=True) for kind in (True, False))
    for way in (spherical, straight):
        assert way.shape == (20, 64)
        torch.testing.assert_close(way[[0, 10]], ends)
    assert spherical.norm(dim=1).min() > 0.95 * ends.norm(dim=1).min()
    assert straight.norm(dim=1).min() < 0.9 * ends.norm(dim=1).min()
    torch.testing.assert_close(straight[5], ends.mean(0))
    there = exploring.interpolated(ends, 10, spherical=False, closed=False)
    torch.testing.assert_close(there, straight[:11])  # an open walk does not return
    to_itself = exploring.interpolated(ends[[0, 0]], 3, spherical=True, closed=True)
    torch.testing.assert_close(to_itself, ends[:1].repeat(6, 1))
    opposite = exploring.interpolated(torch.tensor([[1.0], [-2.0]]), 3, spherical=True, closed=False)
    torch.testing.assert_close(opposite, torch.tensor([[1.0], [0.0], [-1.0], [-2.0]]))


def test_a_morph_ends_at_the_classes_and_is_between_them_on_the_way(run):
    trained = sampling.load_generator(run)
    morph = exploring.between_classes(trained, [4, 6], [2, 9], 4, closed=False)
    assert morph.shape == (5, 2, 1, 28, 28)
    for row, seed in enumerate((4, 6)):
        for frame, label in ((0, 2), (4, 9)):
            assert torch.equal(morph[frame, row], trained.sample([seed], [label])[0][0])
    ends, middle = morph[[0, 4]].float(), morph[2].float()
    whole = (ends[0] - ends[1]).norm()
    assert (middle - ends[0]).norm() < whole
    assert (middle - ends[1]).norm() < whole
    strip = np.array(exploring.strip(morph).convert("L"))
    assert strip.shape == (2 * (2 * 30 + 2), 2 * (5 * 30 + 2))
    assert np.array_equal(strip[4:60:2, 4:60:2], morph[0, 0, 0].numpy())  # a row for each seed


def test_an_unconditional_walk_has_one_image_a_frame_and_no_classes_to_go_between():
    config = Config(model=ModelConfig(width=2, latent_dim=8))
    network = Generator(config.model, (8, 9), 3, 0)
    initialise(network, 0, "generator")
    trained = sampling.TrainedGenerator(lively(network), 0, 5, config, "data")
    walk = exploring.between_seeds(trained, [3, 5], None, 2, spherical=True, closed=False)
    assert walk.shape == (3, 1, 3, 8, 9)
    assert torch.equal(walk[[0, 2], 0], trained.sample([3, 5], None)[0])
    assert walk.float().std() > 0.2 * 127.5
    with pytest.raises(UserError, match="between=classes, but this run is unconditional"):
        exploring.between_classes(trained, [3, 5], None, 2, closed=False)


def test_arithmetic_of_latents(run):
    trained = sampling.load_generator(run)
    # Two terms that cancel leave the first: its images, its mean, and the middle of the nine.
    members, middles, around = exploring.arithmetic(trained, [[3], [5, 15], [5, 15]], [1])
    assert torch.equal(members[1], trained.sample([5, 15], [1])[0])
    image = trained.sample([3], [1])[0]
    assert torch.equal(middles[0], image)
    assert (around[4].int() - image[0].int()).abs().max() <= 1  # x - y + y is inexact in floating point
    assert around.shape[0] == 9
    assert all((around[place].int() - image[0].int()).abs().max() > 1 for place in (0, 8))
    # The classes are added up along with the latents: 2 - 7 + 7.
    _, _, mixed = exploring.arithmetic(trained, [[2], [7], [7]], None)
    assert (mixed[4].int() - trained.sample([2], None)[0][0].int()).abs().max() <= 1


def test_layers_are_the_maps_on_the_way_and_the_image_at_its_end(run):
    trained = sampling.load_generator(run)
    lively(trained.network)
    picture = np.array(exploring.layer_by_layer(trained, [3, 5], None))
    made, _ = trained.sample([3, 5], None)
    enlarged = made[1, 0].repeat_interleave(6, 0).repeat_interleave(6, 1)  # 28 pixels become 168
    bottom, right = (side - 176 for side in picture.shape[:2])  # three maps of 56 pixels and lines around them
    assert np.array_equal(picture[bottom : bottom + 168, right : right + 168, 0], enlarged)

    codes, _ = trained.codes([3, 5], None)
    kept = []
    norms = [layer for layer in trained.network.layers if isinstance(layer, torch.nn.BatchNorm2d)]
    norms[0].register_forward_hook(lambda layer, given, maps: kept.append(maps.detach().relu().clone()))
    sampling.render(trained.network, codes)
    maps = torch.cat(kept)  # (2, C, 3, 3)
    liveliest = maps[:, maps.transpose(0, 1).flatten(1).var(1).argmax()]
    expected = (liveliest[1] / liveliest.max() * 255).round().repeat_interleave(18, 0).repeat_interleave(18, 1)
    assert np.array_equal(picture[bottom + 2 : bottom + 56, 2:56, 0], expected.to(torch.uint8))


def test_the_nearest_training_images_stand_beside_a_copy_of_one(here, run, monkeypatch):
    monkeypatch.setattr("dcgan.evaluation.pixel_classifiers.NUMBERS", 700 * 784)
    pictures = sampling.load_generator(run).pictures()
    copies = pictures.train[:4500:500]
    shown = np.array(exploring.beside_nearest(copies, pictures).convert("L"))
    height = 2 * (8 * 30 + 2)
    block = shown[-height:]
    for row in range(8):
        top = 4 + 60 * row
        copy, nearest = block[top : top + 56, 4:60], block[top : top + 56, 74:130]
        assert np.array_equal(copy, nearest)
        assert np.array_equal(copy[::2, ::2], copies[row, 0].numpy())
    done = here("sample.py", f"run={run}", "format=nearest", "count=3")
    assert done.returncode == 0, done.stderr
    assert pixels(run / "nearest.png").shape[0] > 3 * 56


def test_each_picture_is_a_command_and_what_is_named_with_out_is_kept(here, tmp_path, run):
    for arguments, name in [
        (["format=strip", "seeds=0-1", "classes=3"], "walk.png"),
        (["format=gif", "between=classes", "seeds=0-1", "classes=1,2", "frames=2"], "walk.gif"),
        (["format=layers"], "layers.png"),
        (["format=arithmetic", "seeds=0,1", "minus=2,3", "plus=4-6", "classes=3"], "arithmetic.png"),
    ]:
        for _ in range(2):  # the script replaces its own file
            done = here("sample.py", f"run={run}", *arguments)
            assert done.returncode == 0, done.stderr
        with Image.open(run / name) as picture:
            assert len(picture.convert("L").getcolors()) > 5
    mine = tmp_path / "mine.png"
    mine.write_text("mine")
    kept = here("sample.py", f"run={run}", "out=mine.png")
    assert_refused(kept, "error: out=mine.png exists; set another out=, or overwrite=true")
    assert mine.read_text() == "mine"
    assert here("sample.py", f"run={run}", "out=mine.png", "overwrite=true").returncode == 0
    assert pixels(mine).ndim == 3


def test_ranges_are_read_as_they_are_written():
    assert sampling.parse_numbers("seeds", "0-3,7") == [0, 1, 2, 3, 7]
    assert sampling.parse_numbers("seeds", "5") == [5]
    for wrong in ("", "3-", "-3", "1,,2", "x", "5-2"):
        with pytest.raises(UserError, match="seeds="):
            sampling.parse_numbers("seeds", wrong)


def test_where_nothing_can_be_written_is_said_before_anything_is_made(here, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # because root may write everywhere
    assert_refused(
        here("sample.py", "run=none", "out=new/x.png"), f"{tmp_path} may not be written to; set another out="
    )
    (tmp_path / "run").mkdir()
    assert_refused(here("sample.py", "run=run"), "run may not be written to; set out= to another place")
    mine = tmp_path / "mine"
    mine.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path == Path("mine"))
    into = here("sample.py", "run=none", "format=files", "out=mine", "overwrite=true")
    assert_refused(into, "run=none does not exist")
