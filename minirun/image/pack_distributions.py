"""Which installed distributions a program needs, and which files they are.

    imported names ─▶ distributions that provide them ─▶ what those require, with extras and markers

The metadata is what pip wrote beside the packages (importlib.metadata); nothing is imported.

See: PEP 508, PEP 566, PEP 627. Next: ``pack_program.py``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ..errors import ImageError
from .pack_imports import Import

#: In every environment, and never needed to run a program.
_TOOLS = frozenset({"pip", "wheel"})


class Packages:
    """The distributions of one environment.

    Args:
        folder: its site-packages.
        version: of its Python, as in ``3.11.7``; markers ask for it.
    """

    def __init__(self, folder: Path, version: str) -> None:
        self.folder = folder
        self._installed: dict[str, metadata.Distribution] = {
            canonicalize_name(found.metadata["Name"]): found
            for found in metadata.distributions(path=[str(folder)])
            if found.metadata["Name"]
        }
        self._providers: dict[str, list[str]] = {}
        for name, found in self._installed.items():
            for top in _top_levels(found):
                self._providers.setdefault(top, []).append(name)
        short = ".".join(version.split(".")[:2])
        self._markers = {
            **default_environment(),
            "python_version": short,
            "python_full_version": version,
        }

    def __contains__(self, name: str) -> bool:
        """Whether a distribution is installed."""
        return canonicalize_name(name) in self._installed

    def version(self, name: str) -> str:
        """Return the version of an installed distribution."""
        return self._installed[canonicalize_name(name)].version

    def provides(self, top: str) -> bool:
        """Whether some distribution has a module or package of this name."""
        return top in self._providers

    def needed(self, imports: Iterable[Import], also: Iterable[str] = ()) -> list[str]:
        """Return the distributions behind imports, with all that they require, sorted.

        Args:
            imports: of the program.
            also: requirements by name, as in ``uvicorn[standard]``.

        Raises:
            ImageError: something is imported or required that is not installed.
        """
        wanted: list[Requirement] = [_requirement(text) for text in also]
        for found in imports:
            names = self._behind(found.module)
            if not names and not found.may_fail:
                raise ImageError(
                    f"{found.where} imports {found.top}, which is neither beside it nor installed",
                    hint=f"it is looked for in {self.folder}: pip install it there, or use --venv",
                )
            wanted += [Requirement(name) for name in names]
        return self._closure(wanted)

    def files(self, name: str) -> list[str]:
        """Return the files of a distribution below its folder, as installed.

        Raises:
            ImageError: it is only a pointer to a source folder, or has no list of its files.
        """
        found = self._installed[canonicalize_name(name)]
        listed = [str(path) for path in found.files or ()]
        if not listed:
            raise ImageError(f"{name} has no list of its files", hint="install it again, with pip")
        if any("__editable__" in path or path.endswith(".egg-link") for path in listed) or (
            _is_editable(found)
        ):
            hint = f"pip install {name} without -e, then pack again"
            raise ImageError(f"{name} is installed as a pointer to its sources", hint=hint)
        return sorted(path for path in listed if not path.startswith(("../", "/")))

    def _behind(self, module: str) -> list[str]:
        """Return the distributions that have a module; of a shared namespace the nearest."""
        names = self._providers.get(module.partition(".")[0], [])
        if len(names) < 2:
            return names
        parts = module.split(".")
        for length in range(len(parts), 1, -1):
            prefix = "/".join(parts[:length])
            near = [n for n in names if any(_is_module(f, prefix) for f in self._paths(n))]
            if near:
                return near
        return names

    def _paths(self, name: str) -> list[str]:
        return [str(path) for path in self._installed[name].files or ()]

    def _closure(self, wanted: list[Requirement]) -> list[str]:
        """Return the names of requirements and of theirs; each extra is followed once."""
        seen: set[tuple[str, str]] = set()
        while wanted:
            requirement = wanted.pop()
            name = canonicalize_name(requirement.name)
            if name in _TOOLS:
                continue
            if name not in self._installed:
                hint = "pip check tells what an environment lacks"
                raise ImageError(f"{requirement.name} is required, but not installed", hint=hint)
            for extra in ("", *requirement.extras):
                if (name, extra) not in seen:
                    seen.add((name, extra))
                    wanted += self._requires(name, extra)
        return sorted({name for name, _ in seen})

    def _requires(self, name: str, extra: str) -> list[Requirement]:
        found = []
        for text in self._installed[name].requires or ():
            requirement = _requirement(text)
            marker = requirement.marker
            asks = marker is not None and marker.evaluate(_with(self._markers, extra))
            if asks or (marker is None and not extra):
                found.append(requirement)
        return found


def _with(markers: Mapping[str, object], extra: str) -> dict[str, str]:
    return {**{key: str(value) for key, value in markers.items()}, "extra": extra}


def _requirement(text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise ImageError(f"{text!r} is no requirement: {error}") from error


def _top_levels(found: metadata.Distribution) -> set[str]:
    """Return the modules and packages that a distribution puts on the path."""
    declared = (found.read_text("top_level.txt") or "").split()
    inferred = set()
    for path in found.files or ():
        first = path.parts[0]
        name = inspect.getmodulename(first) if len(path.parts) == 1 else first
        if name and name.isidentifier():
            inferred.add(name)
    return inferred | {name for name in declared if name.isidentifier()}


def _is_module(path: str, prefix: str) -> bool:
    return path.startswith((f"{prefix}/", f"{prefix}.py", f"{prefix}.cpython"))


def _is_editable(found: metadata.Distribution) -> bool:
    return '"editable": true' in (found.read_text("direct_url.json") or "")
