"""The command line: reads the settings with Hydra, and ends with an exit code."""

import argparse
import functools
import io
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dcgan.choices import DataName
from dcgan.config import CONFIG_DIR, Config, flatten, is_incidental, settings_of
from dcgan.errors import UserError, is_out_of_memory
from dcgan.sentences import sentence, unknown

Options = TypeVar("Options")

MAX_NAME_LENGTH = 200  # bytes of a directory name composed of settings; most systems allow 255


def register() -> None:
    """Register with Hydra and OmegaConf the names that `configs/train.yaml` refers to."""
    ConfigStore.instance().store("schema", node=Config)
    OmegaConf.register_new_resolver("run_name", run_name, replace=True)


@functools.cache  # patches only once
def mend_argparse() -> None:
    """Let Hydra 1.3 start on Python 3.14: argparse searches each help for ``%``, and one of Hydra's is not a string."""
    add_argument = argparse.ArgumentParser.add_argument

    def with_text(self: argparse.ArgumentParser, *names: str, **options: Any) -> argparse.Action:
        if options.get("help") is not None:
            options["help"] = str(options["help"])
        return add_argument(self, *names, **options)

    argparse.ArgumentParser.add_argument = with_text  # type: ignore[assignment]


def run_name(name: str | None, data_name: str, overrides: Iterable[str]) -> str:
    """The name of a run's directory: ``name`` if given, else composed of the data set and the overrides.

    The same command thus finds its run again, and another command does not. `model.upsample=builtin
    seed=1` gives ``mnist5k-seed_1-upsample_builtin``.
    """
    if name is not None:
        return name
    parts = set()
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        value = value.strip("'\"")  # `quoted` has put them there
        if key == "resume" and not is_incidental(key, value):
            value = os.path.normpath(value)  # as Config does
        if key == "data.root" or not (is_incidental(key, value) or key == "data"):
            if key == "data.root":  # only its last part, because paths are long
                path = Path(value)
                value = path.stem if path.suffix.lower() == ".zip" else path.name
            parts.add(re.sub(r"(?:[^\w.]|_)+", "_", f"{key.split('.')[-1]}_{value}").strip("_"))
    whole = "-".join([data_name, *sorted(parts)])
    encoded = os.fsencode(whole)
    if len(encoded) <= MAX_NAME_LENGTH:
        return whole
    return f"{encoded[: MAX_NAME_LENGTH - 9].decode(errors='ignore')}-{zlib.crc32(encoded):08x}"


