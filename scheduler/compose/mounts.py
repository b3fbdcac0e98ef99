"""What a service takes in from outside: its port, its volumes, its secrets, its environment."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ..model import Secret, Volume
from . import document
from .fields import Section, integer, kind_of, refuse, text

_PORT = re.compile(
    r"(?:(?P<ip>[^:]*[^:\d][^:]*|\[.*\]):)?(?:(?P<published>\d{0,5}):)?"
    r"(?P<target>\d{1,5})(?:/(?P<proto>\w+))?"
)
ONE_PORT = "a replica has one port; put each server into a service of its own"


def port(service: Section) -> tuple[int | None, int | None]:
    """Return (target, published) of a service's only port."""
    ports = service.items("ports")
    path = service.at("expose")
    exposed = [_exposed(v, f"{path}[{i}]") for i, v in enumerate(service.items("expose"))]
    found = [_port(value, f"{service.at('ports')}[{i}]") for i, value in enumerate(ports)]
    targets = {target for target, _ in found} | set(exposed)
    if len(targets) > 1 or len(found) > 1:
        field = service.at("ports") if len(found) > 1 else path
        refuse(field, "more than one port is not supported", hint=ONE_PORT)
    if found:
        return found[0]
    return (exposed[0], None) if exposed else (None, None)


def _port(value: object, path: str) -> tuple[int, int | None]:
    if isinstance(value, dict):
        return _long_port(Section(value, path))
    match = _PORT.fullmatch(text(value, path))
    if match is None:
        hint = "ranges are not supported; write 8080:80"
        refuse(path, f"{value!r} is not published:target", hint=hint)
    if match["proto"] not in (None, "tcp"):
        refuse(path, f"protocol {match['proto']} is not supported")
    if match["ip"]:
        hint = "leave it away: minisched serve --publish-on says where ports are answered"
        refuse(path, f"address {match['ip']} is not supported", hint)
    return int(match["target"]), int(match["published"]) if match["published"] else None


def _exposed(value: object, path: str) -> int:
    number, _, protocol = text(value, path).partition("/")
    if protocol not in ("", "tcp"):
        refuse(path, f"protocol {protocol} is not supported")
    return integer(number, path)


def _long_port(section: Section) -> tuple[int, int | None]:
    target, published = section.integer("target"), section.integer("published")
    if target is None:
        refuse(section.at("target"), "is missing")
    if section.text("protocol", "tcp") != "tcp":
        refuse(section.at("protocol"), "only tcp is supported")
    if section.text("mode", "ingress") != "ingress":
        refuse(section.at("mode"), "only ingress is supported: replicas share the port")
    section.take("name")
    section.take("app_protocol")
    section.close()
    return target, published


def volumes(service: Section, folder: str, named: set[str]) -> tuple[Volume, ...]:
    """Return a service's volumes, in the order of the file; ``tmpfs`` last."""
    path = service.at("volumes")
    found = [_volume(v, f"{path}[{i}]", folder) for i, v in enumerate(service.items("volumes"))]
    for i, volume in enumerate(found):
        if volume.kind == "volume" and volume.source not in named:
            hint = f"add it to the top-level volumes: {volume.source}:"
            refuse(f"{path}[{i}]", f"volume {volume.source!r} is not declared", hint=hint)
    path = service.at("tmpfs")
    return (*found, *(_tmpfs(v, f"{path}[{i}]") for i, v in enumerate(service.items("tmpfs"))))


def _volume(value: object, path: str, folder: str) -> Volume:
    if isinstance(value, dict):
        return _long_volume(Section(value, path), folder)
    source, _, rest = text(value, path).partition(":")
    target, _, mode = rest.partition(":")
    if not target:
        refuse(path, "an anonymous volume is not supported", hint="give it a name: data:/path")
    if mode not in ("", "ro", "rw"):
        refuse(path, f"mode {mode!r} is not supported", hint="ro and rw are")
    kind = "bind" if source.startswith(("/", ".", "~")) else "volume"
    source = _on_host(source, path, folder) if kind == "bind" else source
    return Volume(kind, target, source, read_only=mode == "ro")


