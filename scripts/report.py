"""Report the results of a sweep: write report.md with a table, sentences and pictures into the sweep's directory.

    python scripts/report.py sweep=outputs/sweeps/NAME [against=SETTINGS]

sweep    the directory of the runs
against  what to compare with, such as model.upsample=builtin: each setting is compared with the one that has this value
         and all else in common. Default: each with the one from which all differ least

The table has a row per setting, with mean and deviation over its seeds, and a row for real pictures. A difference is
claimed only if it exceeds the differences between seeds: the 95 % interval of the paired differences excludes zero.
runs.csv has a line per run for other programs.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from omegaconf import MISSING

from dcgan import cli


@dataclass
class Options:
    """The command line."""

    sweep: str = MISSING
    against: str | None = None


def main() -> None:
    """Parse, read, write, print."""
    options = cli.parse(Options, sys.argv[1:], __doc__)

    # Imported only after the arguments are checked, because torch takes seconds.
    from dcgan import reporting
    from dcgan.tracking import log_to

    log_to(None)
    sweep = reporting.read(Path(options.sweep), options.against)
    text = reporting.write(sweep)
    print(text)
    print(f"written: {sweep.path / 'report.md'}, {sweep.path / 'runs.csv'}")


if __name__ == "__main__":
    cli.exit_on_error(main)