def to_config(composed: DictConfig, overrides: Iterable[str]) -> Config:
    """Check the settings and return them as a `Config`.

    Args:
        composed: the settings that Hydra composed from the overrides.
        overrides: the settings on the command line.

    Raises:
        UserError: for an impossible value, a name unfit for a directory, an unknown setting added with ``+``, a setting
            removed with ``~``, a ``data.root`` that is not used, or ``GROUP.name=``, which lacks what ``GROUP=`` sets,
            too: sizes and channels, penalties and normalisation.
    """
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        group, _, rest = key.partition(".")
        if override.startswith("~") and key in settings_of(Config):
            raise UserError(f"~{key} cannot be removed; leave it out for its default")
        if rest == "name":
            known = ", ".join(sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml")))
            raise UserError(
                f"{key}={value} would leave out the settings that belong to it; set {group}= to one of {known}"
            )
    settings = OmegaConf.to_container(composed)
    assert isinstance(settings, dict)
    for key in flatten(settings).keys() - settings_of(Config).keys():
        raise UserError(unknown(key, Config))
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    for setting, name in (("name", config.name), ("sweep", config.sweep)):
        if name is not None and not re.fullmatch(r"\w[\w.=,+-]*", name):
            raise UserError(f"{setting}={name} must be a directory name of letters, digits and -_.")
    if config.data.name is DataName.mnist5k and config.data.root is not None:
        raise UserError(
            f"data.root={config.data.root} has no effect with data=mnist5k, the default; set data=folder, or another set"
        )
    return config


def check_sweeps() -> None:
    """Let Hydra check the settings of all runs of a sweep before the first run, when it composes them anyway."""

    def validate(sweeper: Any, batch: Sequence[Sequence[str]]) -> None:
        names: set[str] = set()
        try:
            for overrides in batch:
                composed = sweeper.hydra_context.config_loader.load_sweep_config(sweeper.config, list(overrides))
                with open_dict(composed):
                    hydra = composed.pop("hydra")
                given = hydra.overrides.task
                _refuse_sweep_in_list(given, hydra.sweeper.params or {})
                names.add(_name_in_sweep(to_config(composed, given), given, names))
        except Exception:  # whatever it is, it goes on; only what Hydra has written is taken back
            directory = Path(sweeper.config.hydra.sweep.dir)
            with suppress(OSError):  # torchrun's other processes do the same
                if not any(path.is_dir() for path in directory.iterdir()):  # no runs from an earlier start
                    (directory / "multirun.yaml").unlink()
            remove_if_empty(directory)
            raise

    Sweeper.validate_batch_is_legal = validate  # type: ignore[assignment, method-assign]


def _refuse_sweep_in_list(overrides: Iterable[str], params: Iterable[str]) -> None:
    """Raise a `UserError` if a run's experiment would sweep over settings, but is one of several, so that it does not."""
    given = dict(override.split("=", 1) for override in overrides if "=" in override)
    if left := [key for key in map(str, params) if key not in given]:
        raise UserError(
            f"experiment={given.get('experiment')} is a sweep of its own, over {' and '.join(left)}, which it is not in a "
            "list of experiments; ask one at a time"
        )


def _name_in_sweep(config: Config, overrides: Iterable[str], others: set[str]) -> str:
    """Return the name of a run of a sweep; raise a `UserError` if the run cannot be one of it."""
    if config.name is not None:
        raise UserError(f"name={config.name} is for one run; set sweep= in its place, or leave out -m")
    root = config.data.root
    if config.data.name is DataName.folder and root is not None and not Path(root).exists():
        raise UserError(f"data.root={root} does not exist")
    name = run_name(None, config.data.name, overrides)
    if name in others:
        raise UserError(
            f"two runs of this sweep, named {name}, have all settings in common that change what is computed; "
            "sweep over those, or start single runs with a name= each"
        )
    return name


def remove_if_empty(directory: Path) -> None:
    """Remove a directory that holds nothing, and then those above it that hold nothing else."""
    with suppress(OSError):
        os.removedirs(directory)


def compose(arguments: list[str], usage: str | None) -> Config:
    """Parse the arguments of a script that takes the settings of ``dcgan.train``.

    ``--help`` prints ``usage`` and exits.
    """
    help_if_asked(arguments, usage)
    refuse_misunderstandings(arguments)
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIG_DIR)):
        return to_config(hydra_compose("train", overrides=quoted(arguments)), arguments)


def refuse_misunderstandings(arguments: list[str]) -> None:
    """Raise a `UserError` for arguments of ``dcgan.train`` that Hydra takes otherwise than they are meant, or breaks on."""
    shown = next((word for word in arguments if re.match(r"(--cfg|--info|-i|-c(job|hydra|all)?)(=|$)", word)), None)
    if shown is not None and {"-m", "--multirun"} & {*arguments}:
        raise UserError(f"{shown} is about one run; leave out -m")
    settings = [argument for argument in arguments if "=" in argument]
    for argument in settings:
        key = argument.partition("=")[0]
        if not key:
            raise UserError(f"{argument!r} is not of the form setting=value, such as steps=100")
        own = key.removeprefix("--")
        if own != key and own and (own in settings_of(Config) or (CONFIG_DIR / own).is_dir()):
            raise UserError(f"{argument} is a setting, not an option; write {argument[2:]}")
    _refuse_twice([argument.partition("=")[0].lstrip("+~") for argument in settings])


def _refuse_twice(keys: list[str]) -> None:
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise UserError(f"{twice}= is given more than once")


def parse(options: type[Options], arguments: list[str], usage: str | None) -> Options:
    """Parse the ``key=value`` arguments of a script into an instance of the dataclass ``options``.

    ``--help`` prints ``usage`` and exits.
    """
    help_if_asked(arguments, usage)
    pairs = [argument.partition("=") for argument in arguments]
    if wrong := next((key for key, equals, _ in pairs if not equals), None):
        raise UserError(f"{wrong!r} is not of the form key=value; --help lists the keys")
    _refuse_twice([key for key, *_ in pairs])
    given = {key: _from_home(value) for key, _, value in pairs}
    try:
        # OmegaConf converts each string to the type of its field.
        parsed = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(options), given))
    except OmegaConfBaseException as error:
        raise UserError(sentence(error, options)) from error
    assert isinstance(parsed, options)
    return parsed


