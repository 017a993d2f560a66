"""What is different while operations are being recorded."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar, TypeVarTuple

import torch
from torch.fx.experimental.proxy_tensor import get_proxy_mode

Ts = TypeVarTuple("Ts")
R = TypeVar("R")


def in_graph() -> bool:
    """Whether operations are being recorded, to be done with other tensors and sizes: no loop may depend on these.

    By `torch.compile` and `torch.export`; by `torch.jit.trace`; by ``make_fx``, as in `torch.func.linearize`, which
    takes a buffer that is made in between for a constant.
    """
    if torch.compiler.is_compiling():
        return True
    return torch.jit.is_tracing() or get_proxy_mode() is not None  # type: ignore[attr-defined,no-untyped-call]


def remembered(function: Callable[[*Ts], R]) -> Callable[[*Ts], R]:
    """`functools.lru_cache` for functions of sizes, which in a graph are symbols that have no value yet.

    Just after a large product, whose numbers have driven Python from the cache, a dozen of its lines take a
    twentieth of a millisecond.
    """
    known = lru_cache(typed=True)(function)

    @wraps(function)
    def answer(*args: *Ts) -> R:
        return function(*args) if in_graph() else known(*args)

    return answer
