"""What a RUN step borrows from the host to reach the network, and gives back afterwards.

A build behind a proxy, with a company's certificate authority and a package mirror, has to work as
``pip install`` does on the host itself; yet none of it belongs into an image that others run.
So it is passed for the time of one command only:

    proxies       HTTP_PROXY and the like, as variables
    pip           where to get packages: index, mirror, find-links, timeout, as PIP_* variables
    certificates  the bundles that SSL_CERT_FILE, PIP_CERT… name, copied into one folder
    .netrc        credentials for an index, in the same folder
    local files   find-links folders and file:// indexes, mounted read-only

Everything that is a file is below one folder, ``/run/minirun-build``, so one mount point is all
that has to be taken out of the layer again. A variable that the Dockerfile sets with ENV wins.

Next: ``build_run.py``.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .build_executor import Bind
from .build_state import PROXY_ARGS

FOLDER = "/run/minirun-build"
#: Variables that name a bundle of certificate authorities, and who reads them.
_BUNDLES = (
    "SSL_CERT_FILE",  # OpenSSL, Python
    "REQUESTS_CA_BUNDLE",  # requests, pip
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "PIP_CLIENT_CERT",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
)
#: The settings of pip that say where packages come from; others would change what is installed.
_PIP_SETTINGS = (
    "index-url", "extra-index-url", "no-index", "find-links", "trusted-host", "cert",
    "client-cert", "proxy", "timeout", "default-timeout", "retries", "disable-pip-version-check",
)  # fmt: skip
_SIBLING = re.compile(r'href="\.\./\.\./([^/".#?]+)/')
_LISTS = ("extra-index-url", "find-links")


@dataclass(frozen=True, slots=True)
class Borrowed:
    """What one RUN step gets: variables, and what to mount below ``FOLDER``."""

    env: Mapping[str, str]
    binds: tuple[Bind, ...]


def borrow(
    folder: Path,
    environ: Mapping[str, str] | None = None,
    build_args: Mapping[str, str] | None = None,
) -> Borrowed:
    """Collect the host's settings.

    Args:
        folder: an empty folder; what must be a file goes there and is mounted as ``FOLDER``.
        environ: the host's variables, ``os.environ`` when None.
        build_args: ``--build-arg`` values; a proxy given there replaces the host's.
    """
    host = dict(os.environ) if environ is None else dict(environ)
    collector = _Collector(folder)
    env = {name: host[name] for name in PROXY_ARGS if host.get(name)}
    env |= {name: value for name, value in (build_args or {}).items() if name in PROXY_ARGS}
    for name in _BUNDLES:
        if host.get(name):
            collector.file_variable(env, name, host[name])
    for setting, value in pip_settings(host).items():
        collector.pip_variable(env, setting, value)
    netrc = Path(host.get("NETRC") or os.path.join(host.get("HOME", "/root"), ".netrc"))
    if netrc.is_file():
        collector.file_variable(env, "NETRC", str(netrc))
    return Borrowed(env, (Bind(folder, FOLDER), *collector.binds))


def pip_settings(host: Mapping[str, str]) -> dict[str, str]:
    """Return the host's settings for pip about where packages come from, by name.

    Read in pip's own order, the later wins: global, user, site, PIP_CONFIG_FILE, PIP_* variables.
    See: pip.pypa.io/en/stable/topics/configuration.
    """
    found: dict[str, str] = {}
    named = host.get("PIP_CONFIG_FILE", "")
    if named != os.devnull:
        for path in [*_pip_files(host), *([Path(named)] if named else [])]:
            found |= _settings_in(path)
    for setting in _PIP_SETTINGS:
        value = host.get(f"PIP_{setting.replace('-', '_').upper()}")
        if value:
            found[setting] = value
    return found


def _pip_files(host: Mapping[str, str]) -> list[Path]:
    home = Path(host.get("HOME") or os.path.expanduser("~"))
    shared = (host.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
    own = Path(host.get("XDG_CONFIG_HOME") or home / ".config")
    return [
        *(Path(folder) / "pip" / "pip.conf" for folder in shared),
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        own / "pip" / "pip.conf",
        Path(sys.executable).parent.parent / "pip.conf",  # -S: sys.prefix is not the venv's
    ]


def _settings_in(path: Path) -> dict[str, str]:
    """Return the settings of one file: for all commands, then for ``pip install``."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, configparser.Error):
        return {}  # absent, unreadable or broken: pip on the host complains about it itself
    found: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            items = {k.replace("_", "-"): v for k, v in parser.items(section) if v.strip()}
            found |= {k: v for k, v in items.items() if k in _PIP_SETTINGS}
    return found


