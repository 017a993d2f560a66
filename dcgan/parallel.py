"""Training one pair of networks with several processes, started by torchrun: each takes its share of every batch.

Each process takes its share of the latents that one process would draw, and gradients are averaged. The training is
therefore that of a single process, with two exceptions: BatchNorm's mean and deviation are those of a share, and each
process draws its own augmentation and noise. Without torchrun there is one process, and this file has no effect.
"""

import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from dcgan.errors import UserError

PATIENCE = timedelta(hours=1)  # how long the other processes wait while the first one evaluates


def world_size() -> int:
    """The number of processes on all machines."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """The number of this process among all, from 0."""
    return int(os.environ.get("RANK", "0")) if world_size() > 1 else 0  # some clusters set RANK alone


def local_rank() -> int:
    """The number of this process on its machine, from 0; it computes on the GPU of this number."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_main() -> bool:
    """Whether this is the process that writes files and logs."""
    return rank() == 0


def join() -> None:
    """Connect the processes. Call this, once or more often, before they communicate.

    Raises:
        UserError: if the environment says that there are other processes, but not where they are.
    """
    if world_size() > 1 and not dist.is_initialized():
        try:
            dist.init_process_group(backend(), timeout=PATIENCE)
        except ValueError as error:
            raise UserError(
                f"WORLD_SIZE={world_size()} in the environment says that this is one of several processes, but not "
                "where the others are; unset it, or start with torchrun"
            ) from error


def backend() -> str:
    """The communication backends, named explicitly: else PyTorch picks NCCL only, which cannot send CPU tensors."""
    gpus = torch.cuda.is_available() and dist.is_nccl_available()
    return "cpu:gloo,cuda:nccl" if gpus else "gloo"


def exit_process(code: int) -> NoReturn:
    """End this process without shutting down its interpreter.

    During a shutdown, a thread of the process group aborts the process if it is just then releasing a tensor, as that
    takes the interpreter's lock. ``destroy_process_group`` ends these threads only if nothing else holds the group,
    but PyTorch itself holds it, in the default arguments of ``torch.distributed.nn.functional``.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def all_or_none() -> Iterator[None]:
    """Make the enclosed code succeed in every process or in none: the error of one is raised in all.

    Raises:
        UserError: the error of the first process that has one.
    """
    if world_size() == 1:
        yield
        return
    mine: UserError | None = None
    try:
        yield
    except UserError as error:
        mine = error
    sentences: list[str | None] = [None] * world_size()
    dist.all_gather_object(sentences, None if mine is None else str(mine))
    for sentence in sentences:
        if sentence is not None:
            raise UserError(sentence) from mine


def shard(batch: Tensor) -> Tensor:
    """This process's share of the rows of ``batch``; `world_size` must divide their number."""
    return batch.chunk(world_size())[rank()]


def per_process(stream: str) -> str:
    """The name of a stream of random numbers that must differ between processes."""
    return stream if is_main() else f"{stream} of process {rank()}"


def all_reduce_mean_(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over the processes; all tensors must have one type and device."""
    if world_size() == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    means = (flat / world_size()).split([tensor.numel() for tensor in tensors])
    for tensor, mean in zip(tensors, means, strict=True):
        tensor.copy_(mean.view_as(tensor))


def all_reduce_max(number: int) -> int:
    """The largest ``number`` of all processes."""
    if world_size() == 1:
        return number
    largest = torch.tensor(number)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


def broadcast(state: dict[str, Any]) -> dict[str, Any]:
    """Send the first process's ``state``, tensors and primitives, to all; return it with its tensors on the CPU."""
    file = io.BytesIO()
    if is_main():
        torch.save(state, file)
    sent = [file.getvalue()]
    dist.broadcast_object_list(sent)
    received: dict[str, Any] = torch.load(io.BytesIO(sent[0]), map_location="cpu", weights_only=True)
    return received
