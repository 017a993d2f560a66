"""Training steps on a GPU, recorded as CUDA graphs: a replay starts all kernels at once, not one by one from Python.

A step is some four hundred kernels. A GPU runs most of them in microseconds, sooner than Python can start the next.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from dcgan import engine, parallel
from dcgan.choices import Algorithm
from dcgan.config import Config
from dcgan.engine import Inputs, TrainState
from dcgan.errors import UserError

# The scalars that must be finite: if one is not, a recorded step skips the update that it belongs to.
WATCHED = ("loss/discriminator", "gradient_norm/discriminator", "loss/generator", "gradient_norm/generator")


def train_step_on(device: torch.device, config: Config) -> Callable[..., dict[str, Tensor]]:
    """`engine.train_step`, recorded if the device and the settings allow it; use each result for one state only.

    Not recordable: `matrix` (its size is computed on the GPU), and communication between processes.
    """
    counted = config.model.algorithm is Algorithm.matrix
    if device.type != "cuda" or not config.cuda_graphs or counted or parallel.world_size() > 1:
        return engine.train_step
    return RecordedSteps()


class RecordedSteps:
    """`engine.train_step` of one state on a GPU, with the same arguments and results.

    Steps differ in kind: with or without a penalty, and with or without statistics. The first step of a kind runs
    unrecorded, so that PyTorch completes its set-up on first use; the second is recorded, and replayed from then on.
    """

    def __init__(self) -> None:
        # All on one stream, because autograd delivers each gradient on the stream where its weight was first used.
        self.stream, self.memory = _stream(torch.cuda.current_device()), torch.cuda.graph_pool_handle()
        self.graphs: dict[tuple[bool, bool], tuple[torch.cuda.CUDAGraph, dict[str, Tensor]] | None] = {}
        self.held: Inputs | None = None  # the tensors from which all recordings read their inputs

    def __call__(
        self,
        state: TrainState,
        config: Config,
        real: Tensor,
        labels: Tensor | None,
        *,
        statistics: bool = True,
    ) -> dict[str, Tensor]:
        """See `engine.train_step`; the returned scalars are valid until the next call."""
        kind = (engine.penalty_is_due(config.loss, state.step), statistics)
        if kind not in self.graphs:
            self.graphs[kind] = None
            return self._unrecorded(state, config, real, labels, statistics=statistics)
        given = engine.inputs(state, config, real, labels)
        held = self.held = self.held or Inputs(*map(_on_device, given))  # type: ignore[arg-type]
        recorded = self.graphs[kind]
        if recorded is None:
            recorded = self.graphs[kind] = self._record(state, config, held, statistics=statistics)
        graph, scalars = recorded
        engine.set_learning_rates(state, given)  # as numbers, which checkpoints store
        for place, value in zip(held, given, strict=True):
            _put(value, place)
        graph.replay()
        if not torch.stack([scalars[name] for name in WATCHED]).isfinite().all():
            # The replay skipped the non-finite update, and the run ends here. An unrecorded step can name the tensor.
            self._unrecorded(state, config, real, labels, statistics=statistics)
            raise engine.diverged("a loss or a gradient", state.step)
        state.step += 1
        return scalars | engine.learning_rates(given)

    def _record(
        self, state: TrainState, config: Config, held: Inputs, *, statistics: bool
    ) -> tuple[torch.cuda.CUDAGraph, dict[str, Tensor]]:
        graph = torch.cuda.CUDAGraph()
        engine.set_learning_rates(state, held)
        try:
            with (
                torch.cuda.stream(torch.cuda.current_stream()),  # restored at the end, whatever happens
                torch.cuda.graph(graph, self.memory, self.stream),
            ):
                scalars = engine.update(state, config, held, statistics=statistics)
        except RuntimeError as error:
            cause = error.__context__ or error  # the error of the recording is only a consequence
            if isinstance(cause, torch.OutOfMemoryError):
                raise cause from error
            reason = str(cause).splitlines()[0]
            raise UserError(f"a step cannot be recorded ({reason}); set cuda_graphs=false") from error
        return graph, scalars

    def _unrecorded(
        self, state: TrainState, config: Config, real: Tensor, labels: Tensor | None, *, statistics: bool
    ) -> dict[str, Tensor]:
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            scalars = engine.train_step(state, config, real, labels, statistics=statistics)
        torch.cuda.current_stream().wait_stream(self.stream)
        return scalars


@cache
def _stream(device: int) -> torch.cuda.Stream:
    """One stream for all runs of a sweep, because matrix products keep tens of megabytes for each stream they ran on."""
    return torch.cuda.Stream(device)


def _put(value: Tensor | float | None, place: Any) -> None:
    if isinstance(value, Tensor):
        place.copy_(value)
    elif value is not None:
        place.fill_(value)


def _on_device(value: Tensor | float | None) -> Tensor | None:
    """A tensor on the GPU that holds one input in every step; None for an input that is None."""
    if isinstance(value, Tensor):
        return value.clone()
    return None if value is None else torch.tensor(value, device="cuda")
