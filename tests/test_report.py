"""``scripts/report.py`` claims the differences that exceed those between seeds, and no others."""

import csv
import io
import math
import shutil

import pytest
import torch
from PIL import Image

from dcgan import reporting
from dcgan.config import Config, flatten
from dcgan.errors import UserError
from dcgan.reporting import pictures, sweeps

NAME = "evaluation/frechet_classifier_distance"


def run(tmp_path, values, seed, **settings):
    """Make a run whose last Fréchet classifier distance is the last of ``values``."""
    flat = {**flatten(Config().to_plain()), "seed": seed, **settings}
    records = [
        {
            "step": step,
            "evaluation/frechet_classifier_distance": value,
            "evaluation_floor/frechet_classifier_distance": 0.04,
            "speed/images_per_second": 100.0,
        }
        for step, value in enumerate(values, 1)
    ]
    return sweeps.Run(
        tmp_path / f"{seed}", flat, "data", len(values), len(values), records, 1000, bool(flat["model.conditional"])
    )


def sweep(tmp_path, runs):
    return reporting.Sweep(tmp_path, sweeps.grouped(runs), [])


def test_runs_are_grouped_by_what_was_set_and_the_default_comes_first(tmp_path):
    runs = [
        run(tmp_path, [1.0], seed, **{"model.upsample": kind}) for kind in ("builtin", "scratch") for seed in (1, 0)
    ]
    groups = sweeps.grouped(runs)
    assert list(groups) == ["model.upsample=scratch", "model.upsample=builtin"]
    assert [r.seed for r in groups["model.upsample=scratch"]] == [0, 1]


def test_one_change_at_a_time_is_named_by_the_change_and_a_grid_by_all(tmp_path):
    one = [run(tmp_path, [1.0], 0, **change) for change in ({}, {"steps": 5}, {"batch_size": 7, "optim.ema_decay": 0})]
    assert list(sweeps.grouped(one)) == ["base", "steps=5", "batch_size=7, optim.ema_decay=0"]
    grid = [run(tmp_path, [1.0], 0, steps=s, batch_size=b) for s in (3000, 5) for b in (32, 7)]
    assert list(sweeps.grouped(grid)) == [
        "batch_size=32, steps=3000",
        "batch_size=7, steps=3000",
        "batch_size=32, steps=5",
        "batch_size=7, steps=5",
    ]
    assert list(sweeps.grouped(one[:1])) == ["all alike"]


def test_others_are_compared_with_the_run_from_which_they_differ_least_be_it_the_default_or_not(tmp_path):
    paper = {"optim.generator_lr": 2e-4, "optim.discriminator_lr": 2e-4, "model.latents": "uniform"}
    rate = {"optim.generator_lr": 1e-3, "optim.discriminator_lr": 1e-3}  # the defaults
    changes = [{}, rate, {"model.latents": "normal"}, {"optim.betas": [0.9, 0.999]}]
    runs = [run(tmp_path, [1.0], 0, **{**paper, **change}) for change in changes]
    assert list(sweeps.grouped(runs)) == [
        "base",
        "model.latents=normal",
        "optim.betas=[0.9,0.999]",
        "optim.discriminator_lr=0.001, optim.generator_lr=0.001",
    ]


def test_the_base_is_named_by_what_sets_it_apart_from_the_defaults(tmp_path):
    plain = run(tmp_path, [1.0], 3)
    assert reporting.base(sweep(tmp_path, [plain])) == "the defaults"
    other = run(tmp_path, [1.0], 3, **{"loss.r1": 0.0, "model.latents": "uniform"})
    assert reporting.base(sweep(tmp_path, [other])) == "the defaults but for model.latents=uniform, loss.r1=0.0"


def test_large_numbers_are_written_out():
    written = [reporting._number(value, 2) for value in (130.4, 0.01234, 99.4, 99.6, 1234567.0, -130.4, float("nan"))]
    assert written == ["130", "0.012", "99", "100", "1,234,567", "-130", "nan"]
    assert reporting._number(130.4, 2, "+") == "+130"


