"""What the pages say: their links lead somewhere, their commands have settings that exist, their examples run."""

import ast
import re
import runpy
import shlex
from dataclasses import fields

import pytest
from runs import ROOT

from dcgan import cli

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"(?:python|torchrun --nproc-per-node=\d) (-m dcgan\.train|scripts/\w+\.py)([^#&]*)")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name(page):
    return page.relative_to(ROOT).as_posix()


def anchors(page):
    """Return the names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?://)([^)]*)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def commands(page):
    """Yield the commands of a page as lists of words, where a sweep counts as one command for each of its values."""
    text = page.read_text()
    lines = [line for language, block in FENCED.findall(text) if language == "sh" for line in block.splitlines()]
    inline = re.findall(r"`([^`]+)`", FENCED.sub("", text))
    for program, rest in (found for code in (*lines, *inline) for found in COMMAND.findall(code)):
        words = shlex.split(rest)
        if "--config-dir" in words:  # a directory that the reader is to make
            continue
        if "-m" not in words:
            yield program, words
            continue
        keys, values = zip(*(word.split("=", 1) for word in words if "=" in word), strict=True)
        choices = [re.split(r",(?![^\[]*\])", value) for value in values]  # at commas, but not within brackets
        for place in range(max(map(len, choices))):
            yield program, [f"{key}={choice[place % len(choice)]}" for key, choice in zip(keys, choices, strict=True)]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_have_settings_that_exist(page):
    for program, words in commands(page):
        settings = [word for word in words if "=" in word]
        if program in ("-m dcgan.train", "scripts/prepare.py"):
            cli.compose(settings, None)
        elif words:  # else the script is only mentioned
            what = "" if "=" in words[0] else words[0].capitalize()
            options = runpy.run_path(str(ROOT / program))[f"{what}Options"]
            if what == "Step":  # takes the settings of a run, too
                own = [word for word in settings if word.partition("=")[0] in {field.name for field in fields(options)}]
                cli.compose([word for word in settings if word not in own], None)
                settings = own
            cli.parse(options, settings, None)


def test_commands_are_found():
    found = [command for page in PAGES for command in commands(page)]
    assert len(found) > 80  # there were 100 when this was written
    assert ("-m dcgan.train", ["loss=hinge", "loss.r1=0", "model.spectral_norm=true"]) in [
        (program, words[:3]) for program, words in found
    ]


def blocks(page):
    """Return the Python examples of a page."""
    return [block for language, block in FENCED.findall(page.read_text()) if language == "python"]


def results(code, namespace):
    """Run an example, and yield the value of each expression beside the literal in the comment after it."""
    for node in ast.parse(code).body:
        if not isinstance(node, ast.Expr):
            exec(compile(ast.Module([node], []), "<example>", "exec"), namespace)
            continue
        value = eval(compile(ast.Expression(node.value), "<example>", "eval"), namespace)
        comment = re.search(r"  # ([^:]*)", code.splitlines()[node.end_lineno - 1])
        try:
            said = ast.literal_eval(comment[1]) if comment else None
        except (SyntaxError, ValueError):  # a remark, not a result
            continue
        if said is not None:
            yield value, said


@pytest.mark.parametrize(
    ("page", "count"), [("README.md", 1), ("docs/transposed-convolution.md", 18), ("docs/comparisons.md", 1)]
)
def test_examples_have_the_results_beside_them(page, count):
    namespace = {}
    pairs = [pair for code in blocks(ROOT / page) for pair in results(code, namespace)]
    assert len(pairs) == count
    assert all(value == said for value, said in pairs), pairs


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_examples_are_python(page):
    for code in blocks(page):
        compile(code, name(page), "exec")
