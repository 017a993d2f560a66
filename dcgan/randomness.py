"""Every random number is a function of (seed, stream, step), so nothing random needs to be saved.

A run that is stopped and resumed draws what the uninterrupted run draws, and what one part of the
program draws never depends on how much another part has drawn.
"""

import hashlib

import torch


def random_generator(seed: int, stream: str, step: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator for one purpose (``stream``) at one step.

    On the CPU also when training is not, so that every device sees the same numbers; but for what is too much to be
    drawn there and sent. Costs some 20 microseconds.
    """
    digest = hashlib.blake2b(f"{seed}/{stream}/{step}".encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little") >> 1)
