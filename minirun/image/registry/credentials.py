"""Who we are to a registry: ``~/.docker/config.json``, shared with docker, podman and skopeo.

    {"auths": {"host:5000": {"auth": "base64 of user:password"}},
     "credHelpers": {"ghcr.io": "pass"},          one helper for one registry
     "credsStore": "secretservice"}               one for all others

A helper is a program ``docker-credential-NAME`` that reads a line and writes JSON, so the secret is
where the user's keyring is. What this file says beyond the above is kept as it is.

See: docker login, github.com/docker/docker-credential-helpers. Next: ``auth.py``.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import json
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

from ...errors import ImageError
from ...record import Record

_HELPER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_HELPER_SECONDS = 60
_LIMIT_BYTES = 1 << 20
_NOT_FOUND = "credentials not found in native keychain"
#: A helper gives this for a user name where the secret is an identity token.
_TOKEN_USER = "<token>"


class Credential(Record):
    """A user and a password, or a token that stands for both."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        """Return the user alone: secrets stay out of logs and tracebacks."""
        return f"Credential(username={self.username!r})"


class Keychain:
    """The credentials of one user.

    Args:
        path: of config.json; "" takes DOCKER_CONFIG, else ``~/.docker``.
    """

    def __init__(self, path: str = "") -> None:
        folder = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
        self.path = path or os.path.join(folder, "config.json")

    def find(self, registry: str) -> Credential | None:
        """Return what is known for a registry, or None.

        Raises:
            ImageError: the file or a helper is broken.
        """
        config = self._read()
        helper = _helper(config, registry)
        if helper:
            return _from_helper(helper, registry)
        entries = _table(config, "auths", self.path)
        exact = entries.get(registry)
        same = (entry for name, entry in entries.items() if host_of(name) == host_of(registry))
        entry = exact if exact is not None else next(same, None)
        return _decode(entry, registry, self.path) if isinstance(entry, dict) else None

    def keep(self, registry: str, credential: Credential) -> str:
        """Store credentials; returns where they are now: the file, or a helper's name."""
        with self._changing() as config:
            if helper := _helper(config, registry):
                user = _TOKEN_USER if credential.identity_token else credential.username
                secret = credential.identity_token or credential.password
                request = {"ServerURL": registry, "Username": user, "Secret": secret}
                _ask(helper, "store", json.dumps(request))
                config.setdefault("auths", {})[registry] = {}
                return f"docker-credential-{helper}"
            config.setdefault("auths", {})[registry] = _encode(credential)
        return self.path

    def forget(self, registry: str) -> bool:
        """Remove credentials; returns False where there were none."""
        with self._changing() as config:
            helper = _helper(config, registry)
            gone = helper != "" and _from_helper(helper, registry) is not None
            if gone:
                _ask(helper, "erase", registry)
            entries = _table(config, "auths", self.path)
            names = [name for name in entries if host_of(name) == host_of(registry)]
            for name in names:
                del entries[name]
        return gone or bool(names)

    def _read(self) -> dict[str, Any]:
        try:
            with open(self.path, "rb") as file:
                raw = file.read(_LIMIT_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ImageError(f"{self.path}: {os.strerror(error.errno or 0).lower()}") from error
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise ImageError(f"{self.path} is not JSON: {error}") from error
        if len(raw) > _LIMIT_BYTES or not isinstance(found, dict):
            raise ImageError(f"{self.path} is not a Docker configuration")
        return found

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """Yield the configuration, and write it back: whole, for its owner's eyes only."""
        path = os.path.realpath(self.path)  # it may be a link into a folder of dotfiles
        folder = os.path.dirname(path)
        try:
            os.makedirs(folder, 0o700, exist_ok=True)
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            config = self._read()
            yield config
            _replace(path, json.dumps(config, indent="\t").encode() + b"\n")
        except OSError as error:
            raise _unwritable(self.path, error) from error
        finally:
            os.close(lock)


def host_of(name: str) -> str:
    """Return the host in a key of config.json, which may be a URL.

    >>> host_of("https://index.docker.io/v1/")
    'index.docker.io'
    """
    return name.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _table(config: dict[str, Any], name: str, path: str) -> dict[str, Any]:
    found = config.get(name, {})
    if not isinstance(found, dict):
        raise ImageError(f"{path}: {name} is not an object")
    return found


def _helper(config: dict[str, Any], registry: str) -> str:
    """Return the name of the helper for a registry, or ""."""
    helpers = config.get("credHelpers")
    by_host = helpers if isinstance(helpers, dict) else {}
    name = by_host.get(registry) or by_host.get(host_of(registry)) or config.get("credsStore") or ""
    if name and not (isinstance(name, str) and _HELPER_NAME.fullmatch(name)):
        raise ImageError(f"credential helper {name!r} is not the name of one")
    return str(name)


def _from_helper(helper: str, registry: str) -> Credential | None:
    answer = _ask(helper, "get", registry)
    if not answer:
        return None
    try:
        found = json.loads(answer)
        user, secret = str(found["Username"]), str(found["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise ImageError(f"docker-credential-{helper} does not answer with credentials") from error
    if user == _TOKEN_USER:
        return Credential(identity_token=secret)
    return Credential(user, secret)


def _ask(helper: str, action: str, text: str) -> str:
    """Run a helper; returns "" where it knows nothing."""
    program = f"docker-credential-{helper}"
    hint = f"install it, or remove {helper!r} from Docker's config.json"
    argv = [program, action]
    try:
        done = subprocess.run(
            argv, input=text, capture_output=True, text=True, check=False, timeout=_HELPER_SECONDS
        )
    except FileNotFoundError as error:
        raise ImageError(f"credential helper {program} is not in PATH", hint=hint) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ImageError(f"credential helper {program} did not run: {error}") from error
    if done.returncode == 0:
        return done.stdout
    said = (done.stdout.strip() or done.stderr.strip())[:200]
    if action != "store" and said == _NOT_FOUND:
        return ""
    raise ImageError(f"credential helper {program} failed: {said or 'it said nothing'}")


def _decode(entry: dict[str, Any], registry: str, path: str) -> Credential | None:
    username, password = entry.get("username", ""), entry.get("password", "")
    if entry.get("auth"):
        try:
            pair = base64.b64decode(str(entry["auth"])).rstrip(b"\0").decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ImageError(f"{path}: auth of {registry} is not base64") from error
        username, colon, password = pair.partition(":")
        if not colon:
            raise ImageError(f"{path}: auth of {registry} is not USER:PASSWORD")
    found = Credential(
        str(username),
        str(password),
        str(entry.get("identitytoken", "")),
        str(entry.get("registrytoken", "")),
    )
    return found if found != Credential() else None


def _encode(credential: Credential) -> dict[str, str]:
    pair = f"{credential.username}:{credential.password}".encode()
    entry = {"auth": base64.b64encode(pair).decode()}
    if credential.identity_token:
        entry["identitytoken"] = credential.identity_token
    return entry


def _replace(path: str, data: bytes) -> None:
    """Replace a file, whole or not at all. Needs the lock of its folder."""
    part = f"{path}.{os.getpid()}.part"
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            os.fchmod(fd, 0o600)
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.rename(part, path)
    except BaseException:
        os.unlink(part)
        raise


def _unwritable(path: str, error: OSError) -> ImageError:
    what = os.strerror(error.errno or 0).lower()
    return ImageError(f"{path}: {what}", hint="set DOCKER_CONFIG to a folder of your own")
