"""Where the API listens, and with which certificate: found out before anything is started.

A port that is taken, a certificate that cannot be read: whoever starts the scheduler is told at
once, and nothing has begun that would have to be undone. From then on clients may connect; they
are answered as soon as the rest is ready, instead of being turned away.

See: unix(7). Next: ``server.py``.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from minirun import MinirunError

BACKLOG = 512


@dataclass(frozen=True, slots=True)
class Binding:
    """Where the API listens.

    Args:
        path: of the Unix socket.
        group: who may use it beside its owner; "" for nobody.
        address: ``host:port`` of the TCP socket; "" for none.
        cert: its certificate chain.
        key: the certificate's key.
    """

    path: Path
    group: str = ""
    address: str = ""
    cert: Path | None = None
    key: Path | None = None

    def check(self) -> None:
        """Refuse what would send tokens in the clear, or could not be decrypted by anybody.

        Raises:
            MinirunError: TCP without TLS, or with files that are no certificate and its key.
        """
        if not self.address:
            return
        if not (self.cert and self.key):
            raise MinirunError(
                f"the API at {self.address} needs TLS: tokens would be sent in the clear",
                hint="give --tls-cert and --tls-key",
            )
        check_certificate(self.cert, self.key)

    def listen(self) -> list[socket.socket]:
        """Return the listening sockets, the Unix socket first.

        Raises:
            MinirunError: it is not possible there.
        """
        unix = _unix_socket(self)
        try:
            return [unix, _tcp_socket(self.address)] if self.address else [unix]
        except MinirunError:
            unix.close()
            raise


def check_certificate(cert: Path, key: Path) -> None:
    """Refuse files that are no certificate chain and the key that belongs to it.

    Raises:
        MinirunError: naming the file.
    """
    for file in (cert, key):
        try:
            file.open("rb").close()
        except OSError as error:
            text = f"{file}: {(error.strerror or '').lower()}"
            raise MinirunError(text, hint="a certificate and its key, as PEM files") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key, lambda: "")  # nobody is there to type a passphrase
    except OSError as error:
        where = f"{cert} and {key}" if cert != key else str(cert)
        hint = "PEM files: the chain, and the key that belongs to it, without a passphrase"
        raise MinirunError(f"{where} are no certificate and its key", hint=hint) from error


def _unix_socket(binding: Binding) -> socket.socket:
    """Return the listening socket, which the group may connect to; an old one is replaced."""
    made = socket.socket(socket.AF_UNIX)
    try:
        _bind(made, binding.path)
        if binding.group:
            shutil.chown(binding.path, group=binding.group)
    except LookupError as error:
        made.close()
        hint = "getent group lists them"
        raise MinirunError(f"there is no group {binding.group!r}", hint=hint) from error
    except OSError as error:
        made.close()
        hint = "MINISCHED_RUN names the folder of the socket"
        raise MinirunError(f"cannot listen at {binding.path}: {_why(error)}", hint=hint) from error
    made.listen(BACKLOG)
    return made


def _bind(made: socket.socket, path: Path) -> None:
    path.unlink(missing_ok=True)  # its owner has gone: we hold the folder
    umask = os.umask(0o117)
    try:
        made.bind(str(path))
    finally:
        os.umask(umask)


def _tcp_socket(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise MinirunError(f"cannot listen at {address!r}: it has no port", hint="HOST:PORT")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, int(port)), family=family, backlog=BACKLOG)
    except OSError as error:
        hint = "choose an address of this machine, and a port that nobody listens at"
        raise MinirunError(f"cannot listen at {address}: {_why(error)}", hint=hint) from error


def _why(error: OSError) -> str:
    # create_server adds the address to what the kernel said: os.strerror is the kernel alone.
    known = error.errno is not None and error.errno > 0
    return (os.strerror(error.errno or 0) if known else str(error)).lower()
