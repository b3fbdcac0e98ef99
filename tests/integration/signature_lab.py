"""Keys to sign with, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

KINDS = {
    "p256": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "ed25519": ("-algorithm", "ed25519"),
}


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def make_key(folder: Path, name: str, kind: str = "ed25519") -> tuple[str, str]:
    """Return the paths of a private and a public key."""
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    openssl("genpkey", *KINDS[kind], "-out", private)
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    return str(private), str(public)
