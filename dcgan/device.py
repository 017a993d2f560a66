"""Choose the device to compute on, and measure how much memory that takes."""

import sys
from pathlib import Path

import torch

from dcgan import parallel
from dcgan.choices import Device
from dcgan.errors import UserError

# Before it, PyTorch on MPS computes convolutions with non-default weight strides wrongly, also in R1 (pytorch #192212).
MPS_VERSION = "2.14"
STATUS = Path("/proc/self/status")  # on Linux only


def choose_device(wanted: Device) -> torch.device:
    """The device to compute on; with torchrun, each process of a machine has a GPU of its own.

    Raises:
        UserError: if the device is not available, or not for this number of processes.
    """
    mps = torch.backends.mps.is_available()
    there = {
        Device.cuda: torch.cuda.is_available(),
        Device.mps: mps and torch.__version__ >= MPS_VERSION,
        Device.cpu: True,
    }
    if wanted is Device.auto:
        wanted = next(device for device, is_there in there.items() if is_there)
    if wanted is Device.mps and mps and not there[wanted]:
        raise UserError(
            f"device=mps computes wrongly with PyTorch {torch.__version__}; install {MPS_VERSION} or newer, "
            "or set device=cpu"
        )
    if not there[wanted]:
        raise UserError(f"device={wanted} is not available here; leave it out or set device=cpu")
    if wanted is Device.cuda and parallel.world_size() > 1:
        gpus, own = torch.cuda.device_count(), parallel.local_rank()
        if own >= gpus:
            raise UserError(f"there are {gpus} GPUs; set torchrun's --nproc-per-node={gpus}, or device=cpu")
        torch.cuda.set_device(own)  # communication between processes uses it, too
        return torch.device("cuda", own)
    if wanted is Device.mps and parallel.world_size() > 1:
        raise UserError("device=mps computes in one process; leave torchrun out, or set device=cpu")
    return torch.device(wanted.value)


def peak_memory() -> int:
    """The most bytes that this process has used since `forget_peak_memory`, or ever if that has no effect.

    These are bytes of GPU memory if the process computes on a GPU, else of resident memory.
    """
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    # Preferred if it exists: getrusage would count what the parent process held when it started this one.
    status = STATUS.read_text().splitlines() if STATUS.exists() else []
    if peak := [line for line in status if line.startswith("VmHWM:")]:
        return int(peak[0].split()[1]) * 1024
    if sys.platform == "win32":
        return 0  # not measured on Windows
    import resource  # noqa: PLC0415 - Windows does not have it

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak_memory() -> bool:
    """Let `peak_memory` count from now on; return whether that has an effect, as on a GPU and on Linux."""
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True
