"""A whole Compose file: its services, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..model import Deployment
from ..validate import check
from . import document
from .fields import Section, refuse
from .service import deployment_of

_HINTS = (
    ("networks", "a service is reached through the gateway, also by another: give it an x-route"),
    ("configs", "use a bind volume or a secret"),
    ("include", "apply the files one after the other"),
    ("models", "build the model into the image"),
)


@dataclass(frozen=True, slots=True)
class SecretSource:
    """Where a secret's value comes from: a ``file``, an ``environment`` variable, or the store.

    The first two are read by whoever applies the file; ``external`` ones are there already.
    """

    kind: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Project:
    """What a Compose file asks for."""

    deployments: tuple[Deployment, ...]
    name: str = ""
    secrets: Mapping[str, SecretSource] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()


def parse(
    text: str,
    *,
    variables: Mapping[str, str] | None = None,
    folder: str = "/",
    read: Callable[[str], str] | None = None,
) -> Project:
    """Return what a Compose file asks for.

    Args:
        text: the file.
        variables: what ``${NAME}`` is replaced by.
        folder: the file's absolute folder, which relative paths begin from.
        read: returns the text of an env_file by the name in the file.

    Raises:
        ScheduleError: with status 400 where it is not YAML and 422 where a field is wrong or not
            supported, named by its path.
    """
    variables = variables or {}
    top = Section(document.load(text, variables), "")
    top.take("version")
    name = top.text("name")
    secrets = _secrets(top.section("secrets"))
    volumes = _volumes(top.section("volumes"))
    services = top.section("services")
    if services is None or not services.left():
        refuse("services", "is missing")
    for key in top.left():
        if key.startswith("x-"):
            top.take(key)
    top.close(_HINTS)
    outside = Outside(variables, folder, read or _unreadable, set(secrets), set(volumes))
    found = []
    for key in services.left():
        deployment = deployment_of(key, Section(services.take(key), f"services.{key}"), outside)
        check(deployment)
        found.append(deployment)
    return Project(tuple(found), name, secrets, volumes)


def _unreadable(name: str) -> str:
    raise FileNotFoundError(f"{name}: files are not read here")


def _secrets(section: Section | None) -> dict[str, SecretSource]:
    if section is None:
        return {}
    return {key: _secret(Section(section.take(key), section.at(key))) for key in section.left()}


def _secret(section: Section) -> SecretSource:
    section.take("name")
    kinds = [kind for kind in ("file", "environment") if section.has(kind)]
    values = [SecretSource(kind, section.text(kind)) for kind in kinds]
    if section.flag("external"):
        values.append(SecretSource("external"))
    section.close()
    if len(values) != 1:
        refuse(section.path, "needs one of file, environment and external")
    return values[0]


def _volumes(section: Section | None) -> tuple[str, ...]:
    if section is None:
        return ()
    names = tuple(section.left())
    for name in names:
        if inner := section.section(name):
            inner.flag("external")
            inner.take("labels")
            if (driver := inner.text("driver", "local")) != "local":
                refuse(inner.at("driver"), f"{driver!r} is not supported", hint="only local is")
            inner.close()
    return names


@dataclass(frozen=True, slots=True)
class Outside:
    """What a service may refer to that is not in it."""

    variables: Mapping[str, str]
    folder: str
    read: Callable[[str], str]
    secrets: set[str]
    volumes: set[str]
