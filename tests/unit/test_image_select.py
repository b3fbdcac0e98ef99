from __future__ import annotations

import doctest

import pytest

from minirun.errors import UsageError
from minirun.image import edit
from minirun.image.edit import changed
from minirun.image.model import ContainerConfig, Descriptor, ImageConfig, Manifest, RootFs
from minirun.image.select import LIST_KEYS, PRUNE_KEYS, matching
from minirun.image.store import Image

NOW_NS = 1_700_000_000 * 10**9
NOTHING = Descriptor("", f"sha256:{'0' * 64}", 0)


def image(number: int, name: str = "", age_h: int = 0, **labels: str) -> Image:
    created = f"2023-11-14T{22 - age_h:02}:00:00Z"
    config = ImageConfig(
        "amd64", "linux", RootFs("layers"), ContainerConfig(labels=labels), created=created
    )
    names = (f"docker.io/library/{name}",) if name else ()
    manifest = Manifest(2, NOTHING, ())
    return Image(f"sha256:{number:064}", names, (), NOTHING, manifest, config, "/nowhere")


IMAGES = [
    image(1, "app:1", age_h=9, stage="test"),
    image(2, "app:2", age_h=5, stage="live"),
    image(3, "base:1", age_h=3),
    image(4),
]


def chosen(*filters: str) -> list[int]:
    return [int(found.id[7:]) for found in matching(IMAGES, filters, LIST_KEYS, NOW_NS)]


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        (("dangling=true",), [4]),
        (("dangling=0", "label=stage"), [1, 2]),
        (("label=stage=live",), [2]),
        (("label!=stage",), [3, 4]),
        (("until=4h",), [1, 2]),
        (("before=app:2",), [1]),
        (("since=app:2",), [3, 4]),
        (("reference=app",), [1, 2]),
        (("reference=*:1",), [1, 3]),
        (("reference=app:2", "reference=base"), [2, 3]),
    ],
)
def test_matching_understands_docker_s_filters(
    filters: tuple[str, ...], numbers: list[int]
) -> None:
    assert chosen(*filters) == numbers


@pytest.mark.parametrize("text", ["color=red", "until", "until=soon", "before=x", "dangling=maybe"])
def test_matching_refuses_what_is_no_filter(text: str) -> None:
    with pytest.raises(UsageError):
        chosen(text)


def test_matching_takes_fewer_keys_for_prune() -> None:
    with pytest.raises(UsageError, match="invalid filter 'dangling=true'"):
        matching(IMAGES, ["dangling=true"], PRUNE_KEYS, NOW_NS)


def test_changed_applies_instructions_in_order() -> None:
    config = changed(
        ContainerConfig(env=("A=1",)),
        ["ENV B=$A", "EXPOSE 80", "WORKDIR srv", 'ENTRYPOINT ["x"]', "LABEL k=v", "USER ada"],
    )
    assert config.env == ("A=1", "B=1")
    assert (config.working_dir, config.entrypoint, config.user) == ("/srv", ("x",), "ada")
    assert list(config.exposed_ports) == ["80/tcp"]


@pytest.mark.parametrize("line", ["RUN true", "COPY a b", "FROM x", "nonsense", "EXPOSE 99999"])
def test_changed_refuses_what_changes_files_or_is_wrong(line: str) -> None:
    with pytest.raises(Exception, match="--change"):
        changed(ContainerConfig(), [line])


def test_docstrings_are_true() -> None:
    assert doctest.testmod(edit).failed == 0
