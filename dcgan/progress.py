"""The progress of long work: a bar on a terminal, otherwise lines in the log, as in the output of a batch job."""

import io
import logging
import sys
from typing import Any

from tqdm import tqdm

SECONDS = 10  # between two lines of the log, and before the first

log = logging.getLogger(__name__)


class Progress(tqdm):  # type: ignore[misc]
    """`tqdm.tqdm` with the same arguments; the bar disappears when done, and no bars are written to a file."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.to_log = not sys.stderr.isatty()
        if self.to_log:
            # A file of its own, not stderr; otherwise each line of the log would make tqdm show this again.
            options |= {"mininterval": SECONDS, "delay": SECONDS, "file": io.StringIO()}
            options["bar_format"] = "{desc}: {n_fmt} of {total_fmt}, {remaining} left"
        super().__init__(*args, leave=False, **options)

    def display(self, *args: Any, **options: Any) -> None:
        """Show the progress; tqdm calls this when an update is due."""
        if not self.to_log:
            super().display(*args, **options)
        elif self.total is None or self.n < self.total:
            log.info("%s", str(self))
