"""Explore a generator: walks, class morphs, sums of latents, maps, nearest training images, and a film of the run.

Legend: ``T`` frames, ``R`` images of a frame, ``S`` seeds, ``Z`` latent size, ``C H W`` an image.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from dcgan.atomic import of_steps
from dcgan.data import Data
from dcgan.errors import UserError
from dcgan.evaluation.pixel_classifiers import nearest
from dcgan.images import grid, joined, read_picture, to_picture, to_uint8
from dcgan.networks import Generator
from dcgan.randomness import random_generator
from dcgan.sampling import GRID_ROWS, TrainedGenerator, latents_of, render

NEIGHBOURS = 5
AROUND = 0.25  # largest offset of each number, for the images around a sum; Radford et al. 2015, figure 7
MAPS_ACROSS = 3  # maps shown of each layer: so many across, and as many down
MIN_SIDE = 56  # pixels; small images are enlarged to about this side


def interpolated(stops: Tensor, frames: int, *, spherical: bool, closed: bool) -> Tensor:
    """Points on the way from each stop to the next, ``(T, Z)``.

    Args:
        stops: ``(S, Z)``, the points to pass through.
        frames: points from one stop to the next, the first stop included.
        spherical: follow a great circle if both ends are equally long, and nearly one if they are nearly so, like
            latents from N(0, 1) (White 2016, section 2); else a straight line, whose middle is too close to zero.
        closed: return to the first stop in the end; else the last stop is the last point.

    Raises:
        UserError: if there is only one stop.
    """
    if len(stops) < 2:
        raise UserError("a walk takes two stops: two of seeds=, or with between=classes two of classes=")
    points = []
    for start, end in zip(stops if closed else stops[:-1], stops.roll(-1, 0), strict=False):
        shares = (torch.arange(frames) / frames)[:, None]
        angle = torch.acos(torch.cosine_similarity(start, end, dim=0).clamp(-1, 1))
        if spherical and torch.sin(angle) > 1e-4:  # else the ends have the same or opposite directions
            points.append(
                (torch.sin((1 - shares) * angle) * start + torch.sin(shares * angle) * end) / torch.sin(angle)
            )
        else:
            points.append(torch.lerp(start, end, shares))
    return torch.cat(points if closed else [*points, stops[-1:]])


@torch.no_grad()
def between_seeds(
    trained: TrainedGenerator,
    seeds: Sequence[int],
    classes: Sequence[int] | None,
    frames: int,
    *,
    spherical: bool,
    closed: bool,
) -> Tensor:
    """A walk from seed to seed, in all the classes at once: uint8 ``(T, R, C, H, W)``."""
    latents = interpolated(latents_of(trained.network, seeds), frames, spherical=spherical, closed=closed)
    chosen, embedding = trained.known(classes), trained.network.embedding
    if chosen is None or embedding is None:
        return _every_pair(trained.network, latents, torch.empty(1, 0))
    return _every_pair(trained.network, latents, embedding(torch.tensor(chosen)))


@torch.no_grad()
def between_classes(
    trained: TrainedGenerator,
    seeds: Sequence[int],
    classes: Sequence[int] | None,
    frames: int,
    *,
    closed: bool,
) -> Tensor:
    """A walk from class to class for each seed, straight between embeddings: uint8 ``(T, R, C, H, W)``.

    Raises:
        UserError: if the generator knows no classes.
    """
    chosen, embedding = trained.known(classes), trained.network.embedding
    if chosen is None or embedding is None:
        raise UserError("between=classes, but this run is unconditional; leave it out")
    kinds = interpolated(embedding(torch.tensor(chosen)), frames, spherical=False, closed=closed)
    return _every_pair(trained.network, latents_of(trained.network, seeds), kinds).transpose(0, 1)


def animation(walk: Tensor) -> list[Image.Image]:
    """A walk ``(T, R, C, H, W)`` as T frames, each with its R images side by side."""
    return [_enlarged(images, len(images)) for images in walk]


def strip(walk: Tensor) -> Image.Image:
    """A walk ``(T, R, C, H, W)`` as one picture with R rows of T images."""
    return _enlarged(walk.transpose(0, 1).flatten(0, 1), len(walk))


@torch.no_grad()
def arithmetic(
    trained: TrainedGenerator, terms: Sequence[Sequence[int]], classes: Sequence[int] | None
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Compute first - second + third with the codes of images (Radford et al. 2015, section 6.3.2).

    Each term is the mean over its seeds, because a single latent says too little. A seed has its class as in
    `TrainedGenerator.sample`; the embeddings of the classes are summed along with the latents.

    Args:
        trained: the generator.
        terms: the seeds of each of the three terms.
        classes: the classes that the seeds cycle through; None for all.

    Returns:
        For each term, the images of its seeds, uint8 ``(S, C, H, W)``; for each term, the image of its mean,
        ``(1, C, H, W)``; and nine images, in the middle that of the sum, the others with some noise.
    """
    of_terms = [trained.codes(seeds, classes)[0] for seeds in terms]
    means = [codes.mean(0, keepdim=True) for codes in of_terms]
    around = (means[0] - means[1] + means[2]).repeat(9, 1)
    noise = AROUND * (2 * torch.rand(9, trained.network.latent_dim, generator=random_generator(0, "around")) - 1)
    noise[4] = 0  # the sum itself, in the middle
    around[:, : trained.network.latent_dim] += noise
    members, middles = ([render(trained.network, codes) for codes in group] for group in (of_terms, means))
    return members, middles, render(trained.network, around)


