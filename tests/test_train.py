"""End-to-end tests of ``python -m dcgan.train``."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from filelock import FileLock
from hydra._internal.utils import get_args_parser
from PIL import Image
from runs import (
    ROOT,
    TINY,
    assert_refused,
    assert_same_run,
    assert_same_state,
    commands,
    last_state,
    numbers,
    signalled_inputs,
    tiny_with,
    wait_for_step,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import dcgan
from dcgan import checkpoint, cli, data, engine, train, training
from dcgan.config import Config, differences


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a finished training command, and the directory of its run; tests must not change it."""
    directory = tmp_path_factory.mktemp("finished")
    with commands(directory) as command:
        done = command("train", *TINY, "checkpoint_keep=2")
    assert done.returncode == 0, done.stderr
    return done, directory / "outputs" / "tiny"


@pytest.fixture
def tiny(finished, tmp_path):
    """Return a copy of that run."""
    return shutil.copytree(finished[1], tmp_path / "outputs" / "tiny")


def test_a_run_leaves_its_settings_numbers_pictures_and_checkpoints(finished, tiny, here):
    done, run_dir = finished
    assert "Traceback" not in done.stderr
    assert "step 40/40" in done.stderr

    assert [line["step"] for line in numbers(run_dir)] == list(range(1, 41))
    assert "upsample: scratch" in (run_dir / "config.yaml").read_text()
    assert "step 40/40" in (run_dir / "run.log").read_text()
    kept = sorted(path.name for path in (run_dir / "checkpoints").iterdir())
    assert kept == ["step-00000035.pt", "step-00000040.pt"]
    assert checkpoint.newest(run_dir / "checkpoints")["class_counts"] == [450] * 10
    for name in ("real/step-00000000", "samples/step-00000020", "samples/step-00000040"):
        with Image.open(run_dir / f"{name}.png") as picture:
            assert picture.size == (10 * 30 + 2, 8 * 30 + 2)  # a column per class, eight rows
            assert picture.convert("L").getextrema()[1] > picture.convert("L").getextrema()[0]

    board = EventAccumulator(str(run_dir), size_guidance={"scalars": 0, "images": 0}).Reload()
    recorded = numbers(run_dir)
    for name in recorded[0].keys() - {"step"}:
        values = [event.value for event in board.Scalars(name)]
        assert values == pytest.approx([line[name] for line in recorded], rel=1e-6), name
    assert {"loss/generator", "discriminator/fake_after", "learning_rate/generator"} <= recorded[0].keys()
    assert board.Scalars("speed/images_per_second")[0].value > 0
    assert [event.step for event in board.Images("samples")] == [20, 40]
    assert "settings/text_summary" in board.Tags()["tensors"]
    assert "_hparams_/experiment" in board.summary_metadata
    shown = [name for name in board.Tags()["scalars"] if name.startswith("final/")]
    assert sorted(shown) == [f"final/loss_{name}" for name in ("discriminator", "generator", "penalty")]
    (final,) = board.Scalars("final/loss_generator")
    assert (final.step, final.value) == (40, pytest.approx(recorded[-1]["loss/generator"]))

    again = here("train", *TINY, "checkpoint_keep=2")
    assert again.returncode == 0
    assert "is finished: step 40 of 40" in again.stderr
    assert_same_run(tiny, run_dir)


@pytest.mark.parametrize(
    ("number", "code", "saved"),
    [(signal.SIGINT, 130, 18), (signal.SIGTERM, 143, 18), (signal.SIGKILL, -9, 14)],
)
def test_a_run_cut_in_two_is_the_uninterrupted_run_to_the_bit(command, tmp_path, finished, number, code, saved):
    cut = command("train", *TINY, signalled=(number, 17))
    assert cut.returncode == code, cut.stderr
    assert "Traceback" not in cut.stderr
    run_dir = tmp_path / "outputs" / "tiny"
    assert last_state(run_dir)["step"] == saved
    assert ("stopped and saved at step 18" in cut.stderr) == (number != signal.SIGKILL)

    resumed = command("train", *TINY, "checkpoint_keep=2")
    assert resumed.returncode == 0, resumed.stderr
    assert f"resumed at step {saved}" in resumed.stderr
    assert_same_run(run_dir, finished[1])
    board = EventAccumulator(str(run_dir), size_guidance={"scalars": 0}).Reload()
    assert [event.step for event in board.Scalars("loss/generator")] == list(range(1, 41))


