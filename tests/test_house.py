"""The project's structure: which module may import which, what the scripts' usage says, and what a wheel contains."""

import ast
import os
import re
import runpy
import subprocess
import sys
import zipfile
from dataclasses import fields

import pytest
from runs import ROOT, assert_refused

from dcgan.config import Config, settings_of

SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("*.py"))
LAYERS = [
    {"atomic", "errors", "conv_transpose", "choices", "config", "randomness", "device", "images"}
    | {"checkpoint", "parallel", "plots", "progress", "provenance", "tracking", "watch"},
    {"augment", "explain", "losses", "networks", "data"},
    {"benchmark", "cuda_graphs", "engine", "evaluation", "exploring", "exporting", "reporting", "sampling"},
    {"cli", "run_directory", "sentences", "train", "training"},
]
ROOM = {module: level for level, modules in enumerate(LAYERS) for module in modules}


def imported(path):
    """Yield the full names of the modules that a file imports, at the top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            if node.module == "dcgan":
                yield from (f"dcgan.{alias.name}" for alias in node.names)


def test_imports_go_one_way():
    for path in (ROOT / "dcgan").rglob("*.py"):
        room = path.relative_to(ROOT / "dcgan").with_suffix("").parts[0]
        for name in imported(path):
            package, _, rest = name.partition(".")
            other = rest.split(".")[0]
            if package == "dcgan" and other and room != "__init__":
                assert ROOM[other] <= ROOM[room], f"{path} imports {name}"
                assert room != "conv_transpose" or other == room, f"{path} imports {name}"
            if package == "hydra":
                assert room in ("cli", "sentences", "train"), f"{path} imports {name}"


def test_no_checkpoint_is_unpickled_freely_and_no_configuration_is_executed():
    for path in (*(ROOT / "dcgan").rglob("*.py"), *(ROOT / "scripts").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                call = ast.unparse(node)
                name = ast.unparse(node.func)
                assert name not in ("pickle.load", "pickle.loads", "eval", "exec"), f"{path}: {call}"
                assert "instantiate" not in name, f"{path}: {call}"
                assert name != "torch.load" or "weights_only=True" in call, f"{path}: {call}"


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_usage_of_a_script_names_the_settings_that_it_has(here, script):
    usage = here(script, "--help").stdout
    module = runpy.run_path(str(ROOT / "scripts" / script))
    calls = re.findall(rf"^ +python scripts/{script} (?:(\w+) )?(.*(?:\n {{9,}}.*)*)", usage, re.MULTILINE)
    assert calls
    for what, arguments in calls:
        options = module.get(f"{what.capitalize()}Options")
        own = {setting.name for setting in fields(options)} if options else set()
        foreign = set(re.findall(r"([\w.]+)=", arguments)) - own
        if "any setting of dcgan.train" in arguments:
            foreign -= {*settings_of(Config), "data"}
        assert not foreign
        assert all(re.search(rf"^{setting}\b|\b{setting}=", usage, re.MULTILINE) for setting in own)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_looks_at_its_arguments_before_it_waits_for_torch(command, tmp_path, script):
    (tmp_path / "torch.py").write_text("raise AssertionError('torch was imported')")
    arguments = ["layer"] * (script == "benchmark.py") + ["nonsense=1"]
    done = command(script, *arguments, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert_refused(done, "there is no setting nonsense; ")


def test_a_wheel_carries_the_configuration_and_runs_from_any_directory(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "-w", str(tmp_path), str(ROOT)], check=True, timeout=240)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    configs = {f"dcgan/configs/{path.relative_to(ROOT / 'configs')}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert configs <= set(names)
    done = subprocess.run(
        [sys.executable, "-m", "dcgan.train", "experiment=smoke"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "outputs" / "mnist5k-experiment_smoke" / "checkpoints" / "step-00000012.pt").exists()
