"""Detect where only plain operations work, without writes into memory: mostly while a graph is recorded."""

import torch
from torch._C._functorch import TransformType, get_interpreter_stack
from torch.fx.experimental.proxy_tensor import get_proxy_mode


def plain_only() -> bool:
    """Whether only plain operations work, and no loop may depend on a size.

    True in `torch.compile`, `torch.export`, `torch.jit.trace` and `torch.func.functionalize`, and where `loses_writes`.
    """
    if torch.compiler.is_compiling():
        return True
    if torch.jit.is_tracing() or loses_writes():  # type: ignore[attr-defined,no-untyped-call]
        return True
    return _levels(TransformType.Functionalize) > 0  # which does not support `Function`


def loses_writes() -> bool:
    """Whether writes into new memory may get lost, so that results must be computed from existing tensors.

    True in ``make_fx`` and `torch.func.linearize`, where new memory becomes a constant, and if `nests_forward_mode`.
    """
    if torch.compiler.is_compiling():  # which keeps writes
        return False
    return get_proxy_mode() is not None or nests_forward_mode()


def in_transform() -> bool:
    """Whether a transform of `torch.func` is active."""
    return bool(get_interpreter_stack())


def nests_forward_mode() -> bool:
    """Whether forward mode is nested, as in ``jacfwd(jacfwd(f))``, where `Function` loses a part of the derivative."""
    return _levels(TransformType.Jvp) > 1


def _levels(kind: TransformType) -> int:
    """Count the active `torch.func` transforms of this kind."""
    levels = get_interpreter_stack()
    return sum(level.key() == kind for level in levels) if levels else 0