def test_a_run_goes_on_where_its_pictures_have_moved_to_and_not_on_others(here, tmp_path, monkeypatch):
    (tmp_path / "pictures").mkdir()
    for number in range(20):
        Image.effect_noise((8, 8), 10 + 10 * number).save(tmp_path / "pictures" / f"{number}.png")
    settings = ["experiment=smoke", "data=folder", "data.image_size=8", "data.channels=1", "batch_size=4"]
    assert here("train", *settings, "name=whole", "data.root=pictures").returncode == 0
    with monkeypatch.context() as patched:
        patched.setattr(engine, "inputs", signalled_inputs(signal.SIGTERM, 6))
        assert here("train", *settings, "name=cut", "data.root=pictures").returncode == 143
    (tmp_path / "pictures").rename(tmp_path / "moved")
    moved = [*settings, "name=cut", "data.root=moved", "data.store=elsewhere", "log_every=1"]

    path = tmp_path / "moved" / "7.png"
    content = path.read_bytes()
    Image.new("L", (8, 8)).save(path)
    assert_refused(here("train", *moved), "belongs to a run with other settings (the pictures themselves)")
    assert last_state(tmp_path / "outputs" / "cut")["step"] == 7

    path.write_bytes(content)
    resumed = here("train", *moved, "sample_every=5", "checkpoint_every=5", "checkpoint_keep=9")
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed at step 7" in resumed.stderr
    kept = sorted(path.stem for path in (tmp_path / "outputs" / "cut" / "checkpoints").iterdir())
    assert kept == [f"step-{step:08d}" for step in (4, 7, 10, 12)]
    assert (tmp_path / "outputs" / "cut" / "samples" / "step-00000010.png").exists()
    assert_same_state(tmp_path / "outputs" / "cut", tmp_path / "outputs" / "whole")


def test_a_training_that_diverges_says_where_and_keeps_its_last_checkpoint(command, tmp_path):
    done = command("train", *tiny_with("checkpoint_every=2", "loss.r1=1e39", "loss.penalty_every=6"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "the loss of the discriminator is not finite at step 6: the training diverged" in error
    run_dir = tmp_path / "outputs" / "tiny"
    state = last_state(run_dir)
    assert state["step"] == 4
    for part in ("generator", "discriminator", "generator_ema"):
        assert all(tensor.isfinite().all() for tensor in state[part].values())
    assert [line["step"] for line in numbers(run_dir)] == [1, 2, 3, 4, 5]


def test_every_size_and_kernel_goes_the_whole_way_as_a_sweep_that_resumes(command, here, tmp_path):
    sweep = [
        "-m",
        "experiment=smoke",
        "steps=1",
        "sweep=sizes",
        "data.image_size=28,17,[30,45],64,[218,178]",
        "model.kernel_size=4,5",
    ]
    done = command("train", *sweep)
    assert done.returncode == 0, done.stderr
    directories = [path for path in (tmp_path / "outputs" / "sweeps" / "sizes").iterdir() if path.is_dir()]
    assert len(directories) == 10
    sizes = set()
    for directory in directories:
        state = last_state(directory)
        height, width = state["config"]["data"]["image_size"]
        sizes.add((height, width))
        with Image.open(directory / "samples" / "step-00000001.png") as picture:
            assert picture.size == (10 * (width + 2) + 2, 8 * (height + 2) + 2)
    assert sizes == {(28, 28), (17, 17), (30, 45), (64, 64), (218, 178)}
    assert here("train", *sweep).stderr.count("is finished: step 1 of 1") == 10


def test_every_way_of_upsampling_trains_with_and_without_labels(command, tmp_path):
    done = command(
        "train",
        "-m",
        "experiment=smoke",
        "steps=2",
        "data.image_size=17",
        "model.upsample=scratch,builtin,resize,pixel_shuffle",
        "model.kernel_size=4,5",
        "model.conditional=true,false",
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "outputs" / "sweeps" / "unnamed").glob("*/checkpoints/*2.pt"))) == 16


