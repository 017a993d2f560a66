"""``scripts/sample.py``: images from a run, each a function of its seed."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from dcgan import sampling
from dcgan.config import ModelConfig
from dcgan.errors import UserError
from dcgan.networks import Generator


@pytest.fixture
def run(command, tmp_path):
    # Long enough for different seeds to give different images.
    rates = ["optim.generator_lr=0.01", "optim.discriminator_lr=0.01", "optim.ema_decay=0.5"]
    assert command("train", "experiment=smoke", "name=tiny", "steps=80", *rates).returncode == 0
    return tmp_path / "outputs" / "tiny"


def pixels(path):
    with Image.open(path) as picture:
        return np.array(picture)


def test_one_run_becomes_a_grid_files_and_arrays(command, tmp_path, run):
    assert command("sample.py", "run=outputs/tiny", "count=20").returncode == 0
    assert pixels(run / "sampled.png").shape == (2 * 30 + 2, 10 * 30 + 2, 3)

    assert (
        command("sample.py", f"run={run}", "format=npz", "seeds=0-3,7", "out=some/where.npz").returncode == 0
    )
    with np.load(tmp_path / "some" / "where.npz") as arrays:
        assert arrays["images"].shape == (5, 28, 28, 1)
        assert arrays["images"].dtype == np.uint8
        assert arrays["labels"].tolist() == arrays["seeds"].tolist() == [0, 1, 2, 3, 7]
        images = arrays["images"]
        assert images[0].std() > 5
        assert np.abs(images[0].astype(int) - images[1]).max() > 5

    newest = run / "checkpoints" / "step-00000080.pt"
    done = command("sample.py", f"run={newest}", "format=files", "seeds=7,2", "out=single")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "single").iterdir()) == [
        "seed-000002-class-2.png",
        "seed-000007-class-7.png",
    ]
    # Whatever else is asked for, and however it is written.
    assert np.array_equal(pixels(tmp_path / "single" / "seed-000007-class-7.png"), images[4, :, :, 0])
    assert np.array_equal(pixels(tmp_path / "single" / "seed-000002-class-2.png"), images[2, :, :, 0])

    threes = command("sample.py", "run=outputs/tiny", "count=4", "classes=3", "format=npz", "weights=raw")
    assert threes.returncode == 0
    with np.load(run / "sampled.npz") as arrays:
        assert arrays["labels"].tolist() == [3, 3, 3, 3]
        assert not np.array_equal(arrays["images"][3], images[3])  # raw weights, not the average

    for arguments, message in [
        (["run=outputs/none"], "run=outputs/none does not exist"),
        ([], "run"),
        (["run=outputs/tiny", "classes=11"], "classes=11 unknown; this run has 0 to 9"),
        (["run=outputs/tiny", "seeds=a-b"], "seeds=a-b must be numbers and ranges"),
        (["run=outputs/tiny", "seed=3"], "there is no setting seed; did you mean seeds?"),
        (["run=outputs/tiny", "count=3", "seeds=1"], "count and seeds"),
        (["run=outputs/tiny", "format=mp4"], "format"),
        (["outputs/tiny"], "'outputs/tiny' is not of the form key=value"),
    ]:
        failed = command("sample.py", *arguments)
        assert failed.returncode == 1
        assert len(failed.stderr.strip().splitlines()) == 1, failed.stderr
        assert message in failed.stderr
    assert "run=outputs/mnist5k" in command("sample.py", "--help").stdout


def test_the_grid_of_the_training_shows_what_the_script_gives(command, run):
    trained = sampling.load_generator(run)
    latents, labels, columns = sampling.fixed_inputs(trained.network, 10)
    grid_images = sampling.generate(trained.network, latents, labels)
    assert columns == 10
    for row, column in [(0, 0), (3, 5)]:
        image, _ = trained.sample([row], [column])
        assert torch.equal(image[0], grid_images[row * columns + column])


def test_walks_and_films(command, tmp_path, run):
    done = command("sample.py", f"run={run}", "format=gif", "seeds=3,5", "frames=4", "classes=1,7")
    assert done.returncode == 0, done.stderr
    trained = sampling.load_generator(run)
    with Image.open(run / "walk.gif") as walk:
        # Equal frames are one that stays longer.
        assert sum(frame.info["duration"] for frame in ImageSequence.Iterator(walk)) == 8 * 80
        assert walk.size == (2 * (2 * 30 + 2), 2 * (30 + 2))  # two classes side by side, twice as large
    trained = sampling.load_generator(run)
    frames = trained.film(sampling.walk(trained.network, [3, 5], 4, spherical=True), [1, 7])
    for frame, seed in ((0, 3), (4, 5)):
        shown = frames[frame, 0, 2:30, 32:60]
        assert torch.equal(shown, trained.sample([seed], [7])[0][0, 0])
    done = command("sample.py", f"run={run}", "format=film", "out=film.gif")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == len(list((run / "samples").iterdir())) == 14
        assert film.size == (10 * 30 + 2, 8 * 30 + 2 + 20)
        assert np.array(film.convert("L"))[:20].min() < 100  # the step is written there
    assert "frames=0 must be at least 1" in command("sample.py", f"run={run}", "frames=0").stderr


def test_a_spherical_walk_keeps_the_length_and_a_straight_one_does_not():
    network = Generator(ModelConfig(width=2, latent_dim=64), (8, 8), 1, 0)
    ends = sampling.latents_of(network, [1, 2])
    spherical = sampling.walk(network, [1, 2], 10, spherical=True)
    straight = sampling.walk(network, [1, 2], 10, spherical=False)
    for way in (spherical, straight):
        assert way.shape == (20, 64)
        torch.testing.assert_close(way[[0, 10]], ends)
    assert spherical.norm(dim=1).min() > 0.95 * ends.norm(dim=1).min()
    assert straight.norm(dim=1).min() < 0.9 * ends.norm(dim=1).min()
    torch.testing.assert_close(straight[5], ends.mean(0))
    to_itself = sampling.walk(network, [4], 3, spherical=True)
    assert torch.equal(to_itself, sampling.latents_of(network, [4, 4, 4]))


def test_ranges_are_read_as_they_are_written():
    assert sampling.parse_numbers("seeds", "0-3,7") == [0, 1, 2, 3, 7]
    assert sampling.parse_numbers("seeds", "5") == [5]
    for wrong in ("", "3-", "-3", "1,,2", "x", "5-2"):
        with pytest.raises(UserError, match="seeds="):
            sampling.parse_numbers("seeds", wrong)
