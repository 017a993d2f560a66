"""``scripts/sample.py``: images from a run, each a function of its seed."""

import numpy as np
import pytest
import torch
from PIL import Image

from dcgan import sampling
from dcgan.errors import UserError


@pytest.fixture
def run(command, tmp_path):
    assert command("train", "experiment=smoke", "name=tiny").returncode == 0
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

    newest = run / "checkpoints" / "step-00000012.pt"
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
    latents, labels, columns = sampling.fixed_inputs(trained.network.latent_dim, 10)
    grid_images = sampling.generate(trained.network, latents, labels)
    assert columns == 10
    for row, column in [(0, 0), (3, 5)]:
        image, _ = trained.sample([row], [column])
        assert torch.equal(image[0], grid_images[row * columns + column])


def test_ranges_are_read_as_they_are_written():
    assert sampling.parse_numbers("seeds", "0-3,7") == [0, 1, 2, 3, 7]
    assert sampling.parse_numbers("seeds", "5") == [5]
    for wrong in ("", "3-", "-3", "1,,2", "x", "5-2"):
        with pytest.raises(UserError, match="seeds="):
            sampling.parse_numbers("seeds", wrong)
