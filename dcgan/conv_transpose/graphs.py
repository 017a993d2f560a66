"""Where only plain operations will do, that write into nothing: mostly while they are being recorded."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar, TypeVarTuple

import torch
from torch._C._functorch import TransformType, get_interpreter_stack
from torch.fx.experimental.proxy_tensor import get_proxy_mode

Ts = TypeVarTuple("Ts")
R = TypeVar("R")


def plain_only() -> bool:
    """Whether operations are being recorded, to be done with other tensors and sizes: no loop may depend on these.

    That is so in `torch.compile` and `torch.export`; in `torch.jit.trace`; in ``make_fx``, as in `torch.func.linearize`,
    which takes memory that is made in between for a constant, and loses what is written into it. The same plain
    operations are what `nests_forward_mode` needs.
    """
    if torch.compiler.is_compiling():
        return True
    recorded = torch.jit.is_tracing() or get_proxy_mode() is not None  # type: ignore[attr-defined,no-untyped-call]
    return recorded or nests_forward_mode()


def nests_forward_mode() -> bool:
    """Whether forward mode derives forward mode, as in ``jacfwd(jacfwd(f))``, where PyTorch's `Function` loses a part."""
    levels = get_interpreter_stack()
    return levels is not None and sum(level.key() == TransformType.Jvp for level in levels) > 1


def remembered(function: Callable[[*Ts], R]) -> Callable[[*Ts], R]:
    """`functools.lru_cache` for functions of sizes, as in a graph, and with fake tensors, these may be symbols.

    It spares time: just after a large product, whose numbers have driven Python from the cache, a dozen of its lines
    take a twentieth of a millisecond. Numbers in tuples must be of Python's own: equal ones count as the same.
    """
    known = lru_cache(typed=True)(function)

    @wraps(function)
    def answer(*args: *Ts) -> R:
        if plain_only():
            return function(*args)
        try:
            hash(args)
        except TypeError:  # symbols, or what the function shall refuse
            return function(*args)
        return known(*args)

    return answer