def test_a_difference_is_claimed_only_if_it_is_larger_than_the_seeds_own(tmp_path):
    # Paired differences 1.0, 1.1, 0.9: mean 1, deviation 0.1, so 1 -+ 4.303 * 0.1 / sqrt(3) = 0.752 to 1.248.
    base = [run(tmp_path, [v], seed) for seed, v in enumerate([2.0, 5.0, 9.0])]
    worse = [run(tmp_path, [v], seed, width=64) for seed, v in enumerate([3.0, 6.1, 9.9])]
    name = "frechet_classifier_distance"
    (difference,) = reporting.compare(sweep(tmp_path, base + worse), name)
    assert difference.is_claimed
    assert (difference.mean, difference.seeds) == (pytest.approx(1), 3)
    assert (difference.low, difference.high) == (
        pytest.approx(0.752, abs=1e-3),
        pytest.approx(1.248, abs=1e-3),
    )
    lines = reporting.verdict(sweep(tmp_path, base + worse), [name])
    assert lines[0] == (
        "- width=64 has a higher frechet classifier distance (+1) than width=null, and else no more than the seeds do."
    )
    assert "| width=64 | **+1** (+0.75 to +1.2) |" in lines
    # Differences 1, -1, 0.5: the interval contains zero.
    noise = [run(tmp_path, [v], seed, width=64) for seed, v in enumerate([3.0, 4.0, 9.5])]
    lines = reporting.verdict(sweep(tmp_path, base + noise), [name])
    assert lines[0] == "- width=64 and width=null differ in nothing by more than the seeds do."
    assert not any("**" in line for line in lines)
    assert lines[-2].endswith("Of 1 such intervals 0.05 are expected to exclude zero by chance alone.")
    # Two differences that are equal by chance say nothing about their deviation.
    alike = [run(tmp_path, [v], seed, width=64) for seed, v in enumerate([2.5, 5.5])]
    lines = reporting.verdict(sweep(tmp_path, base[:2] + alike), [name])
    assert lines[0] == "- width=64 and width=null differ in nothing by more than the seeds do."
    assert "| width=64 | +0.5 |" in lines
    # Seeds that only one setting has do not count.
    lines = reporting.verdict(sweep(tmp_path, base + worse[:1]), [name])
    assert lines[0] == "- width=64 and width=null have too few seeds in common to say anything."
    assert "| width=64 | - |" in lines
    assert lines[-2].endswith("bold where zero is not in it.")  # no interval, so none by chance


def test_differences_that_cancel_are_zero_and_yet_an_effect(tmp_path):
    base = [run(tmp_path, [v], seed) for seed, v in enumerate([0.95, 0.96])]
    other = [run(tmp_path, [v], seed, width=64) for seed, v in enumerate([0.96, 0.95])]
    lines = reporting.verdict(sweep(tmp_path, base + other), ["frechet_classifier_distance"])
    assert lines[0] == "- width=64 and width=null differ in nothing by more than the seeds do."
    assert any(line.startswith("| width=64 | +0 (-0.13 to +0.13) |") for line in lines)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_measure_that_is_not_finite_is_no_lack_of_effect(tmp_path, value):
    base = [run(tmp_path, [v], seed) for seed, v in enumerate([1.0, 2.0])]
    other = [run(tmp_path, [v], seed, width=64) for seed, v in enumerate([value, 1.0])]
    lines = reporting.verdict(sweep(tmp_path, base + other), ["frechet_classifier_distance"])
    assert lines[0] == "- width=64 and width=null differ in nothing by more than the seeds do."


def test_a_setting_without_any_effect_is_named(tmp_path):
    """The report does not say that it differs by no more than the seeds do."""
    base = [run(tmp_path, [v], seed) for seed, v in enumerate([2.0, 5.0, 9.0])]
    same = [run(tmp_path, [v], seed, **{"optim.ema_decay": 0.9999}) for seed, v in enumerate([2.0, 5.0, 9.0])]
    lines = reporting.verdict(sweep(tmp_path, base + same), ["frechet_classifier_distance"])
    assert lines[0].startswith("- optim.ema_decay=0.9999 gives the very numbers of optim.ema_decay=0.999: ")


def test_runs_are_paired_by_their_seeds_and_not_by_their_places(tmp_path):
    base = [run(tmp_path, [value], seed) for seed, value in [(0, 2.0), (1, 5.0), (2, 9.0)]]
    wide = [run(tmp_path, [value], seed, width=64) for seed, value in [(1, 6.0), (2, 10.5), (3, 99.0)]]
    (difference,) = reporting.compare(sweep(tmp_path, base + wide), "frechet_classifier_distance")
    assert (difference.seeds, difference.mean) == (2, pytest.approx((1 + 1.5) / 2))