def test_scratch_and_built_in_agree_to_rounding_over_the_first_steps(command, tmp_path):
    settings = ["steps=3", "log_every=1", "evaluate_every=0", "device=cpu"]
    done = command("train", "-m", *settings, "model.upsample=scratch,builtin")
    assert done.returncode == 0, done.stderr
    scratch, builtin = (
        numbers(tmp_path / "outputs" / "sweeps" / "unnamed" / f"mnist5k-steps_3-upsample_{way}")
        for way in ("scratch", "builtin")
    )
    # log_every does not change what a run computes, so it is not part of the name.
    for ours, theirs in zip(scratch, builtin, strict=True):
        # A rounding error grows about tenfold with each step.
        tolerance = 1e-6 * 10 ** ours["step"]
        for loss in ("loss/discriminator", "loss/generator"):
            assert ours[loss] == pytest.approx(theirs[loss], rel=tolerance)


def test_a_checkpoint_starts_another_run(here, tmp_path, tiny):
    start = "resume=outputs/tiny/checkpoints/step-00000040.pt"
    longer = here("train", *tiny_with("name=longer", "steps=42", "model.upsample=builtin", start))
    assert longer.returncode == 0, longer.stderr
    assert "resumed at step 40" in longer.stderr
    assert last_state(tmp_path / "outputs" / "longer")["step"] == 42
    assert (tmp_path / "outputs" / "longer" / "real" / "step-00000000.png").exists()  # as in every new run
    shorter = here("train", *tiny_with("name=shorter", "steps=12", start))
    assert_refused(shorter, "is at step 40 already; set steps to more")
    wider = here("train", *tiny_with("name=wider", "steps=99", "model.width=5", start))
    assert_refused(wider, "another shape")
    assert "model.width=4, now 5" in wider.stderr
    taught = here("train", *tiny_with("name=taught", "steps=99", "loss.auxiliary_classifier=1", start))
    assert_refused(taught, "another shape (loss.auxiliary_classifier=0.0, now 1.0)")
    for refused in ("shorter", "wider", "taught"):
        assert not (tmp_path / "outputs" / refused).exists()


def test_a_damaged_newest_checkpoint_costs_only_the_steps_since_the_one_before(command, tiny, finished):
    newest = tiny / "checkpoints" / "step-00000040.pt"
    good = newest.read_bytes()
    newest.write_bytes(good[: len(good) // 2])
    healed = command("train", *TINY)
    assert healed.returncode == 0, healed.stderr
    assert "step-00000040.pt is damaged" in healed.stderr
    assert "resumed at step 35" in healed.stderr
    assert checkpoint.load(newest)["step"] == 40
    assert_same_run(tiny, finished[1])


def test_a_run_directory_belongs_to_its_settings_and_to_one_process(command, here, tmp_path):
    first = command("train", *tiny_with("steps=100000"), wait=False)
    wait_for_step(first, tmp_path / "outputs" / "tiny", 8)
    assert_refused(here("train", *tiny_with("steps=100000")), "another process is training in outputs/tiny")
    first.send_signal(signal.SIGTERM)
    _, stderr = first.communicate(timeout=240)
    assert first.returncode == 143, stderr

    before = (tmp_path / "outputs" / "tiny" / "config.yaml").read_text()
    other = here("train", *tiny_with("steps=100000", "optim.generator_lr=0.5", "log_every=3"))
    assert_refused(other, "belongs to a run with other settings (optim.generator_lr=0.001, now 0.5)")
    assert (tmp_path / "outputs" / "tiny" / "config.yaml").read_text() == before
    assert_refused(here("train", *tiny_with("steps=100000", "resume=never")), "resume=never")


def test_a_second_start_leaves_the_directory_of_a_run_that_has_written_nothing_yet(here, tmp_path):
    run_dir = tmp_path / "outputs" / "tiny"
    run_dir.mkdir(parents=True)
    with FileLock(run_dir / train.LOCK):
        before = (run_dir / train.LOCK).stat()
        assert_refused(here("train", *TINY), "another process is training in outputs/tiny")
        assert (run_dir / train.LOCK).stat().st_ino == before.st_ino
    assert_refused(here("train", *TINY, "resume=nowhere.pt"), "there is no checkpoint nowhere.pt")
    assert not run_dir.exists()


def test_a_run_that_is_interrupted_before_it_begins_leaves_no_directory(here, tmp_path, monkeypatch):
    def interrupt(_):
        assert (tmp_path / "outputs" / "tiny").is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "load", interrupt)
    assert here("train", *TINY).returncode == 130
    assert not list((tmp_path / "outputs").iterdir())


def own_experiments(tmp_path, **files):
    """Write files of experiments, and return the option that finds them."""
    for name, content in files.items():
        path = tmp_path / "own" / "experiment" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return ["--config-dir", str(tmp_path / "own")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "sweep: mine",
            "experiment/mine.yaml: there is no setting experiment; begin the file with the line '# @package",
        ),
        ("# @package _global_\nloss: hinge", "set one of loss.name, loss.label_smoothing"),
        (
            "# @package _global_\nmodel: paper",
            "to choose a file of the group, write 'defaults: [override /model: NAME]'",
        ),
        ("# @package _global_\noptim: adam", "optim is a group of settings; set one of optim.generator_lr"),
        (
            "# @package _global_\ndata:\n  augment: flip",
            "data.augment is a group of settings; set one of data.augment.flip",
        ),
        (
            "# @package _global_\nloss.r1: 0",
            "loss.r1 is written on two lines in a file: 'loss:', and under it, indented, 'r1: ...'",
        ),
        ("# @package _global_\ndefaults: [override /optim: adam]", "mine.yaml: Could not override 'optim'"),
        (b"# @package _global_\nsweep: caf\xe9", "a text file, such as one in configs/, is not in UTF-8"),
        (
            "# @package _global_\nloss:\n  rr1: 0",
            "experiment/mine.yaml: there is no setting loss.rr1; did you mean loss.r1?",
        ),
        ("# @package _global_\nsteps: many", "experiment/mine.yaml: steps=many must be a whole number"),
        (
            "# @package _global_\nhydra:\n  sweeper:\n    parms:\n      seed: 0,1",
            "no setting hydra.sweeper.parms; did you mean hydra.sweeper.params?",
        ),
        ("# @package _global_\nsweep: mine\n loss:\n  r1: 0", "mine.yaml, line 3: mapping values are not allowed here"),
    ],
)
def test_a_fault_in_an_experiment_of_ones_own_is_a_sentence(here, tmp_path, content, message):
    assert_refused(here("train", *own_experiments(tmp_path, mine=content), "experiment=mine"), message)


