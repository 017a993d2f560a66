"""The fixed classifier of a labelled set, whose features measure generated images.

It is trained once on the real training split, always by the same recipe, and stored beside the prepared pictures.
Distances between its features are comparable only between runs that share the set and the hash of the features.
"""

import hashlib
import logging
from contextlib import ExitStack, suppress
from pathlib import Path

import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import Tensor, nn

from dcgan import checkpoint
from dcgan.config import AugmentConfig
from dcgan.data import Batches, Data, ImageSet
from dcgan.errors import UserError, is_out_of_memory
from dcgan.images import to_float
from dcgan.progress import Progress
from dcgan.randomness import random_generator

log = logging.getLogger(__name__)

VERSION = 1  # raise it with every change to the architecture or the training
WIDTHS = (16, 32, 64)
FEATURES = 64
BATCH_SIZE = 128
MIN_STEPS, MAX_STEPS, EPOCHS = 500, 2000, 15
EVALUATION_BATCH_SIZE = 500  # images
SCALED = 10_000  # images that determine the scale of the features, at most


class Classifier(nn.Module):
    """A small convolutional network; its 64 features are taken before the last ReLU and layer.

    Args:
        channels: the number of image channels.
        num_classes: the number of classes, at least 2.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for depth, (inputs, outputs) in enumerate(zip((channels, *WIDTHS), WIDTHS, strict=False)):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride=2 if depth else 1, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.features = nn.Linear(WIDTHS[-1] * 16, FEATURES)
        self.head = nn.Linear(FEATURES, num_classes)
        self.register_buffer("scale", torch.ones(()))  # gives the features a mean square of 1
        self.scale: Tensor

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features ``(N, 64)`` and logits ``(N, num_classes)`` of float32 images in [-1, 1]."""
        features = self.features(self.layers(images))
        return features, self.head(F.relu(features))

    @torch.no_grad()
    def describe(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return scaled features ``(N, 64)`` and predicted classes ``(N,)`` of uint8 images, both on the CPU."""
        features, classes = [], []
        device = self.head.weight.device
        for block in images.split(EVALUATION_BATCH_SIZE):
            seen, logits = self(to_float(block.to(device)))
            features.append((seen * self.scale).cpu())
            classes.append(logits.argmax(1).cpu())
        return torch.cat(features), torch.cat(classes)

    @property
    def digest(self) -> str:
        """A hash of the weights, which identifies the features."""
        whole = hashlib.blake2b(digest_size=8)
        for tensor in self.state_dict().values():
            whole.update(tensor.cpu().numpy().tobytes())
        return whole.hexdigest()


def classifier_of(found: Data, device: torch.device) -> Classifier:
    """Load the classifier of a set, or train and save it; it is returned in evaluation mode."""
    if device.type == "mps":  # its adaptive pooling needs sizes that divide evenly; 7 by 4 does not
        device = torch.device("cpu")
    network = Classifier(found.train.store.shape[1], len(found.train.classes))
    path = found.store / f"classifier-{VERSION}-{found.train.fingerprint}.pt"
    with ExitStack() as alone:
        with suppress(OSError):  # a read-only store needs no lock: no other process writes there
            alone.enter_context(FileLock(path.with_suffix(".lock")))
        if not _read(network, path):
            _train(network, found.train, device)
            try:
                checkpoint.write(path, {"classifier": network.state_dict()})
            except (OSError, RuntimeError) as error:
                log.warning("the classifier cannot be kept in %s (%s)", path, error)
    return network.to(device).eval()


def accuracy(network: Classifier, held_out: ImageSet) -> float | None:
    """Return the share of held-out images that the classifier recognises, or None if there are no such images."""
    if not len(held_out):
        return None
    _, recognised = network.describe(held_out[:])
    return float((recognised == torch.from_numpy(held_out.labels)).float().mean())


def _read(network: Classifier, path: Path) -> bool:
    try:
        network.load_state_dict(checkpoint.load(path)["classifier"])
    except UserError as error:
        if path.exists():
            log.warning("%s; it is trained again", error)
        return False
    except (KeyError, OSError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        log.warning("%s holds no such classifier; it is trained again", path)
        return False
    return True


def _train(network: Classifier, train: ImageSet, device: torch.device) -> None:
    """Train with AdamW and a learning rate that rises and falls, on images shifted by up to 2 pixels."""
    random = random_generator(0, "classifier")
    for parameter in network.parameters():
        if parameter.dim() > 1:
            nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=random)
    for layer in (network.features, network.head):
        nn.init.zeros_(layer.bias)
    network.to(device).train()
    batches = Batches(train, min(BATCH_SIZE, len(train)), 0, device, AugmentConfig(translate=2))
    steps = min(max(EPOCHS * len(train) // BATCH_SIZE, MIN_STEPS), MAX_STEPS)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    log.info("training the classifier that measures the samples, once for these pictures")
    for step in Progress(range(steps), "the classifier", unit="step"):
        images, labels = batches[step]
        optimizer.zero_grad()
        F.cross_entropy(network(images)[1], labels).backward()
        optimizer.step()
        schedule.step()
    network.eval()
    spread = torch.randperm(len(train), generator=random)[:SCALED].numpy()
    network.scale = network.describe(train[spread])[0].square().mean().rsqrt().to(device)
