"""The documentation is held to the tree: what it names has to exist."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SKIPPED = {".venv", ".git", "shared"}
FOLDERS = [d for d in ROOT.iterdir() if d.is_dir() and d.name not in SKIPPED]
PAGES = sorted(
    page.relative_to(ROOT)
    for page in (*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in folder.rglob("*.md")))
)
DOCTESTED = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("minirun", "scheduler")
    for file in (ROOT / package).rglob("*.py")
    if ">>> " in file.read_text()
)

#: What is read in an order; a package's own page, and what only starts another, are outside it.
MODULES = [f for f in sorted((ROOT / "minirun").rglob("*.py")) if not f.name.startswith("__")]

LINK = re.compile(r"\[[^\]]*\]\((?!https?:|#|mailto:)([^)#\s]+)")
SYMBOL = re.compile(r"`([\w./-]+\.py):(\w+)`")
MAKE = re.compile(r"\bmake ([a-z-]+)(?=[` \n])")
UNIT = re.compile(r"^```ini\n(\[Unit\]\n.*?)^```", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^```(?:sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?:\$ )?(minirun|minirun-oci|minisched) +([a-z]+)(.*)$", re.MULTILINE)


def _text(page: Path) -> str:
    return (ROOT / page).read_text()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(_text(page))
    assert not [target for target in targets if not (ROOT / page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_symbols_exist(page: Path) -> None:
    """A reference is `path.py:symbol`: it cannot outlive what it points at, as a line would."""
    assert not [
        f"{file}:{name}" for file, name in SYMBOL.findall(_text(page)) if not _has(file, name)
    ]


def _has(file: str, name: str) -> bool:
    path = ROOT / file
    if not path.exists():
        return False
    nodes = list(ast.walk(ast.parse(path.read_text())))
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assigned = {node.id for node in nodes if isinstance(node, ast.Name)}
    return name in defined | assigned


@pytest.mark.parametrize("folder", sorted({file.parent for file in MODULES}), ids=lambda f: f.name)
def test_modules_say_what_to_read_next(folder: Path) -> None:
    """A reader is led from file to file; a package's own page lists what is in it."""
    lost = []
    for file in (file for file in MODULES if file.parent == folder):
        page = ast.get_docstring(ast.parse(file.read_text())) or ""
        following = page.partition("Next:")[2]
        named = re.findall(r"``([\w./]+\.py)``", following)
        if not following or not all((folder / name).exists() for name in named):
            lost.append(f"{file.relative_to(ROOT)}: {following.strip() or 'no Next'}")
    assert not lost


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", _text(Path("Makefile")), re.MULTILINE))
    code = "\n".join(re.findall(r"`([^`\n]+)`", _text(page)) + FENCE.findall(_text(page))) + "\n"
    assert not set(MAKE.findall(code)) - targets


def _shown_commands() -> list[tuple[str, str, tuple[str, ...]]]:
    """Return every (command, subcommand, options) that a shell block of a page shows."""
    shown = {
        (tool, verb, tuple(re.findall(r"(?<=\s)--?[a-z][a-z-]*", rest)))
        for page in PAGES
        for block in FENCE.findall(_text(page))
        for tool, verb, rest in COMMAND.findall(block)
    }
    return sorted(shown)


@pytest.mark.parametrize(("tool", "verb"), sorted({(t, v) for t, v, _ in _shown_commands()}))
def test_commands_shown_exist(tool: str, verb: str) -> None:
    """Every subcommand in a shell block answers --help, which names the options shown with it."""
    shown = _help(tool, verb)
    if "COMMAND [ARGS]" in shown:  # a group: the second word is what has the options
        words = {t[0] for t in _words_after(tool, verb) if t}
        shown += "".join(_help(tool, verb, word) for word in sorted(words))
    options = {
        option
        for t, v, options in _shown_commands()
        if (t, v) == (tool, verb)
        for option in options
    }
    assert not {option for option in options if option not in shown}


def _help(tool: str, *words: str) -> str:
    module, _, function = str(_scripts()[tool]).partition(":")
    code = f"import sys; from {module} import {function}; sys.exit({function}())"
    argv = [sys.executable, "-c", code, *words, "--help"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _words_after(tool: str, verb: str) -> list[list[str]]:
    """Return the words that pages put behind a command."""
    blocks = [block for page in PAGES for block in FENCE.findall(_text(page))]
    found = [match for block in blocks for match in COMMAND.findall(block)]
    return [rest.split() for t, v, rest in found if (t, v) == (tool, verb)]


def _scripts() -> dict[str, str]:
    scripts: dict[str, str] = tomllib.loads(_text(Path("pyproject.toml")))["project"]["scripts"]
    return scripts


@pytest.mark.parametrize("script", sorted(_scripts()))
def test_console_scripts_point_at_functions(script: str) -> None:
    module, _, function = _scripts()[script].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_constraints_pin_every_dependency_and_name_no_address() -> None:
    lines = _text(Path("constraints.txt")).splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin) for pin in pins)
    pinned = {_normal(pin) for pin in pins}
    project = tomllib.loads(_text(Path("pyproject.toml")))["project"]
    needs = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    assert {_normal(need) for need in needs} - {"minirun"} <= pinned


def test_sample_images_pin_what_is_tested() -> None:
    """Their servers are also tested in this environment, which has to be the same."""
    pins = set(_text(Path("constraints.txt")).lower().splitlines())
    for requirements in (ROOT / "images").glob("*/requirements.txt"):
        lines = requirements.read_text().lower().splitlines()
        assert {line for line in lines if "==" in line} <= pins, requirements


def _normal(requirement: str) -> str:
    """Return the name alone, as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[=<>\[~ ]", requirement)[0]).lower()


@pytest.mark.parametrize("module", DOCTESTED)
def test_examples_in_docstrings_are_true(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_every_decision_is_dated_and_names_what_was_rejected() -> None:
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert decisions
    for decision in decisions:
        text = decision.read_text()
        assert re.search(r"^Date: \d{4}-\d{2}-\d{2}$", text, re.MULTILINE), decision.name
        assert "Rejected:" in text, decision.name


@pytest.mark.requires("systemd-analyze")
@pytest.mark.parametrize("wrong", [False, True])
def test_systemd_understands_the_unit(tmp_path: Path, *, wrong: bool) -> None:
    (text,) = UNIT.findall(_text(Path("docs/scheduler.md")))
    text = re.sub(r"(?<=^ExecStart=)\S+", sys.executable, text, flags=re.MULTILINE)
    file = tmp_path / "minisched.service"
    file.write_text(text.replace("Restart=on-failure", "Restart=on-failures") if wrong else text)
    command = ["systemd-analyze", "verify", "--man=no", "--", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (str(file) in done.stderr) == wrong, done.stderr