def test_no_file_is_advised_for_a_group_that_has_none(here, tmp_path):
    options = own_experiments(tmp_path, mine="# @package _global_\noptim: adam")
    assert here("train", *options, "experiment=mine").stderr.endswith("optim.ema_decay\n")


def test_only_what_looks_like_several_numbers_is_taken_for_them(here):
    assert "for a run with each" not in here("train", "steps=many").stderr
    assert "for a run with each" not in here("train", "optim.generator_lr=fast-1").stderr
    assert "write optim.generator_lr=1,2 and -m" in here("train", "optim.generator_lr=[1,2]").stderr


def test_a_list_of_experiments_runs_if_everything_is_set_that_they_sweep_over(here, tmp_path):
    head = "# @package _global_\ndefaults: [smoke, _self_]\nhydra:\n  sweeper:\n    params:\n      "
    own = own_experiments(tmp_path, one=f"{head}loss.r1: 1,2", two=f"{head}loss.r1: 3,4")
    options = ["-m", *own, "experiment=one,two", "steps=1", "device=cpu"]
    assert_refused(here("train", *options), "experiment=one is a sweep of its own, over loss.r1, which it is not in")
    done = here("train", *options, "loss.r1=5")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "outputs" / "sweeps" / "unnamed").glob("*/config.yaml"))) == 2


def test_the_version_is_ours(here):
    done = here("train", "--version")
    assert (done.returncode, done.stdout) == (0, f"dcgan {dcgan.__version__}\n")