def help_if_asked(arguments: list[str], usage: str | None) -> None:
    """Print ``usage`` and exit if ``-h`` or ``--help`` is among the arguments."""
    if {"-h", "--help"} & {*arguments}:
        print((usage or "").strip())
        sys.exit(0)


def quoted(arguments: Iterable[str]) -> list[str]:
    """Quote the strings in Hydra's arguments: a path may hold any character, and ``name=2024_05`` is not a number.

    Strings already in quotes stay as they are. In a sweep, so do values that contain a comma.
    """
    given = list(arguments)
    several = bool({"-m", "--multirun"} & {*given})
    for place, argument in enumerate(given):
        key, _, value = argument.partition("=")
        if _is_text(key, value) and not (several and "," in value):
            # Hydra's own rule: a backslash escapes a quote, and each backslash before a quote is doubled.
            escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + "\\'" * bool(found[2]), _from_home(value))
            given[place] = f"{key}='{escaped}'"
    return given


def of_run(run: Path, name: str) -> Path:
    """The path of a script's own file in a run's directory. If ``run`` is a checkpoint, its name becomes the prefix."""
    if run.is_dir():
        return run / name
    return (run.parent.parent if run.parent.name == "checkpoints" else run.parent) / f"{run.stem}-{name}"


def output(named: str | None, own: Path, overwrite: bool, *, directory: bool = False) -> Path:
    """The path that a script writes to: ``named`` by ``out=``, or else its ``own``, which it may replace.

    Raises:
        UserError: if the path exists and must not be overwritten, is of the wrong kind, or cannot be written.
    """
    if named is None:
        if own.parent.exists() and not os.access(own.parent, os.W_OK):
            raise UserError(f"{own.parent} may not be written to; set out= to another place")
        return own
    path = Path(named)
    if path.exists() and not overwrite:
        raise UserError(f"out={named} exists; set another out=, or overwrite=true")
    if path.exists() and path.is_dir() != directory:
        raise UserError(f"out={named} is {'no' if directory else 'a'} directory; set another out=")
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir():
        raise UserError(f"out={named} cannot be made: {parent} is no directory")
    place = path if path.exists() and directory else parent
    if not os.access(place, os.W_OK):
        raise UserError(f"out={named} cannot be made: {place} may not be written to; set another out=")
    return path


def exit_on_error(command: Callable[[], object]) -> None:
    """Run a command. An error that the user can mend ends it with one sentence and exit code 1, Ctrl-C with 130."""
    # Makes the last bits the same from run to run, at no measured cost. Intel's MKL reads it when torch first computes.
    os.environ.setdefault("MKL_CBWR", "AUTO")
    if sys.stderr is None:  # closed, as by 2>&-
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - until the process ends
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the name of a directory may not be valid Unicode
    full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise its errors instead of printing them
    try:
        command()
    except BrokenPipeError:  # the reader of the output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except UnicodeDecodeError as error:  # most likely raised while YAML is read; it does not say where
        if full_error:
            raise
        fail(UserError(f"a text file, such as one in configs/, is not in UTF-8 ({error}); save it so"))
    except (UserError, HydraException, OmegaConfBaseException, YAMLError, OSError) as error:
        if full_error:
            raise
        fail(error)
    except (MemoryError, RuntimeError) as error:
        if full_error or not is_out_of_memory(error):
            raise
        fail(UserError("there is too little memory for this; ask for fewer or smaller pictures at once"))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def fail(error: Exception) -> NoReturn:
    """Print an error as a sentence and exit with 1."""
    if speaks():
        print(f"error: {sentence(error)}", file=sys.stderr)
    sys.exit(1)


def speaks() -> bool:
    """Whether this process prints; of torchrun's processes only the first does."""
    return os.environ.get("RANK", "0") == "0" or os.environ.get("WORLD_SIZE", "1") == "1"


def _is_text(key: str, value: str) -> bool:
    """Whether Hydra could misread a value: a string without quotes, or a group's choice that looks like a number."""
    if key and (CONFIG_DIR / key).is_dir():
        return re.fullmatch(r"[-+.\d].*|true|false|null|nan|inf", value, re.IGNORECASE) is not None
    is_any_text = settings_of(Config).get(key) in (str, str | None)
    return is_any_text and value not in ("", "null") and value[0] not in "'\""


def _from_home(text: str) -> str:
    """Expand a leading ``~`` to the home directory, which a shell does not do after an equals sign."""
    with suppress(RuntimeError):  # no such user
        return str(Path(text).expanduser()) if text.startswith("~") else text
    return text
