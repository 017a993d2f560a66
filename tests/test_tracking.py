"""Recording a run never stops the run."""

import io
import json
import logging
import re
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dcgan.config import Config, ModelConfig
from dcgan.tracking import Tracker, layout, log_to

LOSSES = {"loss/discriminator": 1.0, "loss/generator": 2.0}


def test_what_came_after_the_checkpoint_is_dropped_and_all_that_is_no_record(tmp_path):
    one, two, three = (json.dumps({"step": step, "x": 0}) for step in (1, 2, 3))
    lines = [one, "12", '{"step": "one"}', "\x00\x01", two, three, '{"step": 4, "x"']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    with Tracker(tmp_path, step=2, steps=5, batch_size=1) as tracker:
        tracker.scalars(3, LOSSES)
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]


def test_a_terminal_that_has_gone_away_ends_nothing(tmp_path, monkeypatch):
    class Gone(io.StringIO):
        def write(self, _):
            raise BrokenPipeError

    before = logging.getLogger("dcgan").handlers[:]
    try:
        log_to(tmp_path / "run.log")
        monkeypatch.setattr(sys, "stderr", Gone())
        logging.getLogger("dcgan").info("heard? \udce9")
    finally:
        log_to(None)  # closes the file
        logging.getLogger("dcgan").handlers[:] = before
    assert "heard? \\udce9" in (tmp_path / "run.log").read_text()


def test_the_speed_is_that_of_training_alone(tmp_path, monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("dcgan.tracking.time", SimpleNamespace(perf_counter=lambda: clock.now))
    with Tracker(tmp_path, step=0, steps=30, batch_size=4) as tracker:
        for step, training, aside in ((10, 2, 50), (20, 4, 0), (30, 5, 7)):
            clock.now += training
            with tracker.aside():
                clock.now += aside
            tracker.scalars(step, LOSSES)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["speed/images_per_second"] for record in records] == [20, 10, 8]
    assert all(0.05 < record["memory/peak_gb"] < 1000 for record in records)


def curve(run_dir, name):
    """Return the steps and values that TensorBoard shows for ``name``."""
    board = EventAccumulator(str(run_dir))
    board.Reload()
    return [(event.step, event.value) for event in board.Scalars(name)]


@pytest.mark.parametrize(("step", "left"), [(0, []), (2, [(1, 1), (2, 1)])])
def test_what_an_earlier_process_recorded_later_is_hidden_in_tensorboard(tmp_path, step, left):
    with Tracker(tmp_path, step=0, steps=5, batch_size=1) as tracker:
        assert tracker.fresh
        for done in (1, 2, 3, 4):
            tracker.measures(done, {"x": 1}, "")
    (events,) = tmp_path.glob("events.*")
    events.rename(tmp_path / "events.out.tfevents.0000000001.here.1.0")  # as if written in another second
    assert curve(tmp_path, "x") == [(1, 1), (2, 1), (3, 1), (4, 1)]
    with Tracker(tmp_path, step=step, steps=5, batch_size=1) as tracker:
        assert not tracker.fresh
        tracker.measures(step + 1, {"x": 2}, "")
    assert curve(tmp_path, "x") == [*left, (step + 1, 2)]


@pytest.mark.parametrize("sink", ["TensorBoard", "metrics.jsonl"])
def test_a_broken_sink_is_reported_once_and_the_others_go_on(tmp_path, sink, monkeypatch, caplog):
    def broken(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with Tracker(tmp_path, step=0, steps=5, batch_size=1) as tracker:
        if sink == "TensorBoard":
            monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", broken)
        else:
            monkeypatch.setattr("dcgan.tracking._append", broken)
        tracker.scalars(1, LOSSES)
        tracker.scalars(2, LOSSES)
        monkeypatch.undo()
    messages = [record.getMessage() for record in caplog.records]
    assert sum(f"{sink} cannot be written" in message for message in messages) == 1
    assert any("the record of this run is incomplete" in message for message in messages)
    if sink == "TensorBoard":
        assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_tensorboard_that_cannot_be_imported_ends_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # importing it raises ImportError
    with Tracker(tmp_path, step=0, steps=5, batch_size=1) as tracker:
        tracker.scalars(1, LOSSES)
    assert (tmp_path / "metrics.jsonl").read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_full_disk_leaves_the_log_on_the_terminal_and_no_traceback(tmp_path, capsys):
    (tmp_path / "run.log").symlink_to("/dev/full")
    before = logging.getLogger("dcgan").handlers[:]
    try:
        log_to(tmp_path / "run.log")
        logging.getLogger("dcgan").info("heard")
    finally:
        with suppress(OSError):
            log_to(None)
        logging.getLogger("dcgan").handlers[:] = before
    assert capsys.readouterr().err == "heard\n"


def test_the_layout_asks_whether_it_learns_by_one_measure_and_only_where_there_is_one():
    (charts,) = layout("sliced_wasserstein_distance").values()
    question, (kind, tags) = next(iter(charts.items()))
    assert (question, kind) == (
        "Is it learning? Sliced wasserstein distance, and that of real pictures",
        "Multiline",
    )
    recorded = ["evaluation/sliced_wasserstein_distance", "evaluation_floor/sliced_wasserstein_distance"]
    others = ["evaluation/frechet_classifier_distance", "loss/generator"]
    assert [name for name in recorded + others if re.search(tags[0], name)] == recorded
    (charts,) = layout(None).values()
    assert not any("learning" in question for question in charts)


def test_the_table_of_runs_has_what_was_set_and_not_every_default(tmp_path, monkeypatch):
    tables = []
    monkeypatch.setattr(
        "torch.utils.tensorboard.SummaryWriter.add_hparams", lambda self, *given, **_: tables.append(given)
    )
    config = Config(model=ModelConfig(width=48), name="here", log_every=3)
    with Tracker(tmp_path, step=0, steps=5, batch_size=1) as tracker:
        tracker.finish(config.to_plain(), {"coverage": 0.9})
    assert tables == [
        (
            {
                "data.name": "mnist5k",
                "loss.name": "nonsaturating",
                "model.upsample": "scratch",
                "model.width": 48,
                "seed": 0,
            },
            {"final/coverage": 0.9},
        )
    ]
