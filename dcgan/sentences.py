"""Errors of settings and files as single sentences, which name the setting, the value and the fix."""

import difflib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import MarkedYAMLError

from dcgan.config import CONFIG_DIR, Config, settings_of
from dcgan.errors import UserError

SYNONYMS = {  # what other programs call our settings
    "amp": ["precision"],
    "dataset": ["data"],
    "epochs": ["steps"],
    "fp16": ["precision"],
    "gpu": ["device"],
    "iterations": ["steps"],
    "learning_rate": ["optim.generator_lr", "optim.discriminator_lr"],
    "optimizer": ["optim.generator_lr", "optim.discriminator_lr", "optim.betas"],
    "path": ["data.root"],
    "z_dim": ["model.latent_dim"],
}
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
    r".*is not a subclass of (\w+)": "{key} is a group of settings; set one of {settings}{file}",
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
    # Hydra names the file that it could not compose.
    file, text = re.fullmatch(r"(?:In '(.*?)': )?(.*)", str(error), re.DOTALL).groups()  # type: ignore[union-attr]
    if cause is not None:
        text = _of_omegaconf(cause, text, schema, in_file=file is not None)
    return (f"{file}.yaml: " if file else "") + " ".join(text.split())


def _of_omegaconf(cause: OmegaConfBaseException, whole: str, schema: Any, *, in_file: bool) -> str:
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
            key = key or _group_of(found[1], schema)
            own = ", ".join(name for name in settings_of(schema) if name.startswith(f"{key}."))
            several = re.fullmatch(r"\[?(\d+(?: *[-,] *\d+)+)\]?", found[1])
            values = ",".join(re.findall(r"\d+", found[1]))
            has_files = in_file and key != "" and (CONFIG_DIR / key).is_dir()
            return form.format(
                key=key,
                found=found[1],
                choices=found[found.lastindex or 1],
                settings=own,
                several=f"; for a run with each of several, write {key}={values} and -m" if several else "",
                file=f"; to choose a file of the group, write 'defaults: [override /{key}: NAME]'" * has_files,
            )
    return ": ".join(filter(None, [key, said]))


def _group_of(name: str, schema: Any, prefix: str = "") -> str:
    """The full name of the group of settings that a dataclass of this name describes; empty if there is none."""
    for setting in fields(schema):
        if is_dataclass(setting.type):
            group = prefix + setting.name
            if getattr(setting.type, "__name__", "") == name:
                return group
            if inner := _group_of(name, setting.type, f"{group}."):
                return inner
    return ""


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
    settings = settings_of(schema)
    if key in settings:  # a file nests what a command line writes with a point
        group, _, last = key.rpartition(".")
        return f"{key} is written on two lines in a file: '{group}:', and under it, indented, '{last}: ...'"
    near = [SWEPT] if key.startswith("hydra.") else _near(key.lower(), settings, schema)
    hint = f"did you mean {' or '.join(near[:3])}?" if near else "--help lists the settings"
    return f"there is no setting {key}; {hint}"


def _near(key: str, settings: Iterable[str], schema: Any) -> list[str]:
    """The settings that could be meant by a name, the likeliest first."""
    names, synonyms = list(settings), {}
    if schema is Config:
        groups = [path.name for path in CONFIG_DIR.iterdir() if path.is_dir()]
        names = [name for name in names if name.removesuffix(".name") not in groups] + groups
        synonyms = SYNONYMS
    group, _, last = key.rpartition(".")

    def alike(cutoff: float) -> list[str]:
        return difflib.get_close_matches(key, names, n=1, cutoff=cutoff)

    ways: list[Callable[[], list[str]]] = [
        lambda: synonyms.get(last, []),
        lambda: sorted((name for name in names if last in name.split(".")), key=lambda name: not name.endswith(last)),
        lambda: [name for name in names if group and name.startswith(f"{group}.") and last in name],
        lambda: alike(0.7),
        lambda: [name for name in names if last in name],
        lambda: alike(0.6),
    ]
    return next(filter(None, (way() for way in ways)), [])
