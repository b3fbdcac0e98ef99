"""The shape of the source, read with ast: what may import what, and how long things may be.

Most of these rules are absences, and an absence cannot be seen in the code that obeys it. Each
one is here because of what breaks without it; ARCHITECTURE.md gives the reasons.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the ground up. A module may import its own layer and the ones before it, never a later one.
LAYERS = (
    {"errors", "flags", "record", "quickjson", "capabilities", "mount_options"},
    {"decode", "syscall", "kernel", "kernel_rare", "sync", "seal"},
    {
        "spec",
        "spec_resources",
        "tmpfs",
        "inroot",
        "procfs",
        "executable",
        "hooks",
        "userns",
        "descriptors",
    },
    {"host", "cgroups", "seccomp", "image", "network", "container"},
    {"steps", "validate"},
    {"plan", "plan_parts", "plan_mounts", "plan_exec", "explain", "features"},
    {"runner"},
    {
        "roots",
        "lock",
        "starting",
        "state",
        "ownership",
        "lifecycle",
        "creation",
        "deletion",
        "execute",
        "rootless",
        "shim",
        "launcher",
        "oci",
    },
    {"engine"},
    {"api"},
    {"cli", "oci_cli", "oci_boot"},
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

# The core reads to the floor: outside these rooms the standard library is all there is.
EDGES = ("minirun.cli", "minirun.image")
# Each exception is one module and one library, imported inside the function that needs it.
EXCEPTIONS = {
    "minirun.seccomp.library": {"pyseccomp"},
    "minirun.seccomp.compile": {"pyseccomp"},
    "minirun.cgroups.systemd": {"jeepney"},
}
# The last answers a question that pyseccomp asks ctypes, and calls nothing through it.
CTYPES = ("minirun.syscall", "minirun.kernel", "minirun.seccomp.library")

# Modules that turn values into values. They can be run anywhere, and explained anywhere.
PURE = (
    "minirun.record",
    "minirun.capabilities",
    "minirun.decode",
    "minirun.mount_options",
    "minirun.spec",
    "minirun.spec_resources",
    "minirun.validate",
    "minirun.plan",
    "minirun.plan_exec",
    "minirun.plan_mounts",
    "minirun.plan_parts",
    "minirun.explain",
    "minirun.cgroups.devices",
    "minirun.cgroups.limits",
    "minirun.cgroups.resources",
    "minirun.cgroups.writes_v1",
    "minirun.cgroups.writes_v2",
    "minirun.seccomp.profile",
    "minirun.image.dockerfile",
    "minirun.image.reference",
    "scheduler.model",
    "scheduler.policy",
    "scheduler.observed",
    "scheduler.entry",
    "scheduler.actions",
    "scheduler.codec",
    "scheduler.units",
    "scheduler.exposures",
    "scheduler.validate",
    "scheduler.cron",
    "scheduler.window",
    "scheduler.apply",
    "scheduler.compose",
    "scheduler.placement",
    "scheduler.preemption",
    "scheduler.restart",
    "scheduler.rollout",
    "scheduler.canary",
    "scheduler.stages",
    "scheduler.autoscale",
    "scheduler.jobs",
    "scheduler.tick",
    "scheduler.slots",
    "scheduler.space",
    "scheduler.effects",
    "scheduler.reconcile",
)
EFFECTS = {"os", "subprocess", "socket", "time", "ctypes", "signal", "shutil", "tempfile"}

# What costs the start path milliseconds that no container gets back.
HEAVY = {"click", "dataclasses", "inspect", "logging", "pathlib", "subprocess", "typing"}

TEACHING_FIELDS = ("id", "why", "call", "man", "check", "without")

# What a person reads in one sitting.
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 45
# One line per step, in kernel order: it is read as a list, and cutting it would hide the order.
FLAT = {"minirun.plan:plan_create", "minirun.plan_exec:plan_exec"}


def _module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _sources(*packages: str) -> dict[str, Path]:
    files = (file for package in packages for file in sorted((ROOT / package).rglob("*.py")))
    return {_module_name(file): file for file in files}


MODULES = _sources("minirun", "scheduler")
TREES = {name: ast.parse(file.read_text()) for name, file in MODULES.items()}


def _imports(module: str) -> Iterator[str]:
    """Yield every module that is named in an import, also inside functions."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from _from_targets(node, package)


def _from_targets(node: ast.ImportFrom, package: str) -> Iterator[str]:
    base = node.module or ""
    if node.level:
        parts = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*parts, base] if base else parts)
    for alias in node.names:
        full = f"{base}.{alias.name}"
        yield full if full in MODULES else base


def _top(module: str) -> str:
    return module.partition(".")[0]


def _room(module: str) -> str:
    """Return the second part of a name: minirun.steps.rootfs is in the room steps."""
    return [*module.split("."), ""][1]