def test_the_table_has_mean_deviation_and_floor(tmp_path):
    runs = [run(tmp_path, [9.0, v], seed, batch_size=50) for seed, v in enumerate([1.0, 2.0, 3.0])]
    header, _, row, floor = reporting.table(sweep(tmp_path, runs)).splitlines()
    assert "frechet classifier distance" in header
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[1:7] == [
        "all alike",
        "3",
        "2 ± 1",
        "1 ± 0",
        "100 ± 0",
        "0.00",
    ]  # two steps of 50 images at 100 per second
    assert cells[7] == "-"
    assert "| *real pictures* | | 0.04 |" in floor


def test_curves_show_every_setting_and_the_floor(tmp_path):
    runs = [run(tmp_path, [3.0, 2.0], seed, width=width) for seed in (0, 1) for width in (32, 64)]
    whole = pictures.draw_curves(sweep(tmp_path, runs), ["frechet_classifier_distance"])
    (axis,) = whole.axes
    assert [text.get_text() for text in whole.legends[0].get_texts()] == [
        "width=32",
        "width=64",
        "real pictures",
    ]
    assert axis.lines[0].get_xydata().tolist() == [[1, 3], [2, 2]]


def test_a_run_without_evaluation_does_not_hide_the_curve_of_its_group(tmp_path):
    runs = [run(tmp_path, [3.0, 2.0], 0), run(tmp_path, [], 1)]
    axis = pictures.draw_curves(sweep(tmp_path, runs), ["frechet_classifier_distance"]).axes[0]
    assert axis.lines[0].get_xydata().tolist() == [[1, 3], [2, 2]]


def test_a_real_sweep_is_reported_whatever_is_missing(command, here, tmp_path):
    arguments = ["-m", "experiment=smoke", "data.image_size=8", "evaluate_every=6", "evaluate_samples=100"]
    done = command("train", *arguments, "model.upsample=scratch,resize", "seed=0,1", "sweep=small")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "outputs" / "sweeps" / "small"
    older = next(path.glob("*seed_0*scratch/checkpoints/step-00000012.pt"))
    state = torch.load(older, weights_only=True)
    del state["config"]["data"]["augment"]["zoom"]  # as if from a version without this setting
    torch.save(state, older)
    done = command("report.py", "sweep=outputs/sweeps/small")
    assert done.returncode == 0, done.stderr
    text = (path / "report.md").read_text()
    assert "| model.upsample=scratch | 2 |" in text
    assert "model.upsample=resize" in text
    assert "| against model.upsample=scratch |" in text
    assert "differ in nothing by more" in text or "has a " in text
    for name in ("samples", "curves", "spectrum"):
        with Image.open(path / f"{name}.png") as picture:
            assert len(picture.convert("L").getcolors()) > 20

    names = sorted(entry.name for entry in path.iterdir() if entry.is_dir())
    shutil.rmtree(path / names[0] / "checkpoints")  # a run that was never begun
    (path / names[1] / "metrics.jsonl").unlink()
    kept = sorted((path / names[2] / "checkpoints").glob("step-*.pt"))
    kept[-1].unlink()  # a run that was stopped
    for file in (path / names[3] / "checkpoints").glob("step-*.pt"):
        state = torch.load(file, weights_only=True)
        torch.save({**state, "data_fingerprint": "other"}, file)
    shutil.copytree(path / names[1], path / "newer")  # a run of another version
    for file in (path / "newer" / "checkpoints").glob("step-*.pt"):
        torch.save({**torch.load(file, weights_only=True), "format_version": 99}, file)
    done = here("report.py", "sweep=outputs/sweeps/small")
    assert done.returncode == 0, done.stderr
    text = (path / "report.md").read_text()
    assert f"{names[0]} has no checkpoint yet" in text
    assert "small/newer/checkpoints can be used (" in text
    assert "has checkpoint format 99, this program reads 1" in text
    assert f"{names[2]} is left out: it is at step 8 of 12" in text
    assert f"{names[3]} is left out: it was trained on other pictures" in text


def test_distances_in_the_features_of_several_classifiers_are_not_compared_in_silence(tmp_path, monkeypatch):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("")
    runs = {name: run(tmp_path, [1.0], seed) for seed, name in enumerate(("one", "other"))}
    monkeypatch.setattr(sweeps, "_read_run", lambda directory: runs[directory.name])
    assert reporting.read(tmp_path).remarks == []
    runs["other"].records[-1]["evaluation_floor/frechet_classifier_distance"] = 0.041
    (remark,) = reporting.read(tmp_path).remarks
    assert remark.startswith("the distances are not comparable: ")