class _Collector:
    """Copies files into the folder, and collects the mounts below it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._copied: dict[str, str] = {}
        self._mounted: dict[str, str] = {}
        self.binds: list[Bind] = []

    def file_variable(self, env: dict[str, str], name: str, path: str) -> None:
        """Set a variable to the copy of a file; one that is not there is not passed on."""
        if copied := self._copy(path):
            env[name] = copied

    def pip_variable(self, env: dict[str, str], setting: str, value: str) -> None:
        """Set the PIP_* variable of a setting, its paths as they are in the container."""
        name = f"PIP_{setting.replace('-', '_').upper()}"
        if setting in ("cert", "client-cert"):
            self.file_variable(env, name, os.path.expanduser(value.strip()))
        elif setting in _LISTS or setting == "index-url":
            env[name] = " ".join(self._place(word) for word in value.split())
        else:
            env[name] = value.strip()

    def _copy(self, path: str) -> str:
        """Copy a file, unless it is there already; return its path in the container."""
        real = os.path.realpath(path)
        if real not in self._copied and os.path.isfile(real):
            name = f"{len(self._copied)}-{os.path.basename(path).lstrip('.')}"
            shutil.copyfile(real, self._folder / name)
            # Readable for the step's user, who may not be root; the folder itself is private.
            (self._folder / name).chmod(0o644)
            self._copied[real] = f"{FOLDER}/{name}"
        return self._copied.get(real, "")

    def _place(self, word: str) -> str:
        """Return where a package source is for the container; a remote one stays."""
        split = urlsplit(word)
        if split.scheme == "file":
            return f"file://{self._index(unquote(split.path))}"
        local = os.path.expanduser(word)
        return self._mount(local) if not split.scheme and os.path.exists(local) else word

    def _index(self, path: str) -> str:
        """Mount a local index, and those folders beside it that its pages link to.

        By convention the files are in ``../../files/``. Mounting everything above the index would
        be simpler, and could show a whole home folder to a Dockerfile of unknown origin.
        """
        path = path.rstrip("/")
        above, _, name = path.rpartition("/")
        beside = [folder for folder in _linked_beside(path) if os.path.isdir(f"{above}/{folder}")]
        if not beside:
            return self._mount(path)
        inside = f"{len(self._mounted)}-index"
        for folder in (name, *beside):
            self._mount(f"{above}/{folder}", f"{inside}/{folder}")
        return self._mounted[path]

    def _mount(self, path: str, inside: str = "") -> str:
        """Mount a file or folder of the host, read-only; return its path in the container."""
        if path not in self._mounted:
            inside = inside or f"{len(self._mounted)}-{os.path.basename(path)}"
            point = self._folder / "mounts" / inside
            point.parent.mkdir(parents=True, exist_ok=True)
            if os.path.isdir(path):
                point.mkdir()
            else:
                point.touch()
            self._mounted[path] = f"{FOLDER}/mounts/{inside}"
            self.binds.append(Bind(Path(path), self._mounted[path]))
        return self._mounted[path]


def _linked_beside(index: str) -> list[str]:
    """Return the folders beside an index that its pages link to."""
    names: set[str] = set()
    for page in Path(index).glob("*/index.html"):
        names.update(_SIBLING.findall(page.read_text(encoding="utf-8", errors="replace")))
    return sorted(names)
