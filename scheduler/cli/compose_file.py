"""A Compose file on this machine: read here, so that its paths and variables are the user's.

    text ─▶ compose.parse ─▶ deployments ─▶ the bodies that the API takes
                 └▶ secrets whose values are files or variables of ours

Next: ``apply.py``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minirun import MinirunError

if TYPE_CHECKING:
    from ..compose import Project, SecretSource

#: What docker compose looks for, in its order.
NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a file asks for, in the words of the API."""

    specs: Mapping[str, Mapping[str, Any]]
    secrets: Mapping[str, bytes]


def read(names: tuple[str, ...]) -> Wanted:
    """Return what these files ask for, together; none named is the folder's own.

    Raises:
        MinirunError: a file is not there or not right, or two of them ask for the same name.
    """
    specs: dict[str, Mapping[str, Any]] = {}
    secrets: dict[str, bytes] = {}
    for name in names or (_own(),):
        folder = Path.cwd() if name == "-" else Path(name).absolute().parent
        project = _parsed(name, folder)
        for key, spec in _bodies(project).items():
            if key in specs:
                raise MinirunError(f"{name}: {key!r} is in another file too")
            specs[key] = spec
        secrets |= {k: _value(k, s, folder) for k, s in project.secrets.items() if _is_ours(s)}
    return Wanted(specs, secrets)


def _own() -> str:
    for name in NAMES:
        if os.path.exists(name):
            return name
    hint = f"name it with -f; without it the first is taken of: {', '.join(NAMES)}"
    raise MinirunError("no Compose file in this folder", hint=hint)


def _parsed(name: str, folder: Path) -> Project:
    from minirun import ScheduleError

    from ..compose import parse

    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text()
    except UnicodeDecodeError as error:
        raise MinirunError(f"{name}: not a text: {error.reason}") from error
    variables = _variables(folder)
    try:
        return parse(
            text, variables=variables, folder=str(folder),
            read=lambda path: (folder / path).read_text(),
        )  # fmt: skip
    except ScheduleError as error:
        raise MinirunError(f"{name}: {error.message}", hint=error.hint) from error


def _variables(folder: Path) -> Mapping[str, str]:
    """Return the environment over the folder's .env file, as docker compose does."""
    from ..compose.document import env_file

    try:
        text = (folder / ".env").read_text()
    except (FileNotFoundError, NotADirectoryError):
        return os.environ
    return {**env_file(text, os.environ, ".env"), **os.environ}


def _bodies(project: Project) -> dict[str, Mapping[str, Any]]:
    from ..api.schemas import spec_of

    return {
        made.name: spec_of(made).model_dump(mode="json", exclude_defaults=True)
        for made in project.deployments
    }


def _is_ours(source: SecretSource) -> bool:
    return source.kind != "external"


def _value(name: str, source: SecretSource, folder: Path) -> bytes:
    if source.kind == "file":
        return (folder / source.value).read_bytes()
    if source.value not in os.environ:
        hint = f"set it: {source.value}=… minisched apply"
        raise MinirunError(f"secrets.{name}: variable {source.value} is not set", hint=hint)
    return os.environb[os.fsencode(source.value)]
