"""Records a run's numbers and pictures in metrics.jsonl, TensorBoard, samples/ and the terminal.

`metrics.jsonl` is the record; the other sinks are views of it. No sink may stop the training: a sink that
fails is reported once and then not used again.
"""

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from tqdm import tqdm

from dcgan.atomic import write_text
from dcgan.config import Config, flatten, is_incidental
from dcgan.device import forget_peak_memory, peak_memory
from dcgan.images import save_png

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)

# TensorBoard's table of runs always shows these settings, besides those that differ from their defaults.
TABLED = ("data.name", "loss.name", "model.upsample", "seed")


def layout(distance: str | None) -> dict[str, dict[str, list[Any]]]:
    """The layout of TensorBoard's tab "Custom scalars": questions about a run, each with the curves that answer it.

    Args:
        distance: the measure by which the run is judged; None if it is not evaluated.
    """
    charts = {
        "Has the discriminator won? All right, and without doubt": [
            r"^discriminator/(accuracy_real|accuracy_fake|saturated)$"
        ],
        "Is it collapsing? Diversity and coverage fall": [
            r"^generator/diversity$",
            r"^evaluation/(diversity|coverage)$",
        ],
        "Losses": [r"^loss/"],
    }
    if distance is not None:
        # This measure alone: next to one of a larger magnitude it would be a flat line.
        learning = f"Is it learning? {distance.replace('_', ' ').capitalize()}, and that of real pictures"
        charts = {learning: [rf"^evaluation(_floor)?/{distance}$"], **charts}
    return {"At a glance": {question: ["Multiline", tags] for question, tags in charts.items()}}