BAD_INPUT = [
    (["stepss=3"], "there is no setting stepss; did you mean steps?"),
    (["model.zdim=3"], "there is no setting model.zdim"),
    (["lr=3"], "there is no setting lr; did you mean optim.generator_lr or optim.discriminator_lr?"),
    (["optimizer.generator_lr=1"], "no setting optimizer.generator_lr; did you mean optim.generator_lr?"),
    (["augment.rotate=3"], "there is no setting augment.rotate; did you mean data.augment.rotate?"),
    (["losss=hinge"], "there is no setting losss; did you mean loss?"),
    (["~optim.betas"], "~optim.betas cannot be removed; leave it out for its default"),
    (["--steps=3"], "--steps=3 is a setting, not an option; write steps=3"),
    (["=60"], "'=60' is not of the form setting=value"),
    (["seed=0", "seed=1"], "seed= is given more than once"),
    (["-m", "seed=0,1", "seed=2,3"], "seed= is given more than once"),
    (
        ["-m", "seed=0-3"],
        "must be a whole number, written like 1000; for a run with each of several, write seed=0,3 and -m",
    ),
    (["--cfg", "job", "-m", "seed=0,1"], "--cfg is about one run; leave out -m"),
    (["-m", "-cjob", "seed=0,1"], "-cjob is about one run; leave out -m"),
    (["-m", "--info", "seed=0,1"], "--info is about one run; leave out -m"),
    (["--loss=hinge"], "--loss=hinge is a setting, not an option; write loss=hinge"),
    (["seed=0", "+seed=1"], "seed= is given more than once"),
    (["augment=flip"], "there is no setting augment; did you mean loss.augment or data.augment.flip"),
    (["model.norm=batch"], "no setting model.norm; did you mean model.discriminator_norm or model.spectral_norm?"),
    (["BATCH_SIZE=3"], "there is no setting BATCH_SIZE; did you mean batch_size?"),
    (["epochs=3"], "there is no setting epochs; did you mean steps?"),
    (["data.path=in"], "there is no setting data.path; did you mean data.root?"),
    (["data.dataset=mnist"], "there is no setting data.dataset; did you mean data?"),
    (["hydra.nam=3"], "there is no setting hydra.nam; did you mean hydra.sweeper.params?"),
    (
        ["-m", "experiment=losses,kernels"],
        "experiment=losses is a sweep of its own, over loss and seed, which it is not in",
    ),
    (["steps=0"], "steps=0 must be from 1 to 99999999"),
    (["+model.extra=3"], "there is no setting model.extra"),
    (["modell=paper"], "modell"),
    (["steps"], "'steps' is not of the form setting=value"),
    (["data.image_size=[30"], "'data.image_size=[30' is not of the form setting=value"),
    (
        ["data=imagenet"],
        "data=imagenet is unknown; choose one of celeba, cifar10, fashion_mnist, folder, mnist",
    ),
    (
        ["data.name=cifar10"],
        "data.name=cifar10 would leave out the settings that belong to it; set data= to one of celeba, cifar10, f",
    ),
    (
        ["loss.name=wasserstein"],
        "set loss= to one of hinge, least_squares, nonsaturating, relativistic, wgan_gp",
    ),
    (["seed=0,1"], "seed=0,1 has several values; add -m for a run with each"),
    (["~steps"], "~steps cannot be removed; leave it out for its default"),
    (["optim.lr=0.1"], "did you mean optim.generator_lr or optim.discriminator_lr?"),
    (["data.root=in"], "data.root=in has no effect with data=mnist5k, the default; set data=folder, or another set"),
    (["name=a/b"], "name=a/b must be a directory name"),
    (["data.augment.translate=15"], "data.augment.translate=15 must be from 0 to 14"),
    (["steps=many"], "steps=many must be a whole number, written like 1000"),
    (["steps=1e3"], "steps=1000.0 must be a whole number, written like 1000"),
    (["loss.r1=much"], "loss.r1=much must be a number"),
    (["data=5"], "data=5 is unknown; choose one of celeba"),
    (["experiment=foo"], "experiment=foo is unknown; choose one of auxiliary, averages, claims/momentum"),
    (["hydra/launcher=foo"], "hydra/launcher=foo is unknown; choose one of basic"),
    (["loss=null"], "loss=null is unknown; choose one of hinge"),
    (
        ["data.augment=flip"],
        "data.augment is a group of settings; set one of data.augment.flip, data.augment.translate",
    ),
    (["batch_size=0"], "batch_size=0 must be at least 2"),
    (["batch_size=6000"], "batch_size=6000 is more than the 4500 pictures"),
    (["data.image_size=4"], "data.image_size=4 must be"),
    (["data.image_size=[28]"], "data.image_size=[28] must be"),
    (["model.upsample=foo"], "model.upsample=foo is unknown; choose one of scratch, builtin, resize, pixel_shuffle"),
    (["data.augment.flip=maybe"], "data.augment.flip=maybe must be true or false"),
    (
        ["model.upsample=builtin", "model.algorithm=gemm"],
        "model.algorithm=gemm has no effect with model.upsample=b",
    ),
    (["model.kernel_size=1"], "model.kernel_size=1 must be from 2 to 8"),
    (["optim.generator_lr=nan"], "optim.generator_lr=nan must be"),
    (["optim.betas=[0.5]"], "optim.betas=[0.5] must be two numbers"),
    (["seed=18446744073709551616"], "seed=18446744073709551616 must be from 0 to 9.223372e+18"),
    (["name=../elsewhere"], "name=../elsewhere must be a directory name"),
    (["resume=nowhere.pt"], "there is no checkpoint nowhere.pt"),
    (["resume=page.pt"], "page.pt is damaged or no checkpoint"),
    (["resume=other.pt"], "other.pt is no checkpoint of dcgan.train; choose one in a run's checkpoints/"),
    (["resume=outputs"], "outputs is a directory; name one of the files in its checkpoints/"),
    (["experiment=upsamplers"], "sweep=upsamplers is for several runs; add -m"),
    (["loss.augment=color"], "loss.augment must be a list in brackets"),
    (["evaluate_samples=5"], "evaluate_samples=5 must be at least 10"),
    (["data=folder", "data.root=~nosuchuser/in"], "data.root=~nosuchuser/in does not exist"),
]


