"""--security-opt, the namespace modes, --sysctl, addresses, --restart and --log-opt.

Pure. Next: ``names.py``.
"""

from __future__ import annotations

from ..errors import UsageError
from ..record import Record
from .sizes import byte_size
from .words import boolean, integer, key_value, no_nul, one_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SECCOMP_BUILTIN = "builtin"
UNCONFINED = "unconfined"


class SecurityOptions(Record):
    """``seccomp`` is ``builtin``, ``unconfined`` or the path of a profile in docker's JSON."""

    no_new_privileges: bool = False
    seccomp: str = SECCOMP_BUILTIN
    apparmor: str = ""
    unmask_system_paths: bool = False


class RestartPolicy(Record):
    """``no``, ``always``, ``unless-stopped`` or ``on-failure``, which may have a maximum."""

    name: str = "no"
    max_retries: int = 0


class LogOptions(Record):
    """Rotation of a container's log; 0 bytes means never."""

    max_size_bytes: int = 0
    max_files: int = 1


def security_options(texts: Iterable[str]) -> SecurityOptions:
    """Read every --security-opt; docker's older ``name:value`` is understood too.

    >>> security_options(["no-new-privileges", "seccomp=unconfined"]).seccomp
    'unconfined'
    """
    found: dict[str, object] = {}
    for text in texts:
        name, value = _name_and_value(text)
        if name == "no-new-privileges":
            found["no_new_privileges"] = boolean(value or "true", name)
        elif name == "seccomp" and value:
            found["seccomp"] = value
        elif name == "apparmor" and value:
            found["apparmor"] = value
        elif name == "systempaths":
            one_of(value, name, (UNCONFINED,))
            found["unmask_system_paths"] = True
        elif name == "label":
            _selinux_label(value)
        else:
            raise UsageError(f"invalid --security-opt {text!r}", hint=_KNOWN)
    return SecurityOptions(**found)  # type: ignore[arg-type]


_KNOWN = "one of: no-new-privileges, seccomp=…, apparmor=…, systempaths=unconfined, label=disable"


def _name_and_value(text: str) -> tuple[str, str]:
    no_nul(text, "--security-opt")
    mark = min((at for at in (text.find("="), text.find(":")) if at >= 0), default=len(text))
    return text[:mark], text[mark + 1 :]


def _selinux_label(value: str) -> None:
    if value != "disable":
        hint = "minirun sets no SELinux labels; label=disable says so"
        raise UsageError(f"--security-opt label={value} is not supported", hint=hint)


_MODES = {
    "pid": ("", "host", "private", "container:"),
    "ipc": ("", "host", "private", "shareable", "none", "container:"),
    "uts": ("", "host", "private"),
    "userns": ("", "host", "private", "auto"),
    "cgroupns": ("", "host", "private"),
}


def namespace_mode(kind: str, text: str) -> str:
    """Return the mode of a namespace flag: ``host``, ``private`` (the default) or ``container:ID``.

    >>> namespace_mode("pid", "container:db"), namespace_mode("uts", "")
    ('container:db', 'private')
    """
    head, colon, name = no_nul(text, f"--{kind}").partition(":")
    allowed = _MODES[kind]
    if head + colon not in allowed or bool(colon) != bool(name):
        words = ", ".join(mode + ("NAME" if mode.endswith(":") else "") for mode in allowed if mode)
        raise UsageError(f"invalid --{kind} {text!r}", hint=f"one of: {words}")
    return text or "private"


def sysctl(text: str) -> tuple[str, str]:
    """Return (name, value); which names a container may set is decided by ``validate``."""
    name, value = key_value(text, "sysctl")
    if set(name) & set(" /\t\n") or ".." in name or name[0] == "." or name[-1] == ".":
        raise UsageError(f"invalid sysctl {text!r}", hint="for example net.core.somaxconn=1024")
    return name.strip(), value


def is_ip(text: str) -> bool:
    """Return whether the text is an IPv4 or IPv6 address without a scope."""
    from _socket import AF_INET, AF_INET6, inet_pton

    try:
        inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def ip_address(text: str) -> str:
    """Return an IPv4 or IPv6 address as given."""
    if not is_ip(text):
        raise UsageError(f"invalid address {text!r}", hint="for example 10.0.0.2")
    return text


def mac_address(text: str) -> str:
    """Return a unicast hardware address in lower case.

    >>> mac_address("02:42:AC:11:00:02")
    '02:42:ac:11:00:02'
    """
    parts = text.replace("-", ":").lower().split(":")
    pairs = len(parts) == 6 and all(
        len(p) == 2 and not set(p) - set("0123456789abcdef") for p in parts
    )
    if not pairs or int(parts[0], 16) & 1:
        hint = "six pairs of hexadecimal digits, the first one even"
        raise UsageError(f"invalid hardware address {text!r}", hint=hint)
    return ":".join(parts)


def restart_policy(text: str) -> RestartPolicy:
    """Read ``no``, ``always``, ``unless-stopped`` or ``on-failure[:max]``.

    >>> restart_policy("on-failure:3")
    RestartPolicy(name='on-failure', max_retries=3)
    """
    name, colon, count = text.partition(":")
    if name == "" and not colon:
        return RestartPolicy()
    one_of(name, "restart policy", ("no", "always", "unless-stopped", "on-failure"))
    if not colon:
        return RestartPolicy(name)
    if name != "on-failure":
        hint = "a maximum goes with on-failure only"
        raise UsageError(f"invalid restart policy {text!r}", hint=hint)
    return RestartPolicy(name, integer(count, "number of restarts", 0, 2**31 - 1))


def log_options(driver: str, texts: Iterable[str]) -> LogOptions:
    """Read --log-driver and every --log-opt; json-file is the only driver."""
    if driver not in ("", "json-file", "local"):
        hint = "minirun keeps logs in docker's json-file format"
        raise UsageError(f"log driver {driver!r} is not supported", hint=hint)
    options = LogOptions()
    size, files = options.max_size_bytes, options.max_files
    for text in texts:
        name, value = key_value(text, "--log-opt")
        one_of(name, "--log-opt", ("max-size", "max-file"))
        if name == "max-size":
            size = 0 if value == "-1" else byte_size(value)
        else:
            files = integer(value, "max-file", 1, 1000)
    if files > 1 and not size:
        raise UsageError("--log-opt max-file needs max-size", hint="add --log-opt max-size=10m")
    return LogOptions(size, files)
