"""-v, --mount and --tmpfs: three spellings of one MountRequest.

``-v`` guesses from its source: nothing is an anonymous volume, a name a named one, and a path is a
bind mount that is created when missing. ``--mount`` guesses nothing and creates nothing. Every key
of docker's is either understood or refused by name.

Pure: a relative ``./source`` is resolved against the ``cwd`` that is passed in.
Next: ``devices.py``.
"""

from __future__ import annotations

from ..errors import UsageError
from ..record import EMPTY, Record
from .sizes import byte_size
from .words import NAME_FIRST, NAME_REST, absolute_path, boolean, key_value, no_nul, one_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
RECURSIVE = ("enabled", "disabled", "writable", "readonly")

# What these words meant on other systems has no meaning on Linux; docker takes and drops them too.
_CONSISTENCY = ("consistent", "cached", "delegated", "default")
_SELINUX = "minirun does not relabel files for SELinux: leave it out"
_TMPFS_FLAGS = {
    *("ro", "rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "sync", "async"),
    *("atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime"),
}
_TMPFS_VALUES = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge")


class MountRequest(Record):
    """What the user wants to see at ``target``.

    ``source`` is a host path for ``bind``; for ``volume`` a name, or "" for an anonymous one.
    """

    type: str
    target: str
    source: str = ""
    readonly: bool = False
    propagation: str = ""
    recursive: str = "enabled"
    create_source: bool = False
    no_copy: bool = False
    subpath: str = ""
    labels: Mapping[str, str] = EMPTY
    tmpfs_options: tuple[str, ...] = ()


def volume_name(text: str) -> str:
    """Return a volume's name: two or more of ``[a-zA-Z0-9_.-]``, a letter or digit first."""
    if len(text) < 2 or len(text) > 255 or text[0] not in NAME_FIRST or set(text) - NAME_REST:
        hint = "two or more of [a-zA-Z0-9_.-]; for a host directory give an absolute path"
        raise UsageError(f"invalid volume name {text!r}", hint=hint)
    return text


def volume_flag(text: str, cwd: str) -> MountRequest:
    """Read ``[source:]target[:options]``.

    >>> volume_flag("models:/models:ro", "/").readonly
    True
    >>> volume_flag("./data:/data", "/home/me").source
    '/home/me/data'
    """
    parts = no_nul(text, "volume").split(":")
    if len(parts) > 3 or not all(parts):
        raise UsageError(f"invalid volume {text!r}", hint="written [source:]target[:options]")
    source, target = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    options = parts[2].split(",") if len(parts) == 3 else []
    found = _volume_options(text, options)
    target = _target(target)
    if source[:1] in ("/", "."):
        return MountRequest("bind", target, _host_path(source, cwd), create_source=True, **found)
    if "propagation" in found:
        hint = "propagation is a property of a bind mount: give an absolute source"
        raise UsageError(f"invalid volume {text!r}", hint=hint)
    return MountRequest("volume", target, volume_name(source) if source else "", **found)


def _volume_options(text: str, options: list[str]) -> dict[str, Any]:
    """Return the fields that the third part of -v sets; each kind at most once."""
    found: dict[str, Any] = {}
    for option in options:
        if option in ("z", "Z"):
            raise UsageError(f"volume option {option!r} is not supported", hint=_SELINUX)
        kind, value = _VOLUME_OPTIONS.get(option, ("", None))
        if not kind or kind in found:
            hint = "one of: ro, rw, nocopy, " + ", ".join(PROPAGATIONS)
            raise UsageError(f"invalid option {option!r} in volume {text!r}", hint=hint)
        found[kind] = value
    found.pop("consistency", None)
    return found


_VOLUME_OPTIONS: dict[str, tuple[str, object]] = {
    "ro": ("readonly", True),
    "rw": ("readonly", False),
    "nocopy": ("no_copy", True),
    **{word: ("propagation", word) for word in PROPAGATIONS},
    **{word: ("consistency", word) for word in _CONSISTENCY},
}


def _host_path(source: str, cwd: str) -> str:
    """Return an absolute host path; ``..`` is the caller's own to follow."""
    path = source if source.startswith("/") else f"{cwd}/{source}"
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del kept[-1:]
        elif part not in ("", "."):
            kept.append(part)
    return "/" + "/".join(kept)


def _target(text: str) -> str:
    target = absolute_path(text, "mount target")
    if target == "/":
        raise UsageError("invalid mount target '/'", hint="the root is the image's own")
    return target


def tmpfs_flag(text: str) -> MountRequest:
    """Read ``path[:options]`` of --tmpfs; options are those of tmpfs(5) and mount(8).

    >>> tmpfs_flag("/run:size=64m,mode=1777").tmpfs_options
    ('size=67108864', 'mode=1777')
    """
    target, _, options = no_nul(text, "tmpfs").partition(":")
    kept = tuple(_tmpfs_option(option) for option in options.split(",") if option)
    return MountRequest("tmpfs", _target(target), tmpfs_options=kept)


def _tmpfs_option(option: str) -> str:
    name, equals, value = option.partition("=")
    if not equals and name in _TMPFS_FLAGS:
        return option
    if not value or name not in _TMPFS_VALUES:
        raise UsageError(f"invalid tmpfs option {option!r}", hint="see tmpfs(5)")
    if name == "size" and not value.endswith("%"):
        return f"size={byte_size(value)}"
    return f"mode={_octal(value)}" if name == "mode" else option


def _octal(text: str) -> str:
    if not text or len(text) > 5 or set(text) - set("01234567"):
        raise UsageError(f"invalid mode {text!r}", hint="octal, for example 1777")
    return text


# ── --mount ───────────────────────────────────────────────────────────────────────────────────

_REFUSED_KEYS = {
    "volume-driver": "volumes are directories of this host",
    "volume-opt": "volumes are directories of this host",
    "image-subpath": "images cannot be mounted; copy what you need with COPY --from",
}
_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_FLAGS = ("readonly", "volume-nocopy", "bind-nonrecursive", "bind-create-src")
_FOR_TYPE = {
    "bind": ("bind-propagation", "bind-nonrecursive", "bind-recursive", "bind-create-src"),
    "volume": ("volume-nocopy", "volume-label", "volume-subpath"),
    "tmpfs": ("tmpfs-size", "tmpfs-mode", "tmpfs-options"),
}
_EVERYWHERE = ("type", "source", "target", "readonly", "consistency")


def mount_flag(text: str, cwd: str) -> MountRequest:
    """Read ``type=bind|volume|tmpfs,key=value,…`` of --mount.

    >>> mount_flag("type=bind,src=/srv,dst=/srv,ro", "/").readonly
    True
    """
    keys, labels = _mount_keys(text)
    kind = one_of(str(keys.pop("type", "volume")), "mount type", _FOR_TYPE)
    for key in keys:
        if key not in (*_EVERYWHERE, *_FOR_TYPE[kind]):
            raise UsageError(f"--mount key {key!r} does not go with type={kind}")
    if "target" not in keys:
        raise UsageError(f"--mount {text!r} has no target", hint="add target=/path")
    request = {"bind": _bind, "volume": _volume, "tmpfs": _tmpfs}[kind](keys, cwd)
    target, readonly = _target(str(keys["target"])), bool(keys.get("readonly"))
    return MountRequest(kind, target, readonly=readonly, labels=labels, **request)


def _mount_keys(text: str) -> tuple[dict[str, str | bool], dict[str, str]]:
    """Return ({key: value}, {volume label: value}) of a --mount."""
    keys: dict[str, str | bool] = {}
    labels: dict[str, str] = {}
    for part in no_nul(text, "mount").split(","):
        key, equals, value = part.partition("=")
        key = _ALIASES.get(key.lower(), key.lower())
        if key in _REFUSED_KEYS:
            raise UsageError(f"--mount key {key!r} is not supported", hint=_REFUSED_KEYS[key])
        if key == "volume-label":
            name, held = key_value(value, "volume label")
            labels[name] = held
        elif key not in _KNOWN_KEYS or key in keys or not (equals or key in _FLAGS):
            raise UsageError(f"invalid field {part!r} in --mount {text!r}", hint=_known())
        else:
            keys[key] = (not equals or boolean(value, key)) if key in _FLAGS else value
    if labels:
        keys["volume-label"] = True
    return keys, labels


_KNOWN_KEYS = frozenset((*_EVERYWHERE, *(key for keys in _FOR_TYPE.values() for key in keys)))


def _known() -> str:
    return "keys: " + ", ".join(sorted(_KNOWN_KEYS))


def _bind(keys: Mapping[str, str | bool], cwd: str) -> dict[str, Any]:
    source = str(keys.get("source", ""))
    if source[:1] not in ("/", "."):
        raise UsageError(f"bind source {source!r} is not a path", hint="add source=/absolute/path")
    recursive = str(keys.get("bind-recursive", "enabled"))
    return {
        "source": _host_path(source, cwd),
        "propagation": _optional(keys, "bind-propagation", PROPAGATIONS),
        "recursive": "disabled"
        if keys.get("bind-nonrecursive")
        else one_of(recursive, "bind-recursive", RECURSIVE),
        "create_source": bool(keys.get("bind-create-src")),
    }


def _volume(keys: Mapping[str, str | bool], _cwd: str) -> dict[str, Any]:
    source, subpath = str(keys.get("source", "")), str(keys.get("volume-subpath", ""))
    if subpath.startswith("/") or ".." in subpath.split("/"):
        raise UsageError(f"invalid volume-subpath {subpath!r}", hint="relative, without '..'")
    return {
        "source": volume_name(source) if source else "",
        "no_copy": bool(keys.get("volume-nocopy")),
        "subpath": subpath,
    }


def _tmpfs(keys: Mapping[str, str | bool], _cwd: str) -> dict[str, Any]:
    if "source" in keys:
        raise UsageError("a tmpfs mount has no source", hint="leave out source=")
    given = str(keys.get("tmpfs-options", "")).split(",")
    options = [_tmpfs_option(option) for option in given if option]
    readers: dict[str, Callable[[str], object]] = {"size": byte_size, "mode": _octal}
    for name, read in readers.items():
        if f"tmpfs-{name}" in keys:
            options.append(f"{name}={read(str(keys[f'tmpfs-{name}']))}")
    return {"tmpfs_options": tuple(options)}


def _optional(keys: Mapping[str, str | bool], key: str, allowed: tuple[str, ...]) -> str:
    return one_of(str(keys[key]), key, allowed) if key in keys else ""
