"""The Dockerfile that makes what ``minirun pack`` makes, for those who build elsewhere.

Pure. Next: ``sbom.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from .pack_plan import HOME, USER, Packing
from .pack_program import health_test


def dockerfile_of(packing: Packing, *, base: str = "") -> str:
    """Return the text of a Dockerfile for the program's folder.

    Args:
        packing: what was found out.
        base: the image to begin with; "" is the captured Python.
    """
    return "\n".join(_lines(packing, base or f"minirun/python:{packing.python.short_version}"))


def _lines(packing: Packing, base: str) -> Iterator[str]:
    program = packing.program
    yield f"FROM {base}"
    yield f"WORKDIR {HOME}"
    if packing.distributions:
        pins = " \\\n    ".join(f"{name}=={version}" for name, version in packing.distributions)
        yield f"RUN pip install --no-cache-dir --no-deps \\\n    {pins}"
    for path, inside in packing.models.items():
        yield f"COPY {_words([inside if _is_below(packing, path) else path, inside])}"
    for folder, files in _by_folder(packing.files):
        yield f"COPY {_words([*files, f'{folder}/' if folder else './'])}"
    port = [f"PORT={program.port}"] if program.port else []
    yield f"ENV {' '.join([*port, 'PYTHONUNBUFFERED=1', 'PYTHONDONTWRITEBYTECODE=1'])}"
    yield f"USER {USER}"
    if program.port:
        yield f"EXPOSE {program.port}"
        yield "HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \\"
        yield f"    CMD {json.dumps(list(health_test(program)[1:]))}"
    yield "STOPSIGNAL SIGTERM"
    yield f"CMD {json.dumps(list(packing.command))}"
    yield ""


def _is_below(packing: Packing, path: str) -> bool:
    return (packing.program.folder / packing.models[path]).exists()


def _by_folder(files: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield (folder, its files): COPY puts all that it is given into one folder."""
    groups: dict[str, list[str]] = {}
    for file in files:
        groups.setdefault(file.rpartition("/")[0], []).append(file)
    yield from groups.items()


def _words(words: list[str]) -> str:
    """Return the arguments of COPY: plain where that is clear, else the JSON form."""
    plain = all(set(word).isdisjoint(" \"'\\$[]*?\t") for word in words)
    return " ".join(words) if plain else json.dumps(words)
