"""Errors of settings and files as single sentences, which name the setting, the value and the fix."""

import difflib
import os
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import MarkedYAMLError

from dcgan.config import Config
from dcgan.errors import UserError

# In a checkout, configs/ is beside the package; in a wheel, inside it. The path is absolute because Hydra resolves
# a relative one differently for a module that is run and a module that is imported.
CONFIG_DIR = next(
    path for path in (Path(__file__).parent / "configs", Path(__file__).parents[1] / "configs") if path.is_dir()
)
SWEPT = "hydra.sweeper.params"  # the only setting of Hydra's own that an experiment file needs
# The messages of OmegaConf, and the sentences that replace them.
SENTENCES = {
    r"Value '(.*)' of type '\w+' could not be converted to Integer": "{key}={found} must be a whole number, written like 1000{several}",
    r"Value '(.*)' is not a valid bool": "{key}={found} must be true or false",
    r"Value '(.*)' of type '\w+' could not be converted to Float": "{key}={found} must be a number{several}",
    r"Invalid value '(.*)', expected one of \[(.*)\]": "{key}={found} is unknown; choose one of {choices}",
    r"field '\w+' is not Optional()": "{key}=null is not possible; leave it out for its default",
    r".*is not a ListConfig()": "{key} must be a list in brackets, such as '{key}=[a,b]'",
    r".*does not support deletion()": "~{key} cannot be removed; leave it out for its default",
    r"Merge error: str is not a subclass of (\w+)Config": "a group takes its settings on lines of their own; to choose a file of the group, "
    "write 'defaults: [override /{group}: NAME]'",
    r".*is not a subclass of()": "{key} is a group of settings; set one of {settings}",
    r".*has missing mandatory value()": "{key}= is missing; --help says what it is",
}


def sentence(error: BaseException, schema: Any = Config) -> str:
    """The message of an error on one line; for a mistyped setting, it suggests the nearest one."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, HydraException) and (of_hydra := _of_hydra(error)) is not None:
        return of_hydra
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem_mark.name}, line {error.problem_mark.line + 1}: {error.problem}"
    if isinstance(error, OSError) and error.filename is not None:
        return (
            f"{os.fsdecode(error.filename)} cannot be used ({error.strerror}); mend that and run the same command again"
        )
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OmegaConfBaseException):
        cause = cause.__cause__ or cause.__context__
    text = str(error) if cause is None else _of_omegaconf(cause, str(error), schema)
    file = re.match(r"In '(.*?)': ", str(error))  # Hydra names the file that it could not compose
    return (f"{file[1]}.yaml: " if file else "") + " ".join(text.split())


def _of_omegaconf(cause: OmegaConfBaseException, whole: str, schema: Any) -> str:
    """The message of an error in a setting; ``whole`` is that of the error which it led to."""
    if isinstance(cause, ConfigKeyError | ConfigAttributeError):
        key = str(cause.full_key or cause.key)
        if key == "experiment":
            return "there is no setting experiment; begin the file with the line '# @package _global_'"
        override = re.match(r"Could not override '(.*?)'", whole)  # has all of the name; the cause stops where it fails
        return unknown(override[1] if override else key, schema)
    key, said = cause.full_key or "", str(cause.msg).splitlines()[0]  # the other lines name OmegaConf's own types
    for pattern, form in SENTENCES.items():
        if found := re.match(pattern, said):
            own = ", ".join(name for name in settings_of(schema) if name.startswith(f"{key}."))
            several = re.search(r"\d *[-,] *\d", found[1]) is not None
            return form.format(
                key=key,
                found=found[1],
                choices=found[found.lastindex or 1],
                settings=own,
                group=found[1].lower(),
                several=f"; for a run with each of several, write {key}=0,1 and -m" * several,
            )
    return ": ".join(filter(None, [key, said]))


def _of_hydra(error: HydraException) -> str | None:
    """The message of an error in an override itself; None for any other, whose cause says more."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        missing = Path(str(error.missing_cfg_file))
        group, chosen, known = missing.parent, missing.name, error.options
        own = CONFIG_DIR / missing.parts[0]
        if own.is_dir():  # Hydra leaves out what lies in subdirectories
            group, chosen = Path(own.name), missing.relative_to(own.name).as_posix()
            known = sorted(path.relative_to(own).with_suffix("").as_posix() for path in own.rglob("*.yaml"))
        return f"{group.as_posix()}={chosen} is unknown; choose one of {', '.join(known)}"
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} is not of the form setting=value, such as steps=100 or 'optim.betas=[0,0.9]'"
    several = re.match(r"Ambiguous value for argument '(.*)'", str(error))
    return f"{several[1]} has several values; add -m for a run with each" if several else None


def unknown(key: str, schema: Any) -> str:
    """The message that there is no such setting, with those that could be meant."""
    known, last = settings_of(schema), key.rpartition(".")[2]
    groups = [path.name for path in CONFIG_DIR.iterdir() if path.is_dir()] if schema is Config else []

    def alike(cutoff: float) -> list[str]:
        return difflib.get_close_matches(key, [*known, *groups, SWEPT], n=1, cutoff=cutoff)

    ways: list[Callable[[], list[str]]] = [
        lambda: [name for name in known if name.rpartition(".")[2] == last],  # in another group
        lambda: alike(0.7),
        lambda: [name for name in known if last in name],
        lambda: alike(0.6),
    ]
    near = next(filter(None, (way() for way in ways)), [])
    hint = f"did you mean {' or '.join(near[:3])}?" if near else "--help lists the settings"
    return f"there is no setting {key}; {hint}"


def settings_of(schema: Any, prefix: str = "") -> dict[str, Any]:
    """The types of a dataclass's settings by their full names, such as ``data.image_size``."""
    types: dict[str, Any] = {}
    for setting in fields(schema):
        name = prefix + setting.name
        types |= settings_of(setting.type, f"{name}.") if is_dataclass(setting.type) else {name: setting.type}
    return types
