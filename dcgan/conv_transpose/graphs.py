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
    """`functools.lru_cache` for functions of sizes, as in a graph, and with fake tensors, these may be symbols.

    It spares time: just after a large product, whose numbers have driven Python from the cache, a dozen of its lines
    take a twentieth of a millisecond. Numbers in tuples must be of Python's own: equal ones count as the same.
    """
    known = lru_cache(typed=True)(function)

    @wraps(function)
    def answer(*args: *Ts) -> R:
        if in_graph():
            return function(*args)
        try:
            hash(args)
        except TypeError:  # symbols, or what the function shall refuse
            return function(*args)
        return known(*args)

    return answer
