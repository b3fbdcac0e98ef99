"""Image names, against the cases of distribution/reference's own tests."""

from __future__ import annotations

import doctest

import pytest

from minirun.errors import ImageError
from minirun.image import reference
from minirun.image.reference import parse

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
        ("ubuntu:22.04", "docker.io/library/ubuntu:22.04", "ubuntu:22.04"),
        ("library/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
        ("docker.io/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
        ("index.docker.io/library/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
        ("dmcgowan/private", "docker.io/dmcgowan/private:latest", "dmcgowan/private:latest"),
        ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest", "localhost:5000/app:latest"),
        ("[::1]:5000/app:x", "[::1]:5000/app:x", "[::1]:5000/app:x"),
        ("Registry/app", "Registry/app:latest", "Registry/app:latest"),
        ("app@" + DIGEST, "docker.io/library/app@" + DIGEST, "app@" + DIGEST),
        ("h:1/a__b-c.d:t@" + DIGEST, "h:1/a__b-c.d:t@" + DIGEST, "h:1/a__b-c.d:t@" + DIGEST),
    ],
)
def test_parse_normalises_as_docker_does(text: str, full: str, familiar: str) -> None:
    found = parse(text)
    assert (str(found), found.familiar) == (full, familiar)
    assert parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "empty"),
        (":tag", "no repository"),
        ("Ubuntu", "bad repository 'Ubuntu'"),
        ("a//b", "bad repository ''"),
        ("a/b_-c", "bad repository 'b_-c'"),
        ("a/../b", "bad repository '..'"),
        ("-host.x/a", "bad registry '-host.x'"),
        ("host.x:port/a", "bad registry 'host.x:port'"),
        ("a:", "bad tag ''"),
        ("a:.x", "bad tag '.x'"),
        ("a:" + "x" * 129, "bad tag"),
        ("a\N{CYRILLIC SMALL LETTER A}", "bad repository"),
        ("a@sha256:12", "bad digest 'sha256:12'"),
        ("a@md5:" + "0" * 32, "bad digest"),
        ("0" * 64, "bad repository"),
        ("a" * 260, "longer than 255"),
    ],
)
def test_parse_says_which_part_is_bad(text: str, part: str) -> None:
    with pytest.raises(ImageError, match="image name") as caught:
        parse(text)
    assert part in caught.value.message


def test_parse_uses_the_registry_it_is_given() -> None:
    assert str(parse("app", "")) == "app:latest"
    assert str(parse("app", "registry.local:5000")) == "registry.local:5000/app:latest"


def test_docstrings_are_true() -> None:
    assert doctest.testmod(reference).failed == 0
