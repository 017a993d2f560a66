"""Prepared pictures -> batches of float32, each a function of (seed, step) alone.

When several processes train together, each gets its share of every batch.

Legend: ``M`` rows of the store, ``N`` images, ``C`` channels, ``H W`` size.
"""

import hashlib
import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dcgan import parallel
from dcgan.config import AugmentConfig
from dcgan.errors import UserError
from dcgan.images import moved, to_float, turned
from dcgan.randomness import random_generator

UPLOADED = 2**26  # bytes of pictures copied to a device at once


@dataclass
class ImageSet:
    """A selection of the rows of a prepared store."""

    store: npt.NDArray[np.uint8]  # (M, C, H, W), memory-mapped
    rows: npt.NDArray[np.int64]  # (N,)
    labels: npt.NDArray[np.int64]  # (N,)
    classes: list[str]  # names; empty if the set has no classes
    digest: str  # of all pixels in the store

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: npt.NDArray[np.int64] | slice) -> Tensor:
        """Return the pictures at the chosen positions, from 0 to N - 1, uint8 ``(len(chosen), C, H, W)``."""
        return torch.from_numpy(self.store[self.rows[chosen]])

    def limited(self, count: int | None) -> "ImageSet":
        """Return a subset of ``count`` pictures: the same share of every class, at least one each; None for all.

        A smaller subset is part of every larger one.
        """
        if count is None:
            return self
        order = torch.randperm(len(self), generator=random_generator(0, "limit")).numpy()
        places = places_in_classes(self.labels, order)
        places[firsts_of_classes(self.labels, order)] = 0
        chosen = np.sort(np.lexsort((np.argsort(order), places))[:count])
        return replace(self, rows=self.rows[chosen], labels=self.labels[chosen])

    def examples(self, columns: int, rows: int, by_class: bool) -> Tensor:
        """Return pictures for a grid, row by row. With ``by_class``, column ``i`` shows class ``i``, repeated if small.

        The pictures are evenly spread over the set, which may be sorted.
        """
        groups = (
            [np.flatnonzero(self.labels == label) for label in range(columns)] if by_class else [np.arange(len(self))]
        )
        wanted = rows if by_class else min(rows * columns, len(self))
        spread = [group[np.linspace(0, len(group) - 1, wanted).astype(int)] for group in groups]
        return self[np.stack(spread, axis=1).flatten()]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of these pixels and labels; sets that differ anywhere have different fingerprints."""
        whole = hashlib.blake2b(self.digest.encode(), digest_size=16)
        whole.update(self.rows.tobytes() + self.labels.tobytes())
        return whole.hexdigest()


def places_in_classes(labels: npt.NDArray[np.int64], order: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return each picture's place, from 0 to 1, among those of its class in ``order``; 1 if it is not in ``order``.

    Thus the pictures with the lowest places, however many, are nearly the same share of every class.
    """
    places = np.ones(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        places[members] = (np.arange(len(members)) + 0.5) / len(members)
    return places


def firsts_of_classes(labels: npt.NDArray[np.int64], order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the first picture of each class in ``order``."""
    return order[np.unique(labels[order], return_index=True)[1]]


class Batches:
    """Batches of a set, each a function of (seed, step) alone.

    Every epoch goes through the set in its own order, and leaves out the last ``N % batch_size`` pictures of it.

    Args:
        data: the pictures.
        batch_size: the number of pictures in a batch; if shared, of all processes together.
        seed: the seed of the order and of the augmentation.
        device: where to put the batches.
        augment: what to change at random.
        on_device: whether to keep all pictures on the device. None does so if the device is a GPU and they fill less
            than half of its free memory.
        shared: whether the processes of torchrun share each batch; if not, this process gets all of it.

    Raises:
        UserError: if the set has fewer pictures than a batch, or a batch cannot be divided among the processes.
    """

    def __init__(
        self,
        data: ImageSet,
        batch_size: int,
        seed: int,
        device: torch.device,
        augment: AugmentConfig | None = None,
        on_device: bool | None = None,
        *,
        shared: bool = False,
    ) -> None:
        count = len(data)
        if count < batch_size:
            raise UserError(
                f"batch_size={batch_size} is more than the {count} picture{'s' * (count > 1)} to train on; "
                f"{f'set batch_size={count} or less, or ' if count > 1 else ''}find more pictures"
            )
        self.shared = shared
        if shared and (batch_size % parallel.world_size() or batch_size < 2 * parallel.world_size()):
            raise UserError(
                f"batch_size={batch_size} cannot be shared out to {parallel.world_size()} processes; "
                f"set a multiple of {parallel.world_size()}, at least 2 each"
            )
        self.data, self.device, self.augment = data, device, augment or AugmentConfig()
        self.labels = torch.from_numpy(data.labels).to(device)
        self.batch_size, self.per_epoch, self.seed = batch_size, count // batch_size, seed
        self._epoch, self._order = -1, torch.empty(0)  # none yet
        size = count * data.store[0].nbytes
        if on_device is None:
            on_device = device.type == "cuda" and size < torch.cuda.mem_get_info(device)[0] / 2
        self.resident = self._upload(UPLOADED * count // size) if on_device else None

    def _upload(self, at_once: int) -> Tensor:
        """Copy all pictures to the device, ``(N, C, H, W)``."""
        resident = torch.empty((len(self.data), *self.data.store.shape[1:]), dtype=torch.uint8, device=self.device)
        for chosen in torch.arange(len(self.data)).split(max(at_once, 1)):
            resident[chosen[0] : chosen[-1] + 1] = self.data[chosen.numpy()].to(self.device)
        return resident

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the images, float32 ``(N, C, H, W)`` in [-1, 1], and labels ``(N,)`` of ``step``, counted from 0."""
        epoch, batch = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            random = random_generator(self.seed, "order", epoch)
            self._epoch, self._order = epoch, torch.randperm(len(self.data), generator=random)
        chosen = self._order[batch * self.batch_size : (batch + 1) * self.batch_size]
        stream = "augment"
        if self.shared:
            chosen, stream = parallel.shard(chosen), parallel.per_process(stream)
        if self.resident is None:
            images = self.data[chosen.numpy()].to(self.device)
        else:
            images = self.resident[chosen.to(self.device)]
        random = random_generator(self.seed, stream, step)
        images = to_float(flipped_and_moved(images, self.augment, random))
        return turned_and_zoomed(images, self.augment, random), self.labels[chosen.to(self.device)]


def flipped_and_moved(images: Tensor, augment: AugmentConfig, random: torch.Generator) -> Tensor:
    """Flip and shift each picture at random; the border is repeated where nothing moves in.

    Args:
        images: ``(N, C, H, W)``.
        augment: which changes to make.
        random: a generator on the CPU.
    """
    if not augment.flip and not augment.translate:
        return images
    count, most = len(images), augment.translate
    flip = torch.rand(count, generator=random) < (0.5 if augment.flip else 0)
    down, right = torch.randint(-most, most + 1, (2, count), generator=random)
    return moved(images, down, right, flip)


def turned_and_zoomed(images: Tensor, augment: AugmentConfig, random: torch.Generator) -> Tensor:
    """Rotate each picture and change its size at random.

    Args:
        images: float32 ``(N, C, H, W)``.
        augment: which changes to make.
        random: a generator on the CPU.
    """
    if not augment.rotate and not augment.zoom:
        return images
    angle, zoom = torch.rand(2, len(images), generator=random) * 2 - 1
    return turned(images, angle * math.radians(augment.rotate), 1 + zoom * augment.zoom)
