"""Small files that steer a build: .dockerignore, directives, modes, mounts, secrets."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.errors import ImageError, UsageError
from minirun.image.build_ignore import Ignore
from minirun.image.build_mode import parse_mode
from minirun.image.build_secrets import LIMIT_BYTES, parse_agents, parse_secrets
from minirun.image.dockerfile import DockerfileError, parse
from minirun.image.dockerfile_checks import remarks
from minirun.image.dockerfile_mounts import MountProblem, parse_mount

# ---- .dockerignore ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "hidden", "seen"),
    [
        # The cases of moby's patternmatcher, as far as they have a meaning on Linux.
        ("**", ["file", "dir/file"], []),
        ("**/", ["file", "dir/file"], []),
        ("**/**", ["dir/file", "dir/file/", "a/b/c"], []),
        ("dir/**", ["dir/file", "dir/dir2/file"], ["dir", "other/dir/x"]),
        ("**/dir", ["dir", "dir/file", "a/dir", "a/dir/b"], ["direct", "a/xdir"]),
        ("**/dir2/*", ["dir/dir2/file", "dir/dir2/dir3/file"], ["dir2", "dir/dir2"]),
        ("**file", ["file", "dir/file", "dir/afile"], ["files"]),
        ("**/file*txt", ["dir/file.txt", "file-txt"], ["a/xfile.txt"]),
        ("**/*.txt", ["x.txt", "a/b.txt"], ["txt"]),
        ("a**/*.txt", ["a/file.txt", "a/b/file.txt"], ["b/file.txt"]),
        ("a/*.txt", ["a/x.txt"], ["a/b/x.txt"]),
        ("a[b-d]e", ["ace"], ["aae"]),
        ("a[^b]e", ["ace"], ["abe"]),
        ("a\\*b", ["a*b"], ["axb"]),
        ("a.b", ["a.b"], ["axb"]),
        ("a+(b)", ["a+(b)"], ["aab"]),
        ("/a", ["a", "a/b"], ["b/a"]),
        ("./a/", ["a", "a/b"], []),
        ("b/../a", ["a"], ["b"]),
        ("../a", [], ["a"]),
        (".", [], ["a"]),
        ("#a\n #b", ["#b"], ["a", "#a"]),
        ("*\n!a", ["b"], ["a", "a/b"]),
        ("*\n! a\na/c", ["b", "a/c"], ["a/b"]),
        ("a\n!a/b\na/b/c", ["a/x", "a/b/c"], ["a/b"]),
        ("\ufeffa\r\n", ["a"], ["b"]),
    ],
)
def test_ignore_hides_what_docker_hides(text: str, hidden: list[str], seen: list[str]) -> None:
    rules = Ignore(text)
    assert [path for path in hidden if not rules.hides(path)] == []
    assert [path for path in seen if rules.hides(path)] == []


@pytest.mark.parametrize("text", ["!", "a[b", "a\\"])
def test_ignore_refuses_what_is_no_pattern(text: str) -> None:
    with pytest.raises(ImageError, match="bad pattern"):
        Ignore(text)


@given(st.text(alphabet="ab/*?[]!\\.^-\n #", max_size=20), st.text(alphabet="ab/.", max_size=8))
def test_ignore_answers_or_refuses_whatever_it_is_given(text: str, path: str) -> None:
    with suppress(ImageError):
        Ignore(text).hides(path)


# ---- directives, and what is odd ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("# syntax=example.com/other:1", "syntax example.com/other:1 is another language"),
        ("# check=skp=all", "unknown check option 'skp'"),
        ("# escape=x", "invalid escape character 'x'"),
        ("# syntax=docker/dockerfile:1\n# syntax=docker/dockerfile:1", "only one syntax"),
    ],
)
def test_directives_that_mean_nothing_are_refused(line: str, problem: str) -> None:
    with pytest.raises(DockerfileError, match=problem):
        parse(f"{line}\nFROM a\n")


@pytest.mark.parametrize(
    "name", ["docker/dockerfile:1.7-labs", "m.example:5000/docker/dockerfile@x"]
)
def test_syntax_of_docker_from_anywhere_is_read(name: str) -> None:
    assert parse(f"# syntax={name}\nFROM a\n").directives == {"syntax": name}


ODD = """\
FROM a as Build
MAINTAINER me
ENV key value
ARG GITHUB_TOKEN
ENV PUBLIC_KEY=x
CMD run this
cmd ["run"]
FROM b AS build
"""


def test_remarks_have_names_and_lines() -> None:
    found, is_error = remarks(parse(ODD))
    assert {(one.rule, one.line) for one in found} == {
        ("FromAsCasing", 1),
        ("StageNameCasing", 1),
        ("MaintainerDeprecated", 2),
        ("LegacyKeyValueFormat", 3),
        ("SecretsUsedInArgOrEnv", 3),
        ("SecretsUsedInArgOrEnv", 4),
        ("JSONArgsRecommended", 6),
        ("MultipleInstructionsDisallowed", 7),
        ("ConsistentInstructionCasing", 7),
        ("DuplicateStageName", 8),
    }
    assert not is_error


def test_remarks_can_be_skipped_and_made_errors() -> None:
    skipped, is_error = remarks(
        parse(f"# check=skip=FromAsCasing,stagenamecasing;error=true\n{ODD}")
    )
    assert is_error
    assert not {one.rule for one in skipped} & {"FromAsCasing", "StageNameCasing"}
    assert remarks(parse(f"# check=skip=all\n{ODD}")) == ([], False)


# ---- values of options --------------------------------------------------------------------------


@given(st.text(alphabet="ugoa+-=rwxXst,07", max_size=12), st.integers(0, 0o7777), st.booleans())
def test_mode_stays_a_mode_whatever_is_written(text: str, before: int, is_folder: bool) -> None:
    with suppress(ImageError):
        assert 0 <= parse_mode(text)(before, is_folder) <= 0o7777


@given(st.text(max_size=60))
def test_mount_is_read_or_refused_whatever_is_written(text: str) -> None:
    try:
        found = parse_mount(text, "/w")
    except MountProblem:
        return
    assert found.target.startswith("/") or found.kind in ("secret", "ssh")
    assert ".." not in found.target.split("/")


def test_mount_defaults_follow_its_kind() -> None:
    cache = parse_mount("type=cache,target=x", "/w")
    assert (cache.target, cache.id, cache.writable, cache.mode) == ("/w/x", "/w/x", True, 0o755)
    secret = parse_mount("type=secret,id=a,required", "/")
    assert (secret.target, secret.mode, secret.required) == ("/run/secrets/a", 0o400, True)
    assert parse_mount("type=secret,id=a,env=A", "/").target == ""
    assert not parse_mount("target=/x", "/").writable
    assert parse_mount("target=/x,readonly=false", "/").writable
    assert parse_mount('type=cache,"target=/a,b"', "/").target == "/a,b"


def test_secrets_come_from_files_and_variables(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("secret") / "token"
    file.write_bytes(b"of a file")
    texts = [f"id=a,src={file}", "id=b,env=B", "type=env,id=c,src=B", "id=B"]
    found = parse_secrets(texts, {"B": "of a variable"})
    assert {name: secret.content for name, secret in found.items()} == {
        "a": b"of a file", "b": b"of a variable", "c": b"of a variable", "B": b"of a variable",
    }  # fmt: skip
    file.write_bytes(bytes(LIMIT_BYTES + 1))
    with pytest.raises(UsageError, match="is larger than"):
        parse_secrets([f"id=a,src={file}"], {})
    with pytest.raises(UsageError, match="cannot read 'source'"):
        parse_secrets(["id=a,source"], {})


def test_an_agent_needs_a_socket() -> None:
    with pytest.raises(UsageError, match="SSH_AUTH_SOCK is not set") as caught:
        parse_agents(["default"], {})
    assert "ssh-agent" in caught.value.hint
