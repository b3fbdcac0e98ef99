"""``serve``: be the scheduler. Everything is imported here, and nowhere else in this package.

Next: ``../serve.py``.
"""

from __future__ import annotations

import gc
from pathlib import Path

import click

from minirun import MinirunError

GATEWAY = "127.0.0.1:8800"


@click.command()
@click.option(
    "--gateway",
    default=GATEWAY,
    metavar="HOST:PORT",
    help=f"Where predictions are answered; none for a Unix socket alone ({GATEWAY}).",
)
@click.option("--gateway-tls", default="", metavar="HOST:PORT", help="And with TLS.")
@click.option(
    "--gateway-pem",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Its certificate and key, in one file.",
)
@click.option(
    "--publish-on",
    default="127.0.0.1",
    metavar="ADDRESS",
    help="Where published ports are answered (127.0.0.1).",
)
@click.option("--listen", default="", metavar="HOST:PORT", help="The API over TCP, with TLS.")
@click.option("--tls-cert", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--group", default="", help="Who may use the API's Unix socket, besides root.")
@click.option(
    "--gpu",
    "gpus",
    multiple=True,
    metavar="DEVICE",
    help="A device node that counts as one GPU, or none; repeatable (/dev/nvidia0, 1, …).",
)
@click.option(
    "--allow-mount",
    "mounts",
    multiple=True,
    metavar="PATH",
    help="A path of this host that tokens of scope deploy may mount, too; repeatable.",
)
def serve_command(
    gateway: str, gateway_tls: str, gateway_pem: Path | None, publish_on: str,
    listen: str, tls_cert: Path | None, tls_key: Path | None, group: str,
    gpus: tuple[str, ...], mounts: tuple[str, ...],
) -> int:  # fmt: skip
    """Start the scheduler: API, control loops, gateway.

    It ends on SIGTERM and Ctrl-C; replicas and gateway go on, and the next one takes them over.

    \b
      minisched serve
      minisched serve --listen 0.0.0.0:8443 --tls-cert cert.pem --tls-key key.pem
    """  # noqa: D301
    _check(listen, tls_cert, tls_key, gateway_tls, gateway_pem)
    _check_address(publish_on)
    # What is imported stays: to look through it for garbage is a sixth of the time until the API
    # answers, and would be repeated at every full collection later on.
    gc.disable()
    from ..places import default_places
    from ..serve import Options, serve

    gc.freeze()
    gc.enable()
    options = Options(
        places=default_places(),
        gateway="" if gateway == "none" else gateway,
        gateway_tls=gateway_tls,
        gateway_pem=gateway_pem,
        publish_on=publish_on,
        listen=listen,
        tls_cert=tls_cert,
        tls_key=tls_key,
        socket_group=group,
        gpus=() if gpus == ("none",) else gpus or None,
        mounts=mounts,
    )
    return serve(options)


def _check_address(publish_on: str) -> None:
    """Refuse now what would be no address when the first port is published.

    Raises:
        MinirunError: it is no IP address.
    """
    import ipaddress

    try:
        ipaddress.ip_address(publish_on)
    except ValueError as error:
        hint = "an address of this host; 0.0.0.0 is all of them"
        raise MinirunError(f"--publish-on: {publish_on!r} is no IP address", hint=hint) from error


def _check(
    listen: str, cert: Path | None, key: Path | None, gateway_tls: str, pem: Path | None
) -> None:
    """Refuse half of an encryption: a token must not be sent in the clear.

    Raises:
        MinirunError: an address without its certificate, or the reverse.
    """
    if bool(listen) != bool(cert) or bool(cert) != bool(key):
        hint = "the API over TCP takes a token, so it is encrypted: --listen --tls-cert --tls-key"
        raise MinirunError("--listen, --tls-cert and --tls-key go together", hint=hint)
    if bool(gateway_tls) != bool(pem):
        raise MinirunError("--gateway-tls and --gateway-pem go together")