def test_too_few_pictures_for_an_evaluation_leave_nothing(here, tmp_path):
    for number in range(12):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.new("L", (8, 8), number).save(tmp_path / "in" / f"{number}.png")
    settings = ["data=folder", "data.root=in", "data.image_size=8", "batch_size=2", "evaluate_every=5"]
    assert_refused(here("train", *settings), "an evaluation takes at least 20 pictures")
    assert not list((tmp_path / "outputs").glob("*"))


def test_a_run_directory_that_hydra_was_told_may_have_any_name(here, tmp_path):
    run_dir = tmp_path / "my run (1)"
    settings = ["experiment=smoke", "steps=1", "evaluate_every=0", f"hydra.run.dir='{run_dir}'"]
    assert here("train", *settings).returncode == 0
    done = here("sample.py", f"run={run_dir}", "count=1")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT, ids=lambda value: "")
def test_bad_input_gets_one_sentence_and_leaves_nothing(here, tmp_path, arguments, message):
    (tmp_path / "page.pt").write_text("<html>quota exceeded</html>")
    checkpoint.write(tmp_path / "other.pt", {"classifier": {}})
    assert_refused(here("train", *arguments), message)
    assert not list((tmp_path / "outputs").glob("*"))


@pytest.mark.parametrize("sweep", [False, True])
def test_a_path_may_hold_any_sign_and_a_name_is_no_number(here, tmp_path, monkeypatch, sweep):
    pictures = tmp_path / "my (best) 日本, it's = 50% [x] {y}"
    if sweep:
        pictures = tmp_path / "日本 (best)"  # in a sweep a comma separates values
    pictures.mkdir()
    for number in range(4):
        Image.new("L", (8, 8), number).save(pictures / f"{number}.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = ["data=folder", f"data.root=~/{pictures.name}", "data.image_size=8", "data.held_out=0"]
    settings += ["experiment=smoke", "steps=1", "batch_size=2", "evaluate_every=0", "model.width=2"]
    outputs = tmp_path / "outputs"
    if sweep:
        done = here("train", *settings, "-m", "sweep=2024_05", "seed=0,1")
        names = [path.name for path in (outputs / "sweeps" / "2024_05").iterdir() if path.is_dir()]
        assert len(names) == 2
        assert all("root_日本_best-seed_" in name for name in names)
    else:
        done = here("train", *settings, "name=2024_05")
        assert last_state(outputs / "2024_05")["config"]["data"]["root"] == str(pictures)
        assert here("prepare.py", *settings[:4]).returncode == 0
    assert done.returncode == 0, done.stderr


def test_a_text_in_quotes_of_hydras_own_is_left_alone():
    given = ["name='a b'", 'data.root="x"', "data.root=null", "steps=3", "model.upsample=scratch"]
    assert cli.quoted(given) == given
    assert cli.quoted(["-m", "data.root=a,b"]) == ["-m", "data.root=a,b"]
    assert cli.quoted(["data.root=a\\'b\\"]) == ["data.root='a\\\\\\'b\\\\'"]


def test_a_name_that_is_refused_leaves_what_has_that_name(here, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / train.LOG).write_text("mine")
    assert_refused(here("train", "name=../notes"), "name=../notes must be a directory name")
    assert (tmp_path / "notes" / train.LOG).read_text() == "mine"


def test_what_is_no_directory_is_a_sentence(here, tmp_path):
    (tmp_path / "outputs").write_text("")
    assert_refused(here("train", *TINY), "outputs/tiny")


def test_too_little_memory_is_a_sentence(here, tmp_path):
    huge = here("train", *TINY, "model.width=1000000000", "evaluate_every=0")
    assert_refused(huge, "there is too little memory for batch_size=16, model.width=1000000000 and data.image_size=")
    assert not list((tmp_path / "outputs").iterdir())


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("std::bad_alloc")])
def test_too_little_memory_for_a_script_is_a_sentence(monkeypatch, capsys, error):
    def command():
        raise error

    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    with pytest.raises(SystemExit):
        cli.exit_on_error(command)
    assert capsys.readouterr().err == (
        "error: there is too little memory for this; ask for fewer or smaller pictures at once\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["loss.r1=1,-1"], "loss.r1=-1.0 must be at least 0"),
        (["steps=2,null"], "steps=null is not possible; leave it out for its default"),
        (["name=a,b"], "name=a is for one run; set sweep= in its place"),
        (
            ["loss.auxiliary_classifier=1", "model.conditional=true,false"],
            "loss.auxiliary_classifier=1 needs classes, which model.conditional=false leaves out; leave out one",
        ),
        (["data=folder", "data.root=.,nowhere"], "data.root=nowhere does not exist"),
        (["data.name=mnist5k,folder"], "data.name=mnist5k would leave out the settings that belong to it"),
        (
            ["log_every=1,2", "seed=0,1"],
            "two runs of this sweep, named mnist5k-experiment_smoke-seed_0, have all settings in common that change",
        ),
    ],
    ids=lambda value: "",
)
def test_a_sweep_with_an_impossible_run_begins_none(here, tmp_path, arguments, message):
    assert_refused(here("train", "experiment=smoke", *arguments, "-m"), message)  # the position of -m does not matter
    assert not (tmp_path / "outputs").exists()