def _offenders(modules: Iterator[str] | list[str], forbidden: set[str]) -> list[str]:
    found = ((module, set(map(_top, _imports(module))) & forbidden) for module in modules)
    return [f"{module} imports {', '.join(sorted(bad))}" for module, bad in found if bad]


def _inside(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(room + ".") for room in rooms)


def test_every_module_has_a_layer() -> None:
    rooms = {_room(module) for module in MODULES if _top(module) == "minirun"} - {"", "__main__"}
    assert not rooms - RANK.keys(), "give it a place in LAYERS"


def test_imports_point_down() -> None:
    upward = [
        f"{module} -> {target}"
        for module in MODULES
        if _room(module) in RANK and _top(module) == "minirun"
        for target in _imports(module)
        if _top(target) == "minirun" and RANK.get(_room(target), 0) > RANK[_room(module)]
    ]
    assert not upward


def test_ctypes_is_where_the_system_calls_are() -> None:
    assert not _offenders([m for m in MODULES if m not in CTYPES], {"ctypes", "_ctypes"})


def test_flask_is_in_the_scheduler_only() -> None:
    runtime = [module for module in MODULES if _top(module) == "minirun"]
    assert not _offenders(runtime, {"flask", "werkzeug", "gunicorn", "pydantic"})


def test_the_runtime_does_not_know_the_scheduler() -> None:
    runtime = [module for module in MODULES if _top(module) == "minirun"]
    assert not _offenders(runtime, {"scheduler"})


def test_the_scheduler_uses_what_minirun_exports() -> None:
    inner = [
        f"{module} -> {target}"
        for module in MODULES
        if _top(module) == "scheduler"
        for target in _imports(module)
        if target.startswith("minirun.")
    ]
    assert not inner, "import it from minirun itself, or export it there"


def test_pure_modules_have_no_effects() -> None:
    pure = [module for module in MODULES if _inside(module, PURE)]
    assert pure
    assert not _offenders(pure, EFFECTS)


def test_the_core_is_standard_library_only() -> None:
    ours = {"minirun", *sys.stdlib_module_names}
    core = [m for m in MODULES if _top(m) == "minirun" and not _inside(m, EDGES)]
    foreign = {m: set(map(_top, _imports(m))) - ours - EXCEPTIONS.get(m, set()) for m in core}
    assert not {module: names for module, names in foreign.items() if names}


def test_importing_minirun_imports_no_third_party() -> None:
    """What if a library moved to the package's front door: every start would pay for it."""
    loaded = _loaded_by("import minirun")
    assert {_top(name) for name in loaded} - sys.stdlib_module_names == {"minirun"}


@pytest.mark.parametrize("front", ["minirun.oci_cli", "minirun.lifecycle", "minirun.plan"])
def test_start_path_imports_nothing_heavy(front: str) -> None:
    if front not in MODULES:
        pytest.fail(f"{front} is gone: name its successor here")
    assert not _loaded_by(f"import {front}") & HEAVY


def test_a_cold_run_imports_nothing_for_the_sake_of_json() -> None:
    """What if a regular expression moved to the top of a module: a start pays 9 ms for it."""
    loaded = _loaded_by("import minirun.cli.running, minirun.cli.client, minirun.network")
    assert not loaded & (HEAVY | {"json", "re", "shutil", "tempfile"})


def _loaded_by(statement: str) -> set[str]:
    """Return the modules that a statement loads into a fresh interpreter."""
    code = f"import sys; bare = set(sys.modules)\n{statement}\nprint(*set(sys.modules) - bare)"
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def _step_classes() -> list[type]:
    """Import every module of minirun.steps and return the classes that derive from Step."""
    steps = importlib.import_module("minirun.steps")
    for found in pkgutil.walk_packages(steps.__path__, "minirun.steps."):
        importlib.import_module(found.name)
    base: type = importlib.import_module("minirun.steps.base").Step
    return sorted(_descendants(base), key=lambda step: (step.__module__, step.__qualname__))


def _descendants(base: type) -> set[type]:
    children: set[type] = set(base.__subclasses__())
    return children.union(*(_descendants(child) for child in children))


def test_every_step_has_every_teaching_field() -> None:
    # A test's own weakened step teaches nothing; other test modules may be loaded already.
    steps = [step for step in _step_classes() if step.__module__.startswith("minirun.")]
    silent = [
        f"{step.__module__}.{step.__name__}: {field}"
        for step in steps
        for field in TEACHING_FIELDS
        if not getattr(step, field, None)
    ]
    assert steps
    assert not silent


def test_no_file_is_too_long() -> None:
    lengths = {name: len(file.read_text().splitlines()) for name, file in MODULES.items()}
    assert not {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES}


def test_no_function_is_too_long() -> None:
    functions = (
        (f"{module}:{node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert not {f: lines for f, lines in functions if lines > MAX_FUNCTION_LINES and f not in FLAT}
