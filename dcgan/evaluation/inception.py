"""The Inception features behind FID and KID in papers; the weights must be present, as nothing is downloaded."""

import importlib.util
from pathlib import Path

import torch
from torch import Tensor

from dcgan.progress import Progress

BATCH_SIZE = 50  # images
WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"


def weights_path() -> Path:
    """Return the path where torch-fidelity keeps its downloaded weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS


def missing() -> str | None:
    """Return what the user must do before `features` works, or None if nothing is missing."""
    if importlib.util.find_spec("torch_fidelity") is None:
        return "no Inception distances: pip install torch-fidelity brings the network"
    if not weights_path().exists():
        return f"no Inception distances: put torch-fidelity's {WEIGHTS} (its release v0.2.0) at {weights_path()}"
    return None


@torch.no_grad()
def features(images: Tensor, device: torch.device) -> Tensor:
    """Return features ``(N, 2048)`` of uint8 RGB images ``(N, 3, H, W)``, resized as TensorFlow 1 does for all FIDs."""
    from torch_fidelity.feature_extractor_inceptionv3 import (  # noqa: PLC0415
        FeatureExtractorInceptionV3,
    )

    network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(weights_path())).to(device).eval()
    blocks = Progress(images.split(BATCH_SIZE), "the features of Inception")
    return torch.cat([network(block.to(device))[0].cpu() for block in blocks])
