"""The JSON of images: what is read, what is refused, and where the refusal points."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minirun.errors import ImageError
from minirun.image import model
from minirun.image.model import ContainerConfig, ImageConfig, Index, Manifest, parse
from minirun.record import Record

DIGEST = "sha256:" + "ab" * 32
DESCRIPTOR = {"mediaType": model.OCI_CONFIG, "digest": DIGEST, "size": 7}
MANIFEST = {"schemaVersion": 2, "config": DESCRIPTOR, "layers": [DESCRIPTOR]}
CONFIG = {
    "architecture": "arm64",
    "variant": "v8",
    "os": "linux",
    "created": "2024-01-01T00:00:00Z",
    "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
    "history": [{"created_by": "RUN x"}, {"created_by": "ENV", "empty_layer": True}],
    "config": {
        "Env": ["A=b"],
        "Cmd": None,
        "Entrypoint": ["/app"],
        "WorkingDir": "/srv",
        "User": "1000:1000",
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/data": {}},
        "Labels": {"a": "b"},
        "StopSignal": "SIGQUIT",
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 10**9, "Retries": 3},
        "Shell": ["/bin/bash", "-c"],
        "OnBuild": ["RUN y"],
        "SomethingNew": 1,
    },
}


def _read(cls: type[Record], value: object) -> Record:
    return parse(cls, json.dumps(value).encode(), "it")


def test_parse_reads_every_field_of_a_config() -> None:
    config = parse(ImageConfig, json.dumps(CONFIG).encode(), "config")
    inner = config.config
    assert (config.architecture, config.variant, config.rootfs.diff_ids) == (
        "arm64",
        "v8",
        (DIGEST,),
    )
    assert [step.empty_layer for step in config.history] == [False, True]
    assert (inner.env, inner.cmd, inner.entrypoint) == (("A=b",), (), ("/app",))
    assert (inner.user, inner.working_dir, inner.stop_signal) == ("1000:1000", "/srv", "SIGQUIT")
    assert ([*inner.exposed_ports], [*inner.volumes]) == (["80/tcp"], ["/data"])
    assert inner.healthcheck == model.Healthcheck(("CMD", "true"), 10**9, retries=3)


def test_dump_gives_back_what_was_read() -> None:
    config = parse(ImageConfig, json.dumps(CONFIG).encode(), "config")
    again = parse(ImageConfig, model.dump(config), "config")
    assert again == config
    assert json.loads(model.dump(config))["config"]["ExposedPorts"] == {"80/tcp": {}}
    assert model.dump(ContainerConfig()) == b"{}"


def _with(base: dict[str, Any], **changes: object) -> dict[str, Any]:
    return {**base, **changes}


@pytest.mark.parametrize(
    ("cls", "value", "place"),
    [
        (Manifest, [], "$: expected an object"),
        (Manifest, {}, "$.schemaVersion"),
        (Manifest, _with(MANIFEST, layers={}), "$.layers: expected an array"),
        (Manifest, _with(MANIFEST, layers=[_with(DESCRIPTOR, size="1")]), "$.layers[0].size"),
        (Manifest, _with(MANIFEST, layers=[_with(DESCRIPTOR, size=-1)]), "$.layers[0].size"),
        (Manifest, _with(MANIFEST, config=_with(DESCRIPTOR, digest="sha256:../x")), "$.config.dig"),
        (Manifest, _with(MANIFEST, config=_with(DESCRIPTOR, digest="sha512:0")), "$.config.dig"),
        (Index, {"schemaVersion": 2, "manifests": [{}]}, "$.manifests[0].mediaType"),
        (ImageConfig, _with(CONFIG, config={"Env": "A"}), "$.config.Env: expected an array"),
        (ImageConfig, _with(CONFIG, config={"Env": ["a\0b"]}), "$.config.Env[0]"),
        (ImageConfig, _with(CONFIG, rootfs={"type": "x"}), "$.rootfs.type"),
        (
            ImageConfig,
            _with(CONFIG, rootfs={"type": "layers", "diff_ids": ["sha256:/etc"]}),
            "$.rootfs.diff_ids[0]",
        ),
    ],
)
def test_parse_names_the_path_of_what_is_wrong(
    cls: type[Record], value: object, place: str
) -> None:
    with pytest.raises(ImageError) as caught:
        _read(cls, value)
    assert caught.value.message.startswith(f"it: {place}")


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"schemaVersion":' + b"9" * 5000 + b"}", "not JSON"),
        (b" " * (model.MANIFEST_LIMIT_BYTES + 1), "more than the limit"),
    ],
)
def test_parse_survives_hostile_text(raw: bytes, problem: str) -> None:
    with pytest.raises(ImageError, match=problem):
        parse(Manifest, raw, "it")