def test_a_second_ctrl_c_ends_it_at_once():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with training.noted_signals() as received:
        assert received() == 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
            assert received() == number
        signal.raise_signal(signal.SIGTERM)  # even a repeated one waits for the checkpoint
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize("arguments", [[], ["-m", "seed=0,1"]])
def test_ctrl_c_while_the_last_checkpoint_is_written_is_heard(here, tmp_path, monkeypatch, arguments):
    write = checkpoint.save

    def interrupted(*arguments):
        write(*arguments)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(checkpoint, "save", interrupted)
    done = here("train", *arguments, "experiment=smoke", "steps=2", "checkpoint_every=0")
    assert done.returncode == 130
    assert "finished: " in done.stderr
    runs = [*(tmp_path / "outputs").glob("mnist*"), *(tmp_path / "outputs").glob("sweeps/unnamed/mnist*")]
    assert len(runs) == 1  # the second run was not begun
    assert last_state(runs[0])["step"] == 2


def test_names_are_short_enough_for_a_directory_and_all_different():
    many = [f"data.augment.number_{i}={i}" for i in range(40)]
    names = {cli.run_name(None, "folder", [*many, f"seed={seed}"]) for seed in range(3)}
    assert len(names) == 3
    assert all(len(name) == cli.MAX_NAME_LENGTH for name in names)
    assert len(os.fsencode(cli.run_name(None, "folder", [f"data.root={'图' * 90}"]))) <= cli.MAX_NAME_LENGTH


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("resume=never", "mnist5k"),
        ("resume=auto", "mnist5k"),
        ("resume=a/b.pt", "mnist5k-resume_a_b.pt"),
        ("resume=./a//b.pt", "mnist5k-resume_a_b.pt"),
        ("device=cpu", "mnist5k"),
        ("seed=1", "mnist5k-seed_1"),
        ("data.root=my/faces.zip", "mnist5k-root_faces"),
    ],
)
def test_a_name_has_what_changes_what_is_computed_and_nothing_else(given, name):
    assert cli.run_name(None, "mnist5k", cli.quoted([given])) == name