def _long_volume(section: Section, folder: str) -> Volume:
    kind, target = section.text("type"), section.text("target")
    source, read_only = section.text("source"), section.flag("read_only")
    size = 0
    if options := section.section("tmpfs"):
        size = options.size_bytes("size") or 0
        options.close()
    if options := section.section("bind"):
        options.take("create_host_path")
        options.close()
    section.close()
    if kind == "bind":
        source = _on_host(source, section.at("source"), folder)
    return Volume(kind, target, source, read_only, size)


def _tmpfs(value: object, path: str) -> Volume:
    target, _, options = text(value, path).partition(":")
    name, _, size = options.partition("=")
    if name not in ("", "size"):
        refuse(path, f"option {name!r} is not supported", hint="size is")
    section = Section({"size": size} if size else {}, path)
    return Volume("tmpfs", target, size_bytes=section.size_bytes("size") or 0)


def _on_host(source: str, path: str, folder: str) -> str:
    """Return a host path, made absolute by the file's folder."""
    if source.startswith("~"):
        refuse(
            path, "~ is not supported", hint="whose home it is depends on who runs; write it out"
        )
    if source.startswith("/"):
        return source
    parts = [*folder.strip("/").split("/"), *source.split("/")]
    resolved: list[str] = []
    for part in parts:
        if part == "..":
            del resolved[-1:]
        elif part not in ("", "."):
            resolved.append(part)
    return "/" + "/".join(resolved)


def secrets(service: Section, declared: set[str]) -> tuple[Secret, ...]:
    """Return a service's secrets."""
    path = service.at("secrets")
    found = tuple(_secret(v, f"{path}[{i}]") for i, v in enumerate(service.items("secrets")))
    for i, secret in enumerate(found):
        if secret.source not in declared:
            hint = f"add it to the top-level secrets: {secret.source}: {{external: true}}"
            refuse(f"{path}[{i}]", f"secret {secret.source!r} is not declared", hint=hint)
    return found


def _secret(value: object, path: str) -> Secret:
    if not isinstance(value, dict):
        return Secret(text(value, path))
    section = Section(value, path)
    mode = section.take("mode")
    # Compose documents octal here: YAML 1.2 reads 0444 as 444, whose digits are what was meant.
    bits = 0o444 if mode is None else _octal(mode, section.at("mode"))
    uid, gid = section.integer("uid") or 0, section.integer("gid") or 0
    secret = Secret(section.text("source"), section.text("target"), uid, gid, bits)
    section.close()
    return secret


def _octal(value: object, path: str) -> int:
    digits = text(value, path).removeprefix("0o")
    if not re.fullmatch("[0-7]{1,5}", digits):
        refuse(path, f"{value!r} is not an octal mode such as 0444")
    return int(digits, 8)


def environment(
    service: Section, variables: Mapping[str, str], read: Callable[[str], str]
) -> dict[str, str]:
    """Return the environment: files first, in order, then what the service says itself."""
    found: dict[str, str] = {}
    for i, value in enumerate(service.items("env_file")):
        found.update(_env_file(value, f"{service.at('env_file')}[{i}]", variables, read))
    found.update(pairs(service, "environment", variables))
    return found


def _env_file(
    value: object, path: str, variables: Mapping[str, str], read: Callable[[str], str]
) -> dict[str, str]:
    section = Section(value if isinstance(value, dict) else {"path": value}, path)
    name, required = section.text("path"), section.flag("required", default=True)
    section.close()
    try:
        content = read(name)
    except (OSError, UnicodeDecodeError) as error:
        if not required and isinstance(error, FileNotFoundError):
            return {}
        refuse(path, f"{name!r} cannot be read: {error}")
    return document.env_file(content, variables, path)


def pairs(section: Section, key: str, variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a mapping of texts, also where it is written as a list of NAME=value.

    A name without a value is taken from the variables, or left out.
    """
    value, path = section.take(key), section.at(key)
    if isinstance(value, list):
        split = [text(item, f"{path}[{i}]").partition("=") for i, item in enumerate(value)]
        value = {name: held if equals else None for name, equals, held in split}
    if value is None:
        return {}
    if not isinstance(value, dict):
        refuse(path, f"expected a mapping or a list, found {kind_of(value)}")
    found = {
        str(name): _pair(held, f"{path}.{name}", str(name), variables)
        for name, held in value.items()
    }
    return {name: held for name, held in found.items() if held is not None}


def _pair(value: object, path: str, name: str, variables: Mapping[str, str] | None) -> str | None:
    if value is not None:
        return text(value, path)
    return "" if variables is None else variables.get(name)
