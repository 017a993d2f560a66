"""What a run was made with: the versions and processors on which its numbers depend."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import torch

import dcgan
from dcgan import parallel

ROOT = Path(__file__).parents[1]
TIMEOUT = 10  # seconds for git, which may wait for a slow disk


def provenance(device: torch.device) -> dict[str, str]:
    """The versions, processors and processes of a training; where one of them differs, numbers may differ."""
    name = device.type
    if name == "cuda":
        name = torch.cuda.get_device_name(device)
    elif name == "cpu":
        name = f"cpu {torch.backends.cpu.get_cpu_capability()}"
    return {
        "dcgan": " ".join(filter(None, [dcgan.__version__, _commit()])),
        "torch": str(torch.__version__),
        "device": name,
        "threads": str(torch.get_num_threads()),
        "processes": str(parallel.world_size()),
    }


def changes(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """List what differs, as ``"threads 2, now 4"``."""
    return [f"{key} {before[key]}, now {value}" for key, value in now.items() if before.get(key, value) != value]


def _commit() -> str:
    """The commit of the source, with ``-dirty`` if files were changed since; empty for an installed package."""
    if (ROOT / ".git").exists():  # else git would name the commit of whatever the package was installed into
        with suppress(OSError, subprocess.TimeoutExpired):
            command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
            # In a hook, these would name another repository.
            around = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
            done = subprocess.run(command, env=around, capture_output=True, timeout=TIMEOUT, check=False)
            return done.stdout.decode(errors="replace").strip()
    return ""