def equation(members: list[Tensor], middles: list[Tensor], around: Tensor) -> Image.Image:
    """`arithmetic` as a picture: each term's images with their mean below, then the result."""
    sides = [
        joined([_enlarged(images, len(images)), "mean", _enlarged(middle, 1)], down=True)
        for images, middle in zip(members, middles, strict=True)
    ]
    return joined([sides[0], "-", sides[1], "+", sides[2], "=", _enlarged(around, 3)])


@torch.no_grad()
def layer_by_layer(trained: TrainedGenerator, seeds: Sequence[int], classes: Sequence[int] | None) -> Image.Image:
    """Show how an image grows: per seed a row with the maps of largest variance after each layer, and the image.

    Every row shows the same maps, each from black for 0 to white for its largest value in any row.
    """
    rows = []
    for code in trained.codes(seeds, classes)[0]:  # one at a time, as in `render`
        row, maps = [], code[None, :, None, None]
        for layer in trained.network.layers:
            maps = layer(maps)
            if isinstance(layer, nn.ReLU):
                row.append(maps)
        rows.append([*row, maps])
    *layers, images = (torch.cat(of_seeds) for of_seeds in zip(*rows, strict=True))
    side = max(MIN_SIDE, *images.shape[2:])
    names, blocks = [], []  # a block for each layer and seed
    for maps in layers:
        liveliest = maps.transpose(0, 1).flatten(1).var(1).topk(min(MAPS_ACROSS**2, maps.shape[1])).indices
        shown = maps[:, liveliest]
        shown = shown / shown.amax((0, 2, 3), keepdim=True).clamp(min=1e-9)
        tiles = _filling((255 * shown).round().to(torch.uint8).flatten(0, 1)[:, None], side)
        names.append(f"{maps.shape[1]} of {maps.shape[2]} x {maps.shape[3]}")
        blocks += [to_picture(grid(of_seed, MAPS_ACROSS)) for of_seed in tiles.split(len(liveliest))]
    names.append(f"{images.shape[2]} x {images.shape[3]}")
    blocks += [to_picture(image) for image in _filling(to_uint8(images), MAPS_ACROSS * side)]
    blocks = _of_one_size(blocks)
    columns = [blocks[first : first + len(rows)] for first in range(0, len(blocks), len(rows))]
    return joined([joined([name, *column], down=True) for name, column in zip(names, columns, strict=True)])


def beside_nearest(images: Tensor, pictures: Data) -> Image.Image:
    """Show each image beside the training images nearest to it in raw pixels: is it a copy?"""
    shown = pictures.shown
    found = nearest(images, shown, min(NEIGHBOURS, len(shown)))  # (N, count)
    blocks = [
        part
        for some, closest in zip(images.split(GRID_ROWS), found.split(GRID_ROWS), strict=True)
        for part in (
            _enlarged(some, 1),
            _enlarged(shown[closest.flatten().numpy()], closest.shape[1]),
            "  ",
        )
    ]
    return joined(["generated, and the training images nearest to it", joined(blocks[:-1])], down=True)


def film(run: Path) -> list[Image.Image]:
    """The sample grids of a run in order, with the step above each.

    Raises:
        UserError: if there are none.
    """
    if not run.is_dir():
        raise UserError(f"run={run} is not a run directory, which format=film needs")
    frames = []
    for path in of_steps(run / "samples", ".png"):
        step = int(path.stem.removeprefix("step-"))
        frames.append(joined([f"step {step:,}", read_picture(path)], down=True))
    if not frames:
        raise UserError(f"run={run} has no pictures in samples/, as with sample_every=0")
    return _of_one_size(frames)  # the words of the step may be wider than the grid


def _every_pair(network: Generator, latents: Tensor, embeddings: Tensor) -> Tensor:
    """Images ``(A, B, C, H, W)`` of each latent ``(A, Z)`` with each embedding ``(B, E)``."""
    pairs = (len(latents), len(embeddings))
    left, right = latents[:, None].expand(*pairs, -1), embeddings.expand(*pairs, -1)
    images = render(network, torch.cat([left, right], 2).flatten(0, 1))
    return images.view(*pairs, *images.shape[1:])


def _of_one_size(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """Pad all pictures to the largest width and height, with white on the right and below."""
    width, height = (max(sides) for sides in zip(*(picture.size for picture in pictures), strict=True))
    return [
        ImageOps.expand(picture, (0, 0, width - picture.width, height - picture.height), "white")
        for picture in pictures
    ]


def _filling(images: Tensor, side: int) -> Tensor:
    """Repeat each pixel as a square, so that an image's longer side is about ``side``."""
    scale = max(1, side // max(images.shape[2:]))
    return images.repeat_interleave(scale, 2).repeat_interleave(scale, 3)


def _enlarged(images: Tensor, columns: int) -> Image.Image:
    """A grid of uint8 ``(N, C, H, W)``, enlarged if the images are small."""
    return to_picture(grid(images, columns), max(1, MIN_SIDE // max(images.shape[2:])))
