"""``python -m dcgan.train``, the whole way."""

import json
import os
import signal
import time

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dcgan import checkpoint, cli
from dcgan.config import Config, differences

# Small enough for seconds, long enough to be interrupted.
TINY = ["experiment=smoke", "name=tiny", "steps=40", "log_every=1", "sample_every=20", "checkpoint_every=7"]


def numbers(run_dir):
    """The record, without what depends on the clock and the machine."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith(("speed/", "memory/"))} for line in lines]


def last_state(run_dir):
    state = checkpoint.newest(run_dir / "checkpoints")
    state["config"].pop("name")
    return state


def assert_same_run(one, other):
    """Networks, average, both optimisers, pictures and numbers, to the bit."""
    first, second = last_state(one), last_state(other)
    assert first.keys() == second.keys()
    for part in ("generator", "discriminator", "generator_ema"):
        for name, tensor in first[part].items():
            assert torch.equal(tensor, second[part][name]), (part, name)
    for part in ("generator_optimizer", "discriminator_optimizer"):
        assert first[part]["param_groups"] == second[part]["param_groups"]
        for index, slots in first[part]["state"].items():
            for slot, tensor in slots.items():
                assert torch.equal(tensor, second[part]["state"][index][slot]), (part, index, slot)
    pictures = sorted(path.name for path in (one / "samples").iterdir())
    assert pictures == sorted(path.name for path in (other / "samples").iterdir())
    for picture in pictures:
        assert (one / "samples" / picture).read_bytes() == (other / "samples" / picture).read_bytes()
    assert numbers(one) == numbers(other)


def wait_for_step(process, run_dir, step):
    metrics = run_dir / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and len(metrics.read_text().splitlines()) >= step):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_run_leaves_its_settings_numbers_pictures_and_checkpoints(command, tmp_path):
    done = command("train", *TINY, "checkpoint_keep=2")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "step 40/40" in done.stderr
    run_dir = tmp_path / "outputs" / "tiny"

    assert [line["step"] for line in numbers(run_dir)] == list(range(1, 41))
    assert "upsample: scratch" in (run_dir / "config.yaml").read_text()
    assert "step 40/40" in (run_dir / "run.log").read_text()
    kept = sorted(path.name for path in (run_dir / "checkpoints").iterdir())
    assert kept == ["step-00000035.pt", "step-00000040.pt"]
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

    again = command("train", *TINY, "checkpoint_keep=2")
    assert again.returncode == 0
    assert "is finished: step 40 of 40" in again.stderr


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_run_cut_in_two_is_the_uninterrupted_run_to_the_bit(command, tmp_path, number, code):
    whole = command("train", *TINY[:1], "name=whole", *TINY[2:])
    assert whole.returncode == 0, whole.stderr
    cut = command("train", *TINY, wait=False)
    run_dir = tmp_path / "outputs" / "tiny"
    wait_for_step(cut, run_dir, 17)
    cut.send_signal(number)
    _, stderr = cut.communicate(timeout=60)
    assert cut.returncode == code, stderr
    assert "Traceback" not in stderr
    stopped_at = last_state(run_dir)["step"]
    assert 14 <= stopped_at < 40
    if number != signal.SIGKILL:
        assert f"stopped and saved at step {stopped_at}" in stderr

    resumed = command("train", *TINY)
    assert resumed.returncode == 0, resumed.stderr
    assert f"resumed at step {stopped_at}" in resumed.stderr
    assert_same_run(run_dir, tmp_path / "outputs" / "whole")
    board = EventAccumulator(str(run_dir), size_guidance={"scalars": 0}).Reload()
    assert [event.step for event in board.Scalars("loss/generator")] == list(range(1, 41))


def test_every_size_and_kernel_goes_the_whole_way_as_a_sweep_that_resumes(command, tmp_path):
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
    assert command("train", *sweep).stderr.count("is finished: step 1 of 1") == 10


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
    done = command(
        "train", "-m", "steps=3", "log_every=1", "evaluate_every=0", "model.upsample=scratch,builtin"
    )
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


def test_a_checkpoint_starts_another_run(command, tmp_path):
    assert command("train", *TINY).returncode == 0
    start = "resume=outputs/tiny/checkpoints/step-00000040.pt"
    longer = command("train", *TINY[:1], "name=longer", "steps=42", "model.upsample=builtin", start)
    assert longer.returncode == 0, longer.stderr
    assert "resumed at step 40" in longer.stderr
    assert last_state(tmp_path / "outputs" / "longer")["step"] == 42
    shorter = command("train", *TINY[:1], "name=shorter", "steps=12", start)
    assert shorter.returncode == 1
    assert "is at step 40 already; set steps to more" in shorter.stderr
    wider = command("train", *TINY[:1], "name=wider", "steps=99", "model.width=5", start)
    assert wider.returncode == 1
    assert "another shape" in wider.stderr
    assert "model.width=4, now 5" in wider.stderr
    assert not (tmp_path / "outputs" / "wider").exists()


def test_a_damaged_newest_checkpoint_costs_only_the_steps_since_the_one_before(command, tmp_path):
    assert command("train", *TINY).returncode == 0
    newest = tmp_path / "outputs" / "tiny" / "checkpoints" / "step-00000040.pt"
    good = newest.read_bytes()
    newest.write_bytes(good[: len(good) // 2])
    healed = command("train", *TINY)
    assert healed.returncode == 0, healed.stderr
    assert "step-00000040.pt is damaged" in healed.stderr
    assert "resumed at step 35" in healed.stderr
    assert checkpoint.load(newest)["step"] == 40


def test_a_run_directory_belongs_to_its_settings_and_to_one_process(command, tmp_path):
    first = command("train", *TINY, "steps=100000", wait=False)
    wait_for_step(first, tmp_path / "outputs" / "tiny", 8)
    second = command("train", *TINY, "steps=100000")
    assert second.returncode == 1
    assert "another process is training in" in second.stderr
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)

    before = (tmp_path / "outputs" / "tiny" / "config.yaml").read_text()
    other = command("train", *TINY, "steps=100000", "optim.generator_lr=0.5", "log_every=3")
    assert other.returncode == 1
    assert "belongs to a run with other settings (optim.generator_lr=0.001, now 0.5)" in other.stderr
    assert (tmp_path / "outputs" / "tiny" / "config.yaml").read_text() == before
    never = command("train", *TINY, "steps=100000", "resume=never")
    assert never.returncode == 1
    assert "resume=never" in never.stderr


BAD_INPUT = [
    (["stepss=3"], "there is no setting stepss; did you mean steps?"),
    (["model.zdim=3"], "there is no setting model.zdim"),
    (["+model.extra=3"], "there is no setting model.extra"),
    (["modell=paper"], "modell"),
    (["steps"], "'steps' is not of the form setting=value"),
    (["data.image_size=[30"], "'data.image_size=[30' is not of the form setting=value"),
    (
        ["data=imagenet"],
        "data=imagenet is unknown; choose one of celeba, cifar10, fashion_mnist, folder, mnist",
    ),
    (["steps=many"], "steps: Value 'many'"),
    (["batch_size=0"], "batch_size=0 must be at least 2"),
    (["batch_size=6000"], "batch_size=6000 is more than the 4500 pictures"),
    (["data.image_size=4"], "data.image_size=4 must be"),
    (["data.image_size=[28]"], "data.image_size=[28] must be"),
    (["model.upsample=foo"], "model.upsample: Invalid value 'foo', expected one of [scratch, builtin"),
    (["model.upsample=builtin", "model.algorithm=gemm"], "model.algorithm=gemm has no effect"),
    (["model.kernel_size=1"], "model.kernel_size=1 must be from 2 to 8"),
    (["optim.generator_lr=nan"], "optim.generator_lr=nan must be"),
    (["optim.betas=[0.5]"], "optim.betas=[0.5] must be two numbers"),
    (["name=../elsewhere"], "name=../elsewhere must be a directory name"),
    (["resume=nowhere.pt"], "there is no checkpoint nowhere.pt"),
    (["resume=page.pt"], "page.pt is damaged or no checkpoint"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT, ids=lambda value: "")
def test_bad_input_gets_one_sentence_and_leaves_nothing(command, tmp_path, arguments, message):
    (tmp_path / "page.pt").write_text("<html>quota exceeded</html>")
    done = command("train", *arguments)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if not line.startswith("prepared 5,000 pictures in ")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert not list((tmp_path / "outputs").glob("*"))


def test_a_run_of_a_sweep_that_fails_does_not_stop_the_others(command, tmp_path):
    done = command("train", "-m", "experiment=smoke", "batch_size=6000,16,7000")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for failed in (6000, 7000):
        message = f"error: mnist5k-batch_size_{failed}-experiment_smoke: batch_size={failed} is more than"
        assert message in done.stderr
    runs = [path.name for path in (tmp_path / "outputs" / "sweeps" / "unnamed").iterdir() if path.is_dir()]
    assert runs == ["mnist5k-batch_size_16-experiment_smoke"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a device that is there")
def test_a_device_that_is_not_there_is_named(command):
    done = command("train", "device=cuda")
    assert done.returncode == 1
    assert "device=cuda is not available here" in done.stderr


@pytest.mark.parametrize("question", ["--help", "--cfg=job"])
def test_questions_are_answered_without_waiting_for_torch(command, tmp_path, question):
    begun = time.monotonic()
    done = command("train", question)
    assert time.monotonic() - begun < 2
    assert done.returncode == 0
    assert "image_size: 28" in done.stdout
    assert not (tmp_path / "outputs").exists()


def test_intels_library_is_asked_for_the_same_bits_in_every_run(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # the function sets it; this puts it back
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
