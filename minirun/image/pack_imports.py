"""What a program imports: its own files, and the names of everything else.

    serve.py ─▶ ast ─▶ import lines ─▶ a file beside it? read that too : a name for the environment

Nothing is executed. Imports inside functions count, those below ``if TYPE_CHECKING`` do not, and
one in a ``try`` that catches ImportError may fail. ``importlib.import_module("x")`` is seen where
its argument is a literal; what is imported by a computed name has to be told with ``--with``.

Next: ``pack_distributions.py``, which knows whose names they are.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import ImageError
from ..record import Record

_SOURCE_LIMIT_BYTES = 8 << 20
_SKIPPED_FOLDERS = frozenset({"__pycache__", "tests", ".git", ".venv", "node_modules"})


class Import(Record):
    """One imported name.

    Args:
        module: dotted, as in ``sklearn.pipeline``.
        where: file and line, for messages.
        may_fail: the program says what to do without it.
    """

    module: str
    where: str
    may_fail: bool = False

    @property
    def top(self) -> str:
        """The first part, which distributions are known by."""
        return self.module.partition(".")[0]


class Traced(Record):
    """A program's own files, relative to its folder, and what it imports from elsewhere."""

    files: tuple[str, ...]
    imports: tuple[Import, ...]


def trace(folder: Path, entries: Iterable[str]) -> Traced:
    """Follow the imports of some files.

    Args:
        folder: what the program has first on its path.
        entries: files to begin with, relative to it.

    Raises:
        ImageError: a file is not there, or is not Python.
    """
    tracer = _Tracer(folder)
    for entry in entries:
        tracer.file(entry)
    outside = {found.top: found for found in reversed(tracer.imports) if not found.may_fail}
    outside = {found.top: found for found in reversed(tracer.imports)} | outside
    names = [f for f in tracer.imports if f.top in outside and f.top not in sys.stdlib_module_names]
    return Traced(tuple(sorted(tracer.files)), tuple(names))


class _Tracer:
    """Reads files until none is new."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files: set[str] = set()
        self.imports: list[Import] = []

    def file(self, relative: str) -> None:
        """Read one file and those that it leads to."""
        pending = [relative]
        while pending:
            path = pending.pop()
            if path in self.files:
                continue
            self.files.add(path)
            if path.endswith(".py"):
                for found in _imports_of(self._folder, path):
                    local = self._local(found.module)
                    pending += local
                    if not local:
                        self.imports.append(found)

    def _local(self, module: str) -> list[str]:
        """Return the program's own files that a module needs; none where it is not its own.

        Of a package everything goes along: it may read the data beside its modules.
        """
        top = module.partition(".")[0]
        if (self._folder / f"{top}.py").is_file():
            return [f"{top}.py"]
        package = self._folder / top
        if not (package / "__init__.py").is_file() and not _is_namespace(self._folder, module):
            return []
        return files_below(self._folder, top)


def _is_namespace(folder: Path, module: str) -> bool:
    """Whether a package without ``__init__.py`` has this module in it."""
    path = folder.joinpath(*module.split("."))
    return "." in module and (path.with_suffix(".py").is_file() or path.is_dir())


def files_below(folder: Path, relative: str) -> list[str]:
    """Return a file, or all files of a folder, without caches, tests and hidden ones."""
    top = folder / relative
    if not top.is_dir():
        return [relative]
    found = []
    for path in sorted(top.rglob("*")):
        inside = path.relative_to(folder)
        parts = inside.parts
        if path.is_file() and not _SKIPPED_FOLDERS.intersection(parts) and parts[-1][0] != ".":
            found.append(str(inside))
    return found


# ── one file ──────────────────────────────────────────────────────────────────────────────────


def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a file.

    Raises:
        ImageError: it cannot be read, or is not Python.
    """
    try:
        source = path.read_bytes()[: _SOURCE_LIMIT_BYTES + 1]
        return ast.parse(source, str(path))
    except OSError as error:
        raise ImageError(f"{path}: {(error.strerror or '').lower()}") from error
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ImageError(f"{path} is not Python: {error}") from error


def _imports_of(folder: Path, relative: str) -> Iterator[Import]:
    visitor = _Visitor(relative)
    visitor.visit(parse(folder / relative))
    yield from visitor.found


class _Visitor(ast.NodeVisitor):
    """Collects the imports of one file."""

    def __init__(self, relative: str) -> None:
        self._relative = relative
        self._package = relative.removesuffix(".py").split("/")[:-1]
        self._may_fail = False
        self.found: list[Import] = []

    def visit_Import(self, node: ast.Import) -> None:
        """``import a.b, c``."""
        for alias in node.names:
            self._add(alias.name, node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """``from a import b``; b may be a module, or a name in one."""
        parts = self._package[: len(self._package) - node.level + 1] if node.level else []
        base = ".".join([*parts, *([node.module] if node.module else [])])
        for alias in node.names:
            self._add(f"{base}.{alias.name}" if base else alias.name, node.lineno)

    def visit_Call(self, node: ast.Call) -> None:
        """``importlib.import_module("a")`` and ``__import__("a")``."""
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        name = node.func.id if isinstance(node.func, ast.Name) else name
        first = node.args[0] if node.args else None
        if name in ("import_module", "__import__") and isinstance(first, ast.Constant):
            self._add(str(first.value), node.lineno)
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        """Skip what only type checkers read."""
        test = node.test
        name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
        for child in node.orelse if name == "TYPE_CHECKING" else [test, *node.body, *node.orelse]:
            self.visit(child)

    def visit_Try(self, node: ast.Try) -> None:
        """An import may fail where somebody catches that."""
        before = self._may_fail
        self._may_fail = before or any(_catches_import(handler) for handler in node.handlers)
        for child in node.body:
            self.visit(child)
        self._may_fail = before
        for other in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(other)

    def _add(self, module: str, line: int) -> None:
        if module and not module.startswith("."):
            self.found.append(Import(module, f"{self._relative}:{line}", self._may_fail))


def _catches_import(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
    return bool(names & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
