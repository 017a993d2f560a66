"""The record of a run never stops the run."""

import json
import re

import pytest

from dcgan.config import Config, ModelConfig
from dcgan.tracking import Tracker, layout

LOSSES = {"loss/discriminator": 1.0, "loss/generator": 2.0}


def test_what_came_after_the_checkpoint_is_dropped_and_a_torn_line_too(tmp_path):
    lines = [json.dumps({"step": step, "x": 0}) for step in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 4, "x"')
    with Tracker(tmp_path, step=2, steps=5, batch_size=1) as tracker:
        tracker.scalars(3, LOSSES)
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]


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