def test_where_a_run_begins_is_part_of_what_it_is(here, tmp_path, tiny):
    starts = [f"outputs/tiny/checkpoints/step-000000{step}.pt" for step in (35, 40)]
    done = here("train", "-m", "experiment=smoke", "steps=42", f"resume={','.join(starts)}")
    assert done.returncode == 0, done.stderr
    runs = sorted((tmp_path / "outputs" / "sweeps" / "unnamed").glob("mnist*"))
    assert [str(last_state(run)["config"]["resume"]) for run in runs] == starts
    again = ["experiment=smoke", "name=again", "steps=42"]
    assert here("train", *again, f"resume={starts[0]}").returncode == 0
    assert "is finished" in here("train", *again).stderr
    assert "is finished" in here("train", *again, f"resume=./{starts[0]}").stderr
    other = here("train", *again, f"resume={starts[1]}")
    assert_refused(
        other,
        "outputs/again holds a run that did not begin from resume=outputs/tiny/checkpoints/step-00000040",
    )


def test_a_run_of_a_sweep_that_fails_does_not_stop_the_others(command, tmp_path):
    done = command("train", "-m", "experiment=smoke", "batch_size=6000,16,7000")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for failed in (6000, 7000):
        message = f"error: mnist5k-batch_size_{failed}-experiment_smoke: batch_size={failed} is more than"
        assert message in done.stderr
    both = "mnist5k-batch_size_6000-experiment_smoke, mnist5k-batch_size_7000-experiment_smoke"
    assert done.stderr.endswith(
        f"error: these runs failed, for the reasons above: {both}; the same command tries them again\n"
    )
    runs = [path.name for path in (tmp_path / "outputs" / "sweeps" / "unnamed").iterdir() if path.is_dir()]
    assert runs == ["mnist5k-batch_size_16-experiment_smoke"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a device that is there")
def test_a_run_without_any_stderr_trains_and_logs(tmp_path):
    program = [sys.executable, "-m", "dcgan.train", *TINY, "evaluate_every=0"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0
    assert "finished" in (tmp_path / "outputs" / "tiny" / "run.log").read_text()


def test_a_rank_alone_makes_no_second_process(command):
    assert_refused(command("train", "stepss=2", RANK="1"), "there is no setting stepss")
    done = command("train", *tiny_with("steps=2", "evaluate_every=0"), RANK="1")
    assert done.returncode == 0
    assert "finished" in done.stderr


def test_steps_too_few_for_a_penalty_are_told(here):
    assert (
        "no step has a penalty, because loss.penalty_every=9"
        in here("train", *tiny_with("steps=8", "loss.penalty_every=9")).stderr
    )
    assert (
        "no step has a penalty" not in here("train", *tiny_with("steps=9", "loss.penalty_every=9", "name=nine")).stderr
    )


def test_a_device_that_is_not_there_is_named(here):
    assert_refused(here("train", "device=cuda"), "device=cuda is not available here")


def test_ctrl_c_while_torch_is_imported_ends_it_with_a_word(command, tmp_path):
    (tmp_path / "torch.py").write_text(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt:\n    raise ImportError('cannot load module more than once')\n"
    )
    done = command("train", "steps=3", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize("question", ["--help", "--cfg=job", "stepss=3"])
def test_questions_are_answered_without_waiting_for_torch(command, tmp_path, question):
    (tmp_path / "torch.py").write_text("raise AssertionError('torch was imported')")
    done = command("train", question, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    if question == "stepss=3":
        assert_refused(done, "there is no setting stepss; did you mean steps?")
    else:
        assert done.returncode == 0, done.stderr
        assert "image_size: 28" in done.stdout
    assert not list((tmp_path / "outputs").glob("*"))


def test_hydra_starts_where_argparse_looks_into_its_help():
    """One of Hydra's help texts is an object: Python 3.14's argparse fails at once, older ones when they print it."""
    cli.mend_argparse()
    assert "shell completion" in get_args_parser().format_help()


def test_intels_library_is_asked_for_the_same_bits_in_every_run(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # the function sets it; monkeypatch restores it
    seen = []
    for given, expected in ((None, "AUTO"), ("COMPATIBLE", "COMPATIBLE")):
        monkeypatch.delenv("MKL_CBWR", raising=False)
        if given:
            monkeypatch.setenv("MKL_CBWR", given)
        cli.exit_on_error(lambda: seen.append(os.environ["MKL_CBWR"]))
        assert seen[-1] == expected


def test_a_run_of_an_earlier_version_had_the_default_of_a_setting_that_came_later():
    now = Config().to_plain()
    earlier = {key: value for key, value in now.items() if key != "precision"}
    assert differences(earlier, now) == []
    assert differences(earlier, now | {"precision": "bfloat16"}) == ["precision=float32, now bfloat16"]