def test_what_conditional_and_unconditional_runs_do_not_have_in_common_is_not_compared(tmp_path):
    runs = [
        run(tmp_path, [1.0], seed, **{"model.conditional": conditional})
        for seed in (0, 1)
        for conditional in (True, False)
    ]
    for one in runs:
        one.records[-1]["evaluation/diversity"] = 1.0 if one.settings["model.conditional"] else 0.9 + 0.001 * one.seed
    (remark,) = sweeps._incomparable(runs)
    assert remark.startswith("diversity is not comparable: ")
    assert sweeps._incomparable(runs[::2]) == []
    text = reporting.write(sweep(tmp_path, runs))
    assert "lower diversity" not in text
    for one in runs:
        one.conditional = True
    assert "lower diversity" in reporting.write(sweep(tmp_path, runs))


def test_a_report_without_a_generator_that_can_be_loaded_has_no_spectrum_and_says_why(tmp_path, monkeypatch):
    def refuse(path):
        raise UserError(f"run={path} holds a network of another version of dcgan")

    monkeypatch.setattr(pictures, "load_generator", refuse)
    text = reporting.write(sweep(tmp_path, [run(tmp_path, [1.0], 0)]))
    assert "there is no spectrum: run=" in text


def test_a_run_that_cannot_be_read_is_left_out(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied", "step-00000001.pt")

    monkeypatch.setattr(sweeps.checkpoint, "newest", refuse)
    assert sweeps._read_run(tmp_path / "one") == "one cannot be read (Permission denied)"


def test_floors_of_sets_without_labels_are_looked_at_too(tmp_path):
    runs = [run(tmp_path, [1.0], seed) for seed in (0, 1)]
    for one in runs:
        one.records[-1] = {"step": 1, "evaluation_floor/sliced_wasserstein_distance": 13.0 + one.seed}
    (remark,) = sweeps._incomparable(runs)
    assert remark.startswith("the distances are not comparable: ")


def test_an_evaluation_before_the_end_is_told(tmp_path):
    _, half, none = runs = [run(tmp_path, [1.0, 1.0], seed) for seed in range(3)]
    half.records[-1] = {"step": 2, "loss/generator": 1.0}
    none.records[:] = [{"step": 2, "loss/generator": 1.0}]
    remarks = []
    assert sweeps._comparable(runs, remarks) == runs
    assert remarks == [
        "1 was last evaluated at step 1 of 2; it was run with evaluate_every=0",
        "2 has no evaluation; it was run with evaluate_every=0",
    ]


def test_no_sweep_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match="is no directory"):
        reporting.read(tmp_path / "none")
    with pytest.raises(UserError, match="holds no run that has a checkpoint; it is empty"):
        reporting.read(tmp_path)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.yaml").write_text("steps: 3")
    with pytest.raises(UserError, match="half has no checkpoint yet"):
        reporting.read(tmp_path)


def test_the_spectrum_needs_the_real_pictures_and_says_so_where_they_are_gone(here, tmp_path):
    one = ["experiment=smoke", "data=folder", "data.root=in", "data.image_size=8", "data.channels=1"]
    (tmp_path / "in").mkdir()
    for number in range(20):
        Image.new("L", (8, 8), 12 * number).save(tmp_path / "in" / f"{number}.png")
    done = here("train", "-m", *one, "seed=0", "sweep=folder")
    assert done.returncode == 0, done.stderr
    shutil.rmtree(tmp_path / "in")
    done = here("report.py", "sweep=outputs/sweeps/folder")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "outputs" / "sweeps" / "folder" / "report.md").read_text()
    assert "- there is no spectrum: " in text
    assert "![samples](samples.png)" in text


def test_a_setting_that_was_run_twice_with_one_seed_has_that_seed_once(here, tmp_path):
    """Otherwise one result would count twice and make the interval too narrow."""
    arguments = ["-m", "experiment=smoke", "evaluate_every=0", "steps=2", "sweep=twice"]
    for more in (["seed=0"], ["seed=0", "model.upsample=scratch,resize"]):
        assert here("train", *arguments, *more).returncode == 0
    found = reporting.read(tmp_path / "outputs" / "sweeps" / "twice")
    assert {label: len(runs) for label, runs in found.groups.items()} == {
        "model.upsample=scratch": 1,
        "model.upsample=resize": 1,
    }
    (remark,) = [remark for remark in found.remarks if "its settings are those of" in remark]
    assert remark.startswith("mnist5k-experiment_smoke-seed_0-steps_2-upsample_scratch is left out")


