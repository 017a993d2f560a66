"""Images from a checkpoint. Each image is a function of (checkpoint, seed, class) alone.

Legend: ``N`` images, ``Z`` latent size, ``C`` channels, ``H W`` size.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from dcgan import checkpoint, data
from dcgan.choices import Statistics, Weights
from dcgan.config import Config
from dcgan.errors import UserError, is_out_of_memory
from dcgan.images import to_uint8
from dcgan.networks import Generator, to_device
from dcgan.randomness import random_generator

GRID_ROWS = 8
UNLABELLED_COLUMNS = 10
BATCH_SIZE = 250  # images that `generate_many` computes at once
STANDING_BATCHES, STANDING_BATCH = 100, 64
MAX_NUMBERS = 1_000_000  # that one setting, such as seeds=0-7, may list
MAX_COLUMNS = 20  # a grid shows at most this many classes, the first ones


@dataclass
class TrainedGenerator:
    """A generator taken from a run, in evaluation mode."""

    network: Generator
    num_classes: int  # 0 if unconditional
    step: int
    config: Config  # of the run
    data_fingerprint: str  # of the pictures it was trained on
    classes: Sequence[str] = ()  # their names, if the checkpoint has them

    def sample(self, seeds: Sequence[int], classes: Sequence[int] | None) -> tuple[Tensor, Tensor]:
        """Images uint8 ``(N, C, H, W)`` and labels int64 ``(N,)``, -1 if unconditional.

        Seed ``s`` gets class ``classes[s % len(classes)]``, so that its image does not depend on which
        other seeds are requested.

        Args:
            seeds: one for each image.
            classes: the classes to cycle through; None for all.

        Raises:
            UserError: for a class that the generator does not know, or without seeds.
        """
        codes, labels = self.codes(seeds, classes)
        return render(self.network, codes), labels

    @torch.no_grad()
    def codes(self, seeds: Sequence[int], classes: Sequence[int] | None) -> tuple[Tensor, Tensor]:
        """The codes from which `sample` renders its images (see `Generator.codes`), and their labels."""
        latents, chosen = latents_of(self.network, seeds), self.known(classes)
        if chosen is None:
            return latents, torch.full((len(latents),), -1)
        labels = torch.tensor([chosen[seed % len(chosen)] for seed in seeds])
        return self.network.codes(latents, labels), labels

    def known(self, classes: Sequence[int] | None) -> Sequence[int] | None:
        """The requested classes, or all if ``classes`` is None; None if unconditional."""
        if not self.num_classes:
            if classes is not None:
                raise UserError(f"classes={_joined(classes)}, but this run is unconditional; leave it out")
            return None
        if classes is not None and not len(classes):
            raise UserError("no classes are asked for; leave them out for all")
        chosen = range(self.num_classes) if classes is None else classes
        unknown = [label for label in chosen if label not in range(self.num_classes)]
        if unknown:
            raise UserError(f"classes={_joined(unknown)} unknown; this run has {self._named}")
        return chosen

    def parse_classes(self, text: str) -> list[int] | None:
        """Parse classes such as ``"0-3,cats"`` into their numbers; ``"all"`` gives None.

        Raises:
            UserError: if the text has another form, or contains a number that is also the name of another class.
        """
        if text == "all":
            return None
        numbers: list[int] = []
        for part in map(str.strip, text.split(",")):
            named = self.classes.index(part) if part in self.classes else None
            if named is not None and part.isdecimal() and named != int(part) < self.num_classes:
                raise UserError(
                    f"classes={part} is the name of class {named}, and the number of {self.classes[int(part)]}; set "
                    f"classes={named}-{named} for the one, {part}-{part} for the other"
                )
            if named is not None:
                numbers.append(named)
            elif re.fullmatch(r"[\d\s-]*", part) or not self.num_classes:
                numbers += parse_numbers("classes", part)
            else:
                raise UserError(f"classes={part} unknown; this run has {self._named}")
        return numbers

    @property
    def _named(self) -> str:
        own = [f"{number} {name}" for number, name in enumerate(self.classes) if name != str(number)]
        shown = ", ".join(own[:MAX_COLUMNS]) + ", ..." * (len(own) > MAX_COLUMNS)
        return shown or f"0 to {self.num_classes - 1}"

    def pictures(self, root: str | None = None) -> data.Data:
        """Load the pictures that the generator was trained on, from ``root`` if they have moved.

        Raises:
            UserError: if the pictures are missing, or are not those of the training.
        """
        settings = replace(self.config.data, root=root or self.config.data.root)
        try:
            found = data.load(settings)
        except UserError as error:
            if root is not None or settings.root is None:
                raise
            raise UserError(f"{error}; or set root= to where the run's pictures are now") from error
        if found.train.fingerprint != self.data_fingerprint:
            raise UserError(
                f"the pictures of data={settings.name}{f' in {settings.root}' if settings.root else ''} are not those "
                "that the run was trained on; set root= to where these are"
            )
        return found


def load_generator(
    run: Path | str,
    weights: Weights | str = Weights.ema,
    statistics: Statistics | str = Statistics.running,
    truncation: float = 1.0,
) -> TrainedGenerator:
    """Load the generator of a run directory's newest checkpoint, or of a checkpoint file.

    Args:
        run: the directory or the file.
        weights: the average over the last steps, or the weights of the last step.
        statistics: of BatchNorm: gathered during training, or standing, see `use_standing_statistics`.
        truncation: the factor of the latents, above 0 and at most 1. The smaller it is, the more images resemble the
            most common ones, and each other (Brock et al. 2019, section 3.1, who redraw large numbers instead).

    Raises:
        UserError: if the run does not exist or has no sound checkpoint, or ``truncation`` is out of range.
        ValueError: for unknown weights or statistics.
    """
    if not 0 < truncation <= 1:
        raise UserError(f"truncation={truncation} must be above 0 and at most 1")
    run = Path(run)
    if not run.exists():
        raise UserError(f"run={run} does not exist; python -m dcgan.train makes runs in outputs/")
    state = checkpoint.newest(run / "checkpoints") if run.is_dir() else checkpoint.load_training(run)
    if state is None:
        raise UserError(
            f"run={run} has no directory checkpoints/ with a checkpoint; python -m dcgan.train makes runs in outputs/"
        )
    config = Config.from_plain(state["config"])
    num_classes = state["num_classes"]
    network = Generator(config.model, config.data.image_size, config.data.channels, num_classes)
    network = to_device(network, torch.device("cpu"))
    try:
        network.load_state_dict(state["generator_ema" if Weights(weights) is Weights.ema else "generator"])
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"run={run} holds a network of another version of dcgan; use the version that wrote it"
        ) from error
    network.truncation = truncation
    if Statistics(statistics) is Statistics.standing:
        # Checkpoints of earlier versions lack the counts.
        use_standing_statistics(network, state.get("class_counts", [1] * num_classes) if num_classes else None)
    return TrainedGenerator(
        network.eval(),
        num_classes,
        step=state["step"],
        config=config,
        data_fingerprint=state["data_fingerprint"],
        classes=state.get("classes", ()),
    )


def latents_of(network: Generator, seeds: Sequence[int]) -> Tensor:
    """Latents ``(N, Z)``, each row a function of its seed alone."""
    if not len(seeds):
        raise UserError("no seeds are asked for; name one for each image")
    return torch.cat([network.draw(1, random_generator(seed, "sample")) for seed in seeds])


def fixed_inputs(network: Generator, num_classes: int) -> tuple[Tensor, Tensor | None, int]:
    """The latents, labels and number of columns of the sample grid that a training records.

    With classes, column ``i`` shows class ``i`` and row ``r`` has the latent of seed ``r``.
    """
    if not num_classes:
        return latents_of(network, range(GRID_ROWS * UNLABELLED_COLUMNS)), None, UNLABELLED_COLUMNS
    columns = min(num_classes, MAX_COLUMNS)
    latents = latents_of(network, range(GRID_ROWS)).repeat_interleave(columns, dim=0)
    return latents, torch.arange(columns).repeat(GRID_ROWS), columns


@torch.no_grad()
def generate(network: Generator, latents: Tensor, labels: Tensor | None) -> Tensor:
    """Images uint8 ``(N, C, H, W)`` on the CPU: one by one with `render`, but on a GPU all at once, to keep it busy."""
    device = next(network.parameters()).device
    codes = network.codes(latents.to(device), None if labels is None else labels.to(device))
    return render(network, codes) if device.type == "cpu" else to_uint8(network.render(codes)).cpu()


@torch.no_grad()
def render(network: Generator, codes: Tensor) -> Tensor:
    """Images uint8 ``(N, C, H, W)`` on the CPU, from `Generator.codes` on the network's device.

    Each image is computed alone: the last bits of a matrix product depend on its number of rows, and an image
    must not depend on its neighbours. For the same reason, the network must be in evaluation mode.
    """
    return torch.cat([to_uint8(network.render(code[None])).cpu() for code in codes])


@torch.no_grad()
def generate_many(network: Generator, count: int, labels: Tensor | None, seed: int = 0) -> Tensor:
    """``count`` images uint8 ``(N, C, H, W)`` on the CPU, for measuring: in batches, which is many times as fast.

    Here, the last bits of an image depend on its neighbours. The network must be in evaluation mode.
    """
    device = next(network.parameters()).device
    latents = network.draw(count, random_generator(seed, "evaluation latents"))
    images = []
    for start in range(0, count, BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        asked = None if labels is None else labels[rows].to(device)
        images.append(to_uint8(network(latents[rows].to(device), asked)).cpu())
    return torch.cat(images)


@torch.no_grad()
def use_standing_statistics(network: Generator, class_counts: Sequence[int] | None) -> None:
    """Replace BatchNorm's running statistics by the mean over many batches of the network with its present weights.

    The running statistics were gathered while the generator was learning, and the averaged generator only copied them
    (standing statistics, Brock et al. 2019). Labels are drawn as often as in training, ``class_counts``, because the
    statistics depend on them; None if unconditional. The network is left in evaluation mode.
    """
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # makes PyTorch take the mean over all batches
    device = next(network.parameters()).device
    network.train()
    shares = None if class_counts is None else torch.tensor(class_counts, dtype=torch.float64)
    for batch in range(STANDING_BATCHES):
        random = random_generator(0, "standing statistics", batch)
        latents = network.draw(STANDING_BATCH, random).to(device)
        labels = (
            None if shares is None else torch.multinomial(shares, STANDING_BATCH, True, generator=random).to(device)
        )
        network(latents, labels)
    network.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def columns_for(labels: Tensor) -> int:
    """The number of columns of a grid: one per class, as the labels cycle through them, else those of a square."""
    kinds = len(set(labels.tolist()))
    return kinds if 1 < kinds <= MAX_COLUMNS else math.ceil(math.sqrt(len(labels)))


def parse_numbers(setting: str, text: str) -> list[int]:
    """Parse ``"0-3,7"`` into ``[0, 1, 2, 3, 7]``.

    Raises:
        UserError: if the text has another form, or its numbers are too large or too many.
    """
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise UserError(f"{setting}={text} must be numbers and ranges, such as {setting}=0-7,12")
        begin, end = int(first), int(last or first)
        if begin > end:
            raise UserError(f"{setting}={text}: {part.strip()} is an empty range")
        if end >= 2**63 or len(numbers) + end - begin >= MAX_NUMBERS:
            raise UserError(f"{setting}={text}: numbers are below 2^63, and at most {MAX_NUMBERS:,} of them")
        numbers += range(begin, end + 1)
    return numbers


def _joined(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))
