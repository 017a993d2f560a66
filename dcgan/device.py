"""Where to compute."""

import torch

from dcgan.choices import Device
from dcgan.errors import UserError


def choose_device(wanted: Device) -> torch.device:
    """The device to train on.

    Raises:
        UserError: if the one asked for is not there.
    """
    there = {
        Device.cuda: torch.cuda.is_available(),
        Device.mps: torch.backends.mps.is_available(),
        Device.cpu: True,
    }
    if wanted is Device.auto:
        wanted = next(device for device, is_there in there.items() if is_there)
    if not there[wanted]:
        raise UserError(f"device={wanted} is not available here; leave it out or set device=cpu")
    return torch.device(wanted.value)