def test_a_short_last_record_counts_for_its_steps(tmp_path):
    """Batches of 32: 100 steps at 200 images per second take 16 s, and one step at 50 takes 0.64 s."""
    some = run(tmp_path, [1.0], 0)
    some.step, some.records = (
        101,
        [{"step": step, "speed/images_per_second": speed} for step, speed in ((100, 200.0), (101, 50.0))],
    )
    assert some.seconds == pytest.approx(16.64)


def test_a_run_that_went_on_from_another_has_taken_the_time_of_its_own_steps(tmp_path):
    """Its first record has no known start and does not count; 100 steps at 200 images per second remain."""
    some = run(tmp_path, [1.0], 0, resume="outputs/other/checkpoints/step-00002000.pt")
    some.step, some.records = (
        2150,
        [{"step": step, "speed/images_per_second": 200.0} for step in (2050, 2100, 2150)],
    )
    assert some.speed == pytest.approx(200)
    assert some.seconds == pytest.approx(16)


def test_one_run_is_no_sweep(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").write_text("steps: 3")
    with pytest.raises(UserError, match="is one run; give the directory that it lies in"):
        reporting.read(tmp_path)


def test_the_floor_is_that_of_the_first_run_that_was_evaluated(tmp_path):
    runs = [run(tmp_path, [], 0), run(tmp_path, [1.0], 1)]
    assert "| *real pictures* | | 0.04 |" in reporting.table(sweep(tmp_path, runs))


def grid(tmp_path, *missing):
    """Make the runs of two losses by two kernel sizes, two seeds each; the larger kernel doubles the distance."""
    return [
        run(
            tmp_path,
            [(1 + seed / 10) * kernel * (3 if r1 else 1)],
            seed,
            **{"loss.r1": r1, "model.kernel_size": kernel},
        )
        for r1 in (0.5, 0.0)
        for kernel in (4, 5)
        for seed in (0, 1)
        if (r1, kernel) not in missing
    ]


def against(tmp_path, runs, settings):
    chosen = sweeps._chosen(runs, settings)
    return reporting.Sweep(tmp_path, sweeps.grouped(runs, chosen), [], chosen)


def test_in_a_grid_each_setting_may_be_compared_with_the_one_that_differs_in_one_thing(tmp_path):
    found = against(tmp_path, grid(tmp_path), "model.kernel_size=5")
    assert found.compared == {
        "loss.r1=0.5, model.kernel_size=4": "loss.r1=0.5, model.kernel_size=5",
        "loss.r1=0.0, model.kernel_size=4": "loss.r1=0.0, model.kernel_size=5",
    }
    differences = reporting.compare(found, "frechet_classifier_distance")
    assert [difference.mean for difference in differences] == [pytest.approx(-3.15), pytest.approx(-1.05)]
    lines = reporting.verdict(found, ["frechet_classifier_distance"])
    assert [line.partition(",")[0] + line[line.index(" than ") :] for line in lines[:2]] == [
        f"- loss.r1={r1} than loss.r1={r1}, model.kernel_size=5, and else no more than the seeds do."
        for r1 in (0.5, 0.0)
    ]
    assert any(line.startswith("| against model.kernel_size=5 |") for line in lines)


def test_what_is_compared_with_may_be_named_as_one_would_write_it(tmp_path):
    found = against(tmp_path, grid(tmp_path), "loss.r1=.5, model.kernel_size=4")  # 0.5 in the runs
    assert next(iter(found.groups)) == "loss.r1=0.5, model.kernel_size=4"
    assert found.compared == dict.fromkeys(list(found.groups)[1:], "loss.r1=0.5, model.kernel_size=4")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("batch_size=32", "'batch_size' must be one of loss.r1, model.kernel_size, and given once"),
        ("kernel_size", "'kernel_size' must be one of loss.r1, model.kernel_size"),
        ("loss.r1=0,loss.r1=0.5", "'loss.r1' must be one of loss.r1, model.kernel_size, and given once"),
        ("", "'' must be one of loss.r1, model.kernel_size"),
        ("loss.r1=0,model.kernel_size=5", "no run has all of these"),
        ("model.kernel_size=3", "model.kernel_size is 4 or 5 in these runs"),
        ("model.kernel_size=", "model.kernel_size is 4 or 5 in these runs"),
    ],
)
def test_what_no_run_has_cannot_be_compared_with(tmp_path, settings, message):
    with pytest.raises(UserError, match=f"against={settings}: {message}"):
        sweeps._chosen(grid(tmp_path, (0.0, 5)), settings)


