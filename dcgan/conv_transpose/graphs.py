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
    """Whether only plain operations will do, and no loop may depend on a size.

    In `torch.compile` and `torch.export`, in `torch.jit.trace`, in `torch.func.functionalize`, and where `loses_writes`.
    """
    if torch.compiler.is_compiling():
        return True
    if torch.jit.is_tracing() or loses_writes():  # type: ignore[attr-defined,no-untyped-call]
        return True
    return _levels(TransformType.Functionalize) > 0  # which knows no `Function`


def loses_writes() -> bool:
    """Whether what is written into new memory may get lost, so that all must be made from what was there before.

    In ``make_fx``, as in `torch.func.linearize`, which takes such memory for a constant; and where `nests_forward_mode`.
    """
    if torch.compiler.is_compiling():  # which keeps them
        return False
    return get_proxy_mode() is not None or nests_forward_mode()


def nests_forward_mode() -> bool:
    """Whether forward mode derives forward mode, as in ``jacfwd(jacfwd(f))``, where PyTorch's `Function` loses a part."""
    return _levels(TransformType.Jvp) > 1


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


def _levels(kind: TransformType) -> int:
    """How many of `torch.func`'s transforms of this kind are at work."""
    return sum(level.key() == kind for level in get_interpreter_stack() or ())