class Tracker:
    """Records one run from ``step`` on, and drops what an earlier process recorded after ``step``.

    Args:
        run_dir: the run directory.
        step: steps done so far.
        steps: steps of the whole run.
        batch_size: images per step.
        distance: see `layout`.
    """

    def __init__(self, run_dir: Path, step: int, steps: int, batch_size: int, distance: str | None = None) -> None:
        self.run_dir, self.steps, self.batch_size = run_dir, steps, batch_size
        self.fresh = not any(run_dir.glob("events.out.tfevents.*"))  # nothing recorded in this directory yet
        self._broken: set[str] = set()
        self._metrics = run_dir / "metrics.jsonl"
        self._guarded("metrics.jsonl", lambda: _drop_after(self._metrics, step))
        self._board: SummaryWriter | None = None
        self._guarded("TensorBoard", lambda: self._open_board(step, distance))
        self._bar = tqdm(total=steps, initial=step, unit="step", disable=not sys.stderr.isatty(), leave=False)
        self._begun = self._last_log = (time.perf_counter(), step)
        self._seconds_aside = 0.0
        forget_peak_memory()  # because the runs of a sweep share a process

    def advance(self) -> None:
        """Count one step as done."""
        self._bar.update()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record ``values`` by name, the speed of training since the last call, and the peak of memory."""
        now, (then, last_step) = time.perf_counter() - self._seconds_aside, self._last_log
        self._last_log = (now, step)
        values = {
            **values,
            "speed/images_per_second": (step - last_step) * self.batch_size / (now - then),
            "memory/peak_gb": peak_memory() / 1e9,
        }
        self._record(step, values)
        self._show(step, values)

    def measures(self, step: int, values: dict[str, float], summary: str) -> None:
        """Record the ``values`` of an evaluation by name, and show its ``summary``."""
        self._record(step, values)
        log.info("step %d/%d  %s", step, self.steps, summary)

    def warn(self, step: int, sentences: list[str]) -> None:
        """Show warnings in the log and in TensorBoard."""
        for sentence in sentences:
            log.warning("step %d/%d  %s", step, self.steps, sentence)
        if sentences:
            self._to_board(lambda board: board.add_text("warnings", "\n\n".join(sentences), step))

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Exclude the time of the enclosed code from the speed of training."""
        begun = time.perf_counter()
        yield
        self._seconds_aside += time.perf_counter() - begun

    def _record(self, step: int, values: dict[str, float]) -> None:
        self._guarded("metrics.jsonl", lambda: _append(self._metrics, {"step": step, **values}))

        def curves(board: "SummaryWriter") -> None:
            for name, value in values.items():
                board.add_scalar(name, value, step)

        self._to_board(curves)

    def picture(self, step: int, name: str, image: Tensor) -> None:
        """Record a uint8 picture ``(C, H, W)`` as ``NAME/step-*.png`` and in TensorBoard."""
        path = self.run_dir / name / f"step-{step:08d}.png"
        self._guarded(f"{name}/", lambda: save_png(image, path))
        self._to_board(lambda board: board.add_image(name, image, step))

    def text(self, name: str, text: str) -> None:
        """Show preformatted ``text`` in TensorBoard."""
        indented = "\n".join(f"    {line}" for line in text.splitlines())
        self._to_board(lambda board: board.add_text(name, indented))

    def finish(self, settings: dict[str, Any], results: dict[str, float]) -> None:
        """Add the settings of a finished run and its last ``results`` to TensorBoard's table of runs."""
        usual = flatten(Config().to_plain())
        table = {
            name: value if isinstance(value, bool | int | float) else str(value)
            for name, value in flatten(settings).items()
            if name in TABLED or (not is_incidental(name, value) and value != usual.get(name))
        }
        # The results have their own names and the last step: a second value at an earlier step would make
        # TensorBoard hide the curve. run_name="." keeps them in this run, not in a new one below it.
        final = {f"final/{name.replace('/', '_')}": value for name, value in results.items()}
        self._to_board(lambda board: board.add_hparams(table, final, run_name=".", global_step=self.steps))

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        self._to_board(lambda board: board.close())
        if self._broken:
            log.warning("the record of this run is incomplete: %s", ", ".join(sorted(self._broken)))

    def _open_board(self, step: int, distance: str | None) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - takes a second

        # purge_step hides what a killed process wrote after the checkpoint that is resumed.
        purge_step = None if self.fresh else step + 1
        self._board = SummaryWriter(str(self.run_dir), purge_step=purge_step, flush_secs=10)
        if self.fresh:
            self._board.add_custom_scalars(layout(distance))

    def _to_board(self, write: Callable[["SummaryWriter"], Any]) -> None:
        board = self._board
        if board is not None:
            self._guarded("TensorBoard", lambda: write(board))

    def _guarded(self, sink: str, write: Callable[[], object]) -> None:
        if sink in self._broken:
            return
        try:
            write()
        except Exception as error:  # even the import raises other exceptions in other versions
            self._broken.add(sink)
            log.warning("%s cannot be written (%s); training goes on without it", sink, error)

    def _show(self, step: int, values: dict[str, float]) -> None:
        """Show losses and speed beside the bar, and log them: on the console only if there is no bar."""
        losses = f"loss D {values['loss/discriminator']:.3f} G {values['loss/generator']:.3f}"
        speed = f"{values['speed/images_per_second']:,.0f} images/s"
        if not self._bar.disable:
            self._bar.set_postfix_str(f"{losses}, {speed}")
        seconds, first_step = time.perf_counter() - self._begun[0], self._begun[1]
        left = tqdm.format_interval(seconds / (step - first_step) * (self.steps - step))
        level = logging.DEBUG if not self._bar.disable else logging.INFO
        log.log(level, "step %d/%d  %s  %s  %s left", step, self.steps, losses, speed, left)


class ConsoleHandler(logging.Handler):
    """Writes log lines to standard error without breaking a progress bar there."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; ignore a broken pipe, which must not end the training."""
        with suppress(OSError):
            tqdm.write(self.format(record), file=sys.stderr)


def log_to(path: Path | None) -> None:
    """Send the package's log to the terminal and to ``path``, which the first line creates."""
    logging.raiseExceptions = False  # a full disk must not print a traceback per line
    package = logging.getLogger("dcgan")
    package.setLevel(logging.DEBUG)
    package.propagate = False  # Hydra's own handler would print everything twice
    for old in package.handlers[:]:
        package.removeHandler(old)
        old.close()
    package.addHandler(ConsoleHandler(logging.INFO))
    if path is not None:
        file = logging.FileHandler(path, delay=True, encoding="utf-8", errors="backslashreplace")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        package.addHandler(file)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read the records of ``metrics.jsonl``: of each line the numbers by name, ``step`` among them; skip other lines."""
    records = []
    for line in path.read_text("utf-8", errors="replace").splitlines() if path.exists() else []:
        with suppress(ValueError):  # cut short by a kill
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record.get("step"), int):
                records.append({name: value for name, value in record.items() if isinstance(value, int | float)})
    return records


def _append(path: Path, record: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def _drop_after(path: Path, step: int) -> None:
    """Drop the records after ``step``, and lines that are no records, such as a truncated last one."""
    if path.exists():
        kept = [record for record in read_metrics(path) if record["step"] <= step]
        write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
