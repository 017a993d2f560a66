"""The settings of a run, with units and ranges: plain dataclasses with one-sentence errors. Imports no torch."""

import dataclasses
import json
import math
import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
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

# In a checkout, configs/ is beside the package; in a wheel, inside it. The path is absolute because Hydra resolves
# a relative one differently for a module that is run and a module that is imported.
CONFIG_DIR = next(
    path for path in (Path(__file__).parent / "configs", Path(__file__).parents[1] / "configs") if path.is_dir()
)
# Settings that may change when a run is resumed. The run's name leaves them out, except data.root and a resume=FILE.
INCIDENTAL = {
    "data.root",  # the fingerprint identifies the pictures themselves
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
    """Random changes to each real picture, drawn anew for every batch."""

    flip: bool = False  # exchange left and right, with probability 1/2
    translate: int = 0  # largest shift in pixels, in each direction; 0 to half the shorter side
    rotate: float = 0.0  # largest rotation in degrees, in either direction; 0 to 180
    zoom: float = 0.0  # scale by a factor from 1 - zoom to 1 + zoom; 0 to 0.5

    def __post_init__(self) -> None:
        _in_range("data.augment.rotate", self.rotate, 0, 180)
        _in_range("data.augment.zoom", self.zoom, 0, 0.5)


@dataclass
class DataConfig:
    """The pictures and how to prepare them."""

    name: DataName = DataName.mnist5k
    root: str | None = None  # where the files are, or where to download them to; default data/NAME, none for folder
    image_size: Any = 28  # pixels: one number for squares, or [height, width]; each at least 8
    channels: int = 1  # 1 grey, 3 RGB
    fit: Fit = Fit.stretch  # for pictures of another aspect ratio than image_size
    upscale: bool = True  # enlarge pictures smaller than image_size; false: treat them as bad files
    label: str | None = None  # celeba only: the attribute that gives the classes, such as Smiling
    held_out: float = 0.1  # share to keep for evaluation if the set has no test part of its own; 0 to 0.9
    limit: int | None = None  # number of pictures to train on, at least 2, classes in proportion; evaluation uses all
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    on_bad_file: OnBadFile = OnBadFile.error  # for files that cannot be trained on
    download: bool = True  # for mnist, fashion_mnist, cifar10 and celeba: download what is not in root
    store: str = "data/prepared"  # directory for the prepared pictures
    on_device: bool | None = None  # keep all pictures on the device; default: if half of the free GPU memory holds them

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
    """The generator and the discriminator."""

    upsample: Upsample = Upsample.scratch  # how the generator enlarges its maps
    algorithm: Algorithm = Algorithm.auto  # of the from-scratch layer, which computes scratch and resize
    conditional: bool = True  # use the labels, if the data has any
    latent_dim: int = 64  # numbers in the latent from which an image is made; at least 1
    width: int = 32  # channels of the largest map, at least 1; they double with each halving, up to 8 times as many
    kernel_size: int = 4  # of every layer that halves or doubles a map; 2 to 8, in the paper 5
    discriminator_norm: Norm = Norm.batch  # every: also on its first layer, and on the generator's output
    discriminator_activation: Activation = Activation.leaky_relu  # after each layer but the last
    latents: Latents = Latents.normal  # the distribution of each number of a latent
    # Divide each weight of the discriminator by its largest singular value. Set discriminator_norm=none, too: after
    # BatchNorm, a layer's output does not depend on the scale of its weights.
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
        # With any other upsample, the generator's first layer is the from-scratch layer, which uses the algorithm.
        if self.algorithm is not Algorithm.auto and self.upsample is Upsample.builtin:
            raise UserError(
                f"model.algorithm={self.algorithm} has no effect with model.upsample=builtin; leave one of them out"
            )


@dataclass
class LossConfig:
    """The loss of both networks, and random changes to the images that the discriminator is shown."""

    name: LossName = LossName.nonsaturating
    label_smoothing: float = 0.0  # real images have the target 1 minus this; 0 to 0.5, nonsaturating only
    r1: float = 0.5  # weight of half the squared gradient norm at real images, as they are shown; at least 0
    r2: float = 0.0  # the same at generated images; at least 0
    gradient_penalty: float = 0.0  # weight of (gradient norm - 1)^2, for wasserstein; at least 0
    penalty_every: int = 4  # steps between penalties, at least 1; also multiplies the penalties' weights
    instance_noise: float = 0.0  # standard deviation of noise on images shown; falls linearly to 0 over the run
    augment: list[Change] = field(default_factory=list)  # random changes to all images shown
    # Weight, at least 0, of the loss of an auxiliary classifier. This second head of the discriminator learns the
    # classes of real images, and the generator makes images whose class it recognises. Needs classes.
    auxiliary_classifier: float = 0.0

    def __post_init__(self) -> None:
        self.name = _choice(LossName, "loss.name", self.name)
        self.augment = [_choice(Change, "loss.augment", change) for change in self.augment]
        _in_range("loss.label_smoothing", self.label_smoothing, 0, 0.5)
        _in_range("loss.penalty_every", self.penalty_every, 1)
        for setting in ("r1", "r2", "gradient_penalty", "instance_noise", "auxiliary_classifier"):
            _in_range(f"loss.{setting}", getattr(self, setting), 0)
        if self.label_smoothing and self.name is not LossName.nonsaturating:
            raise UserError(
                f"loss.label_smoothing={self.label_smoothing} has no effect with loss.name={self.name}; "
                "leave it out or set loss=nonsaturating"
            )

    @property
    def is_penalised(self) -> bool:
        """Whether there is a penalty on the discriminator's gradients."""
        return max(self.r1, self.r2, self.gradient_penalty) > 0


@dataclass
class OptimConfig:
    """The two Adam optimisers, and the average of the generator's weights."""

    generator_lr: float = 1e-3  # learning rate, 1e-9 to 1
    discriminator_lr: float = 1e-3  # the same
    betas: list[float] = field(default_factory=lambda: [0.0, 0.99])  # of both, each from 0 to below 1
    decay_from: float = 0.5  # after this share of the steps, both rates fall linearly to 0; 0 to 1, 1: never
    ema_decay: float = 0.999  # share kept per step, never more than 1 - 9 / (10 + step); 0 to 0.999999, 0: no average

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
    """All settings of a run. Here, each ``*_every`` is a number of steps, and 0 turns it off."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    name: str | None = None  # of the run directory in outputs/; default: composed from the overrides
    sweep: str = "unnamed"  # name of the directory in outputs/sweeps/ that the runs of -m share
    seed: int = 0  # of all random numbers in training; 0 to 2^63 - 1
    device: Device = Device.auto
    precision: Precision = Precision.float32  # in which the networks compute while training
    cuda_graphs: bool = True  # on a GPU, record each kind of step once and replay it
    compile: bool = False  # compile the networks with torch.compile; slower on a CPU
    steps: int = 3000  # 1 to 99,999,999; each updates the discriminator once and the generator once
    batch_size: int = 32  # images per step, over all processes; at least 2
    log_every: int = 50  # losses and other scalars
    sample_every: int = 200  # a grid of generated images
    checkpoint_every: int = 500  # the end of a run always saves one
    evaluate_every: int = 1000  # measures of generated images
    evaluate_samples: int = 2500  # images per evaluation, at least 10; capped at half the number of real ones
    checkpoint_keep: int = 3  # number of newest checkpoints to keep, at least 2
    resume: str = "auto"  # auto: continue the run in the directory; never: refuse to; or a checkpoint to start from

    def __post_init__(self) -> None:
        if self.resume not in ("auto", "never"):
            self.resume = os.path.normpath(self.resume)  # so that ./outputs equals outputs
        self.device = _choice(Device, "device", self.device)
        self.precision = _choice(Precision, "precision", self.precision)
        _in_range("seed", self.seed, 0, 2**63 - 1)  # PyTorch accepts these
        for setting in ("log_every", "sample_every", "checkpoint_every", "evaluate_every"):
            _in_range(setting, getattr(self, setting), 0)
        _in_range("steps", self.steps, 1, 99_999_999)  # the digits in a checkpoint's name
        _in_range("batch_size", self.batch_size, 2)  # BatchNorm needs two images
        if self.evaluate_every:
            _in_range("evaluate_samples", self.evaluate_samples, 10)  # the least for distances between features
        _in_range("checkpoint_keep", self.checkpoint_keep, 2)  # the newest may turn out to be damaged
        if self.loss.auxiliary_classifier and not self.model.conditional:
            raise UserError(
                f"loss.auxiliary_classifier={self.loss.auxiliary_classifier:g} needs classes, which "
                "model.conditional=false leaves out; leave out one of them"
            )

    def to_plain(self) -> dict[str, Any]:
        """The settings as dicts, lists and primitives, for YAML and checkpoints."""
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
            unknown = ", ".join(sorted(flatten(plain).keys() - flatten(cls().to_plain()).keys()))
            raise UserError(
                f"the stored settings are of another version of dcgan ({unknown or error}); use the one that wrote them"
            ) from error


def settings_of(schema: Any, prefix: str = "") -> dict[str, Any]:
    """The types of a dataclass's settings by their full names, such as ``data.image_size``."""
    types: dict[str, Any] = {}
    for setting in dataclasses.fields(schema):
        name = prefix + setting.name
        types |= (
            settings_of(setting.type, f"{name}.") if dataclasses.is_dataclass(setting.type) else {name: setting.type}
        )
    return types


def flatten(settings: dict[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings: ``{"model": {"width": 32}}`` becomes ``{"model.width": 32}``."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def is_incidental(setting: str, value: Any) -> bool:
    """Whether runs that differ only in this compute the same: `INCIDENTAL`, but not a checkpoint to start from."""
    return setting in INCIDENTAL and (setting != "resume" or value in ("auto", "never"))


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """List the settings, except `INCIDENTAL`, that differ between two plain configs, as ``"steps=2000, now 4000"``.

    A setting that is missing from one config counts as its default.
    """
    default = flatten(Config().to_plain())
    before, now = default | flatten(old), default | flatten(new)
    return [
        f"{key}={before.get(key)}, now {now.get(key)}"
        for key in sorted((before.keys() | now.keys()) - INCIDENTAL)
        if before.get(key) != now.get(key)
    ]


def _build(schema: type[Schema], plain: dict[str, Any]) -> Schema:
    """Build a dataclass, whose fields may be dataclasses, from a dict, whose values may be dicts."""
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
    if not least <= value <= most:  # also rejects nan
        bounds = f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:.8g}"
        raise UserError(f"{setting}={value} must be {bounds}")
