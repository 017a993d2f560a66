"""The progress of long work is shown."""

import logging
import sys

from dcgan import progress
from dcgan.progress import Progress
from dcgan.tracking import ConsoleHandler


def test_where_there_is_no_terminal_a_line_of_the_log_tells_it_and_no_bar_fills_the_file(monkeypatch, caplog, capsys):
    monkeypatch.setattr(progress, "SECONDS", 0)
    caplog.set_level(logging.INFO, "dcgan")
    logger, handler = logging.getLogger("dcgan"), ConsoleHandler()
    logger.addHandler(handler)
    assert list(Progress(range(3), "counting")) == [0, 1, 2]
    logger.removeHandler(handler)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 3
    assert told[1].startswith("counting: 1 of 3, ")
    assert told[2].startswith("counting: 2 of 3, ")
    assert told[2].endswith(" left")
    assert capsys.readouterr().err.splitlines() == told


def test_what_is_soon_done_is_not_told(caplog):
    caplog.set_level(logging.INFO, "dcgan")
    assert list(Progress(iter("abc"), "counting")) == ["a", "b", "c"]
    assert not caplog.records


def test_on_a_terminal_a_bar_tells_it_and_is_gone_in_the_end(monkeypatch, caplog, capsys):
    caplog.set_level(logging.INFO, "dcgan")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert len(list(Progress(range(3), "counting", mininterval=0))) == 3
    shown = capsys.readouterr().err
    assert "counting:  67%" in shown
    assert shown.split("\r")[-1].strip() == ""
    assert not caplog.records
