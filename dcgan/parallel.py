"""Several processes that train one pair of networks, as torchrun starts them: each takes its share of every batch.

Each takes its share of the latents that one process would draw, and gradients are averaged, so that the training is
that of one process, but for BatchNorm's mean and deviation, which are of a share, and for augmentation and noise,
which each process draws for itself. Without torchrun there is one
process, and nothing in this file does anything.
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

PATIENCE = timedelta(hours=1)  # for which the others wait while the first one evaluates


def world_size() -> int:
    """How many processes there are, on all machines."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this is, from 0."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Which of those on this machine this is, and so which of its GPUs it computes on."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_main() -> bool:
    """Whether this is the process that writes and speaks."""
    return rank() == 0


def join() -> None:
    """Let the processes talk to each other; to be called once or more before the rest.

    Raises:
        UserError: if the environment says that there are others, and not where.
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
    """Who carries what between the processes; said explicitly, or PyTorch takes only who carries what lies on GPUs."""
    gpus = torch.cuda.is_available() and dist.is_nccl_available()
    return "cpu:gloo,cuda:nccl" if gpus else "gloo"


def exit_process(code: int) -> NoReturn:
    """End this process, without the end of its interpreter.

    There a thread of the process group's would abort the process if it was just letting go of a tensor, which takes
    the interpreter's lock; and ``destroy_process_group`` ends these threads only if nothing else holds the group, as
    PyTorch itself does, in the default arguments of ``torch.distributed.nn.functional``.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def all_or_none() -> Iterator[None]:
    """What is done within succeeds in every process or in none: the error of one becomes everyone's.

    Raises:
        UserError: that of the first process which has one.
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
    """Of what all processes have, this one's part of the rows; `world_size` must divide them."""
    return batch.chunk(world_size())[rank()]


def per_process(stream: str) -> str:
    """The name of a stream of random numbers that shall differ from process to process."""
    return stream if is_main() else f"{stream} of process {rank()}"


def all_reduce_mean_(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over the processes; all have one type and device."""
    if world_size() == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    means = (flat / world_size()).split([tensor.numel() for tensor in tensors])
    for tensor, mean in zip(tensors, means, strict=True):
        tensor.copy_(mean.view_as(tensor))


def all_reduce_max(number: int) -> int:
    """The largest of the processes' numbers."""
    if world_size() == 1:
        return number
    largest = torch.tensor(number)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


def broadcast(state: dict[str, Any]) -> dict[str, Any]:
    """The first of several processes' ``state``, tensors and primitives, on the CPU."""
    file = io.BytesIO()
    if is_main():
        torch.save(state, file)
    sent = [file.getvalue()]
    dist.broadcast_object_list(sent)
    received: dict[str, Any] = torch.load(io.BytesIO(sent[0]), map_location="cpu", weights_only=True)
    return received