def test_runs_that_differ_in_nothing_have_nothing_to_be_compared_with(tmp_path):
    with pytest.raises(UserError, match="the runs differ in nothing but their seeds; leave it out"):
        sweeps._chosen([run(tmp_path, [1.0], seed) for seed in (0, 1)], "seed=0")


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ("optim.betas=[.5, .999] , loss.r1 = 0", {"optim.betas": "[0.5,0.999]", "loss.r1": "0.0"}),
        ("optim.betas=[0.0,0.99]", {"optim.betas": "[0.0,0.99]"}),
        ("loss=hinge", {"loss.name": "hinge"}),
        ("model.conditional=True", {"model.conditional": "true"}),
        ("data.limit=null", {"data.limit": "null"}),
    ],
)
def test_values_are_understood_as_on_the_command_line(tmp_path, asked, chosen):
    plain = {"optim.betas": [0.0, 0.99], "loss.r1": 0.5, "loss.name": "nonsaturating", "data.limit": 99}
    other = {"optim.betas": [0.5, 0.999], "loss.r1": 0.0, "loss.name": "hinge", "model.conditional": False}
    assert sweeps._chosen([run(tmp_path, [1.0], 0, **plain), run(tmp_path, [1.0], 0, **other)], asked) == chosen


def test_all_are_compared_with_the_one_that_is_asked_for_whatever_else_it_sets(tmp_path):
    settings = [{}, {"loss.name": "hinge"}, {"loss.name": "wasserstein", "loss.r1": 0.0, "loss.gradient_penalty": 10.0}]
    found = against(tmp_path, [run(tmp_path, [1.0], 0, **one) for one in settings], "loss=wasserstein")
    first, *others = found.groups
    assert "wasserstein" in first or first == "base"
    assert found.compared == dict.fromkeys(others, first)
    assert len(others) == 2


def test_a_setting_with_nothing_to_compare_is_told_of(here, tmp_path):
    for index, (kind, kernel) in enumerate([("scratch", 4), ("scratch", 5), ("builtin", 4), ("resize", 5)]):
        overrides = [f"model.upsample={kind}", f"model.kernel_size={kernel}", f"name={index}", "device=cpu"]
        assert here("train", "experiment=smoke", "steps=1", *overrides).returncode == 0
    done = here("report.py", "sweep=outputs", "against=model.kernel_size=5")
    assert done.returncode == 0, done.stderr
    told = [line for line in (tmp_path / "outputs" / "report.md").read_text().splitlines() if "with nothing" in line]
    assert told == [
        "- model.kernel_size=4, model.upsample=builtin is compared with nothing: no run has model.kernel_size=5 and its "
        "other settings"
    ]
    assert (tmp_path / "outputs" / "runs.csv").read_text().count("\n") == 5


def test_an_interval_of_fewer_seeds_than_there_are_says_so(tmp_path):
    base = [run(tmp_path, [v], seed) for seed, v in enumerate([2.0, 5.0, 9.0])]
    other = [run(tmp_path, [v], seed, width=64) for seed, v in enumerate([3.0, 6.5])]
    lines = reporting.verdict(sweep(tmp_path, base + other), ["frechet_classifier_distance"])
    assert any(line.endswith(", 2 seeds in common) |") for line in lines)
    alike = [run(tmp_path, [v], seed, width=64) for seed, v in enumerate([3.0, 6.0])]
    lines = reporting.verdict(sweep(tmp_path, base + alike), ["frechet_classifier_distance"])
    assert "| width=64 | +1 (2 seeds in common) |" in lines


def test_the_runs_are_a_table_for_other_programs_too(tmp_path):
    runs = grid(tmp_path)
    rows = list(csv.DictReader(io.StringIO(reporting.runs_as_csv(sweep(tmp_path, runs)))))
    assert [(row["seed"], row["loss.r1"], row["model.kernel_size"]) for row in rows] == [
        (seed, r1, kernel) for r1 in ("0.5", "0.0") for kernel in ("4", "5") for seed in "01"
    ]
    assert [float(row["frechet_classifier_distance"]) for row in rows] == [r.last(NAME) for r in runs]
    assert {row["parameters"] for row in rows} == {"1000"}
    assert {(row["images_per_second"], float(row["training_seconds"])) for row in rows} == {("100.0", 32 / 100)}
    assert "batch_size" not in rows[0]
