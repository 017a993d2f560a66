"""How far long work is: a bar on a terminal, else lines of the log, as in a batch job's output."""

import io
import logging
import sys
from typing import Any

from tqdm import tqdm

SECONDS = 10  # between two lines of the log, and before the first

log = logging.getLogger(__name__)


class Progress(tqdm):  # type: ignore[misc]
    """`tqdm.tqdm`, with the same arguments, that is gone when it is done and fills no file with bars."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.to_log = not sys.stderr.isatty()
        if self.to_log:
            # Not in the terminal's own file, or each line of the log would have tqdm show this again.
            options |= {"mininterval": SECONDS, "delay": SECONDS, "file": io.StringIO()}
            options["bar_format"] = "{desc}: {n_fmt} of {total_fmt}, {remaining} left"
        super().__init__(*args, leave=False, **options)

    def display(self, *args: Any, **options: Any) -> None:
        """Show where it stands; tqdm calls it when it is time."""
        if not self.to_log:
            super().display(*args, **options)
        elif self.total is None or self.n < self.total:
            log.info("%s", str(self))
