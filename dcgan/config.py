"""What a run is: plain dataclasses with units, ranges and one-sentence errors. Imports no torch."""

import dataclasses
import json
import math
import os
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from dcgan.choices import (
    Activation,
    Algorithm,
    Change,
    DataName,
    Device,
    Fit,
    Latents,
    LossName,
    Norm,
    OnBadFile,
    Precision,
    Upsample,
)
from dcgan.errors import UserError

Choice = TypeVar("Choice", bound=StrEnum)
Schema = TypeVar("Schema")

# Settings that may change when a run is resumed. Except data.root, they are no part of its name.
INCIDENTAL = {
    "data.root",  # the pictures themselves have a fingerprint
    "data.download",
    "data.store",
    "data.on_device",
    "name",
    "sweep",
    "device",
    "cuda_graphs",
    "resume",
    "log_every",
    "sample_every",
    "checkpoint_every",
    "checkpoint_keep",
    "evaluate_every",
}


@dataclass
class AugmentConfig:
    """Random changes of each real picture, anew in every batch."""

    flip: bool = False  # left and right exchanged in half of the pictures
    translate: int = 0  # pixels that a picture is moved by at most, up, down, left and right
    rotate: float = 0.0  # degrees that a picture is turned by at most, either way
    zoom: float = 0.0  # share of its size that a picture is enlarged or made smaller by at most

    def __post_init__(self) -> None:
        _in_range("data.augment.rotate", self.rotate, 0, 180)
        _in_range("data.augment.zoom", self.zoom, 0, 0.5)


