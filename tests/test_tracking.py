"""The record of a run never stops the run."""

import json

import pytest

from dcgan.tracking import Tracker

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