@dataclass
class DataConfig:
    """The pictures."""

    name: DataName = DataName.mnist5k
    root: str | None = None  # where the files are, or are downloaded to; data/NAME if left out
    image_size: Any = 28  # pixels: one number or [height, width], each at least 8
    channels: int = 1  # 1 grey, 3 RGB
    fit: Fit = Fit.stretch
    upscale: bool = True  # take pictures that are smaller than image_size, too
    label: str | None = None  # of celeba: the attribute to learn, such as Smiling
    held_out: float = 0.1  # share kept from training, for evaluation, where the set has no test part
    limit: int | None = None  # train on so many pictures only, classes in proportion; evaluation uses all
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    on_bad_file: OnBadFile = OnBadFile.error
    download: bool = True  # mnist, fashion_mnist, cifar10, celeba, where they are not in root
    store: str = "data/prepared"  # the directory for prepared pictures
    on_device: bool | None = None  # keep all on the device; if left out, on a GPU that has room

    def __post_init__(self) -> None:
        self.name = _choice(DataName, "data.name", self.name)
        self.fit = _choice(Fit, "data.fit", self.fit)
        self.on_bad_file = _choice(OnBadFile, "data.on_bad_file", self.on_bad_file)
        self.image_size = _size(self.image_size)
        _in_range("data.held_out", self.held_out, 0, 0.9)
        if self.limit is not None:
            _in_range("data.limit", self.limit, 2)
        _in_range("data.augment.translate", self.augment.translate, 0, min(self.image_size) // 2)
        if self.channels not in (1, 3):
            raise UserError(f"data.channels={self.channels} must be 1 for grey or 3 for RGB")
        if self.name is DataName.folder and self.root is None:
            raise UserError("data=folder needs data.root=, a directory or zip archive of pictures")
        if self.label is not None and self.name is not DataName.celeba:
            raise UserError(f"data.label={self.label} is for data=celeba; leave it out with data={self.name}")


@dataclass
class ModelConfig:
    """Both networks."""

    upsample: Upsample = Upsample.scratch
    algorithm: Algorithm = Algorithm.auto  # of the from-scratch layer
    conditional: bool = True  # use the labels, where the data has them
    latent_dim: int = 64  # numbers that an image is made from
    width: int = 32  # channels of the largest map; doubles with each halving, at most 8-fold
    kernel_size: int = 4  # of all strided layers; the paper's is 5
    discriminator_norm: Norm = Norm.batch  # every: also on its first layer, and on the generator's output
    discriminator_activation: Activation = Activation.leaky_relu
    latents: Latents = Latents.normal
    # Divide each of the discriminator's weights by its largest singular value; with discriminator_norm=none, as BatchNorm
    # makes a layer's output the same whatever its weights are multiplied by.
    spectral_norm: bool = False

    def __post_init__(self) -> None:
        self.upsample = _choice(Upsample, "model.upsample", self.upsample)
        self.algorithm = _choice(Algorithm, "model.algorithm", self.algorithm)
        self.discriminator_norm = _choice(Norm, "model.discriminator_norm", self.discriminator_norm)
        self.discriminator_activation = _choice(
            Activation, "model.discriminator_activation", self.discriminator_activation
        )
        self.latents = _choice(Latents, "model.latents", self.latents)
        _in_range("model.latent_dim", self.latent_dim, 1)
        _in_range("model.width", self.width, 1)
        _in_range("model.kernel_size", self.kernel_size, 2, 8)
        # All others begin with our layer, from the latents to the first map.
        if self.algorithm is not Algorithm.auto and self.upsample is Upsample.builtin:
            raise UserError(
                f"model.algorithm={self.algorithm} has no effect with model.upsample=builtin; leave one of them out"
            )


@dataclass
class LossConfig:
    """What both networks minimise, and what the discriminator is shown."""

    name: LossName = LossName.nonsaturating
    label_smoothing: float = 0.0  # the target of real images is 1 minus this; with nonsaturating only
    r1: float = 0.5  # weight of half the squared gradient at real images
    r2: float = 0.0  # and at generated ones
    gradient_penalty: float = 0.0  # weight of the gradient's squared distance from norm 1, for wasserstein
    penalty_every: int = 4  # steps; penalties are computed only then, with as many times the weight
    instance_noise: float = 0.0  # standard deviation of noise on all images shown; falls to 0 over the run
    augment: list[Change] = field(default_factory=list)  # of all images that are shown

    def __post_init__(self) -> None:
        self.name = _choice(LossName, "loss.name", self.name)
        self.augment = [_choice(Change, "loss.augment", change) for change in self.augment]
        _in_range("loss.label_smoothing", self.label_smoothing, 0, 0.5)
        _in_range("loss.penalty_every", self.penalty_every, 1)
        for setting in ("r1", "r2", "gradient_penalty", "instance_noise"):
            _in_range(f"loss.{setting}", getattr(self, setting), 0)
        if self.label_smoothing and self.name is not LossName.nonsaturating:
            raise UserError(
                f"loss.label_smoothing={self.label_smoothing} has no effect with loss.name={self.name}; "
                "leave it out or set loss=nonsaturating"
            )


@dataclass
class OptimConfig:
    """Both optimisers, Adam, and the average of the generator's weights."""

    generator_lr: float = 1e-3
    discriminator_lr: float = 1e-3
    betas: list[float] = field(default_factory=lambda: [0.0, 0.99])
    decay_from: float = 0.5  # share of the steps after which the rates fall linearly to 0; 1 = never
    ema_decay: float = 0.999  # per step, and never more than 1 - 9 / (10 + step); 0: no average

    def __post_init__(self) -> None:
        _in_range("optim.generator_lr", self.generator_lr, 1e-9, 1)
        _in_range("optim.discriminator_lr", self.discriminator_lr, 1e-9, 1)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(
                f"optim.betas={self.betas} must be two numbers from 0 to below 1, such as optim.betas=[0.5,0.999]"
            )
        _in_range("optim.decay_from", self.decay_from, 0, 1)
        _in_range("optim.ema_decay", self.ema_decay, 0, 0.999999)


@dataclass
class Config:
    """A whole run. An ``_every`` counts steps, and 0 turns it off."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    name: str | None = None  # of the run directory in outputs/; made of the overrides if left out
    sweep: str = "unnamed"  # of the directory in outputs/sweeps/ that the runs of -m share
    seed: int = 0
    device: Device = Device.auto
    precision: Precision = Precision.float32  # of the networks while training
    cuda_graphs: bool = True  # on a GPU record each kind of step once, and play it back
    compile: bool = False  # the networks, by torch.compile; slower on a CPU
    steps: int = 3000  # one update of the discriminator and one of the generator each
    batch_size: int = 32  # images
    log_every: int = 50
    sample_every: int = 200
    checkpoint_every: int = 500
    evaluate_every: int = 1000
    evaluate_samples: int = 2500  # images to generate for it; at most half as many as there are real ones
    checkpoint_keep: int = 3  # how many of the newest stay
    resume: str = "auto"  # auto: go on where the run directory ends; never; or a checkpoint file

    def __post_init__(self) -> None:
        if self.resume not in ("auto", "never"):
            self.resume = os.path.normpath(self.resume)  # ./outputs is outputs
        self.device = _choice(Device, "device", self.device)
        self.precision = _choice(Precision, "precision", self.precision)
        _in_range("seed", self.seed, 0, 2**63 - 1)  # what PyTorch takes
        for setting in ("log_every", "sample_every", "checkpoint_every", "evaluate_every"):
            _in_range(setting, getattr(self, setting), 0)
        _in_range("steps", self.steps, 1)
        _in_range("batch_size", self.batch_size, 2)  # BatchNorm needs two
        if self.evaluate_every:
            _in_range("evaluate_samples", self.evaluate_samples, 10)  # for distances between features
        _in_range("checkpoint_keep", self.checkpoint_keep, 2)  # the newest may be found damaged

    def to_plain(self) -> dict[str, Any]:
        """As dicts, lists, strings and numbers, for YAML and checkpoints."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Config":
        """The inverse of `to_plain`.

        Raises:
            UserError: if a setting is unknown or has an impossible value.
        """
        try:
            return _build(cls, plain)
        except TypeError as error:
            raise UserError(f"the stored settings are not those of this version: {error}") from error


def flatten(settings: dict[Any, Any], prefix: str = "") -> dict[str, Any]:
    """``{"model": {"width": 32}}`` as ``{"model.width": 32}``."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def is_incidental(setting: str, value: Any) -> bool:
    """Whether runs that differ in it compute the same: `INCIDENTAL`, but not where another run was begun from."""
    return setting in INCIDENTAL and (setting != "resume" or value in ("auto", "never"))


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs between two plain configs and matters, as ``"steps=2000, now 4000"``.

    A setting that one of them does not know yet is at its default there.
    """
    default = flatten(Config().to_plain())
    before, now = default | flatten(old), default | flatten(new)
    return [
        f"{key}={before.get(key)}, now {now.get(key)}"
        for key in sorted((before.keys() | now.keys()) - INCIDENTAL)
        if before.get(key) != now.get(key)
    ]


def _build(schema: type[Schema], plain: dict[str, Any]) -> Schema:
    """A dataclass whose fields may be dataclasses, of a dict whose values may be dicts."""
    nested = {f.name: f.type for f in dataclasses.fields(schema) if isinstance(f.type, type)}  # type: ignore[arg-type]
    return schema(**{key: _build(nested[key], v) if isinstance(v, dict) else v for key, v in plain.items()})


def _size(size: Any) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, int) else size
    if (
        not isinstance(sides, list | tuple)
        or len(sides) != 2
        or not all(type(side) is int and side >= 8 for side in sides)
    ):
        raise UserError(
            f"data.image_size={size} must be a number or [height,width] of at least 8 pixels, "
            "such as data.image_size=28 or data.image_size=[218,178]"
        )
    return (sides[0], sides[1])


def _choice(choices: type[Choice], setting: str, value: str) -> Choice:
    try:
        return choices(value)
    except ValueError as error:
        raise UserError(f"{setting}={value} is unknown; choose one of {', '.join(choices)}") from error


def _in_range(setting: str, value: float, least: float, most: float = math.inf) -> None:
    if not least <= value <= most:  # false for nan, too
        bounds = f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise UserError(f"{setting}={value} must be {bounds}")
