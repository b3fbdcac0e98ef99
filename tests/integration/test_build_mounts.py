"""``RUN --mount``: what a command sees while it runs, and what of that is found afterwards."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from minirun.errors import ImageError
from minirun.image.build_agent import agent_socket
from minirun.image.build_caches import Caches
from minirun.image.build_secrets import Secret
from minirun.image.dockerfile import DockerfileError
from tests.integration.build_lab import Workshop

pytestmark = pytest.mark.requires("root", "overlay")
TOKEN = "very-secret-value-1234"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    made = Workshop(tmp_path_factory.mktemp("build"))
    made.make_base()
    return made


def everything(top: str) -> Iterator[bytes]:
    """Yield the content of every file below a folder."""
    for folder, _, names in os.walk(top):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path.read_bytes()


# ---- bind ---------------------------------------------------------------------------------------


def test_bind_shows_the_context_without_what_is_ignored(shop: Workshop) -> None:
    shop.write({".dockerignore": "hidden\n", "src/a": "A", "src/b": "B", "hidden": "no"})
    image = shop.build("""
        FROM base
        WORKDIR /w
        RUN --mount=target=/ctx --mount=type=bind,source=src/a,target=one \
            cat one > /said; ls /ctx >> /said; stat -c %u /ctx/src/a >> /said; \
            touch /ctx/x 2>/dev/null || echo read-only >> /said
        """)
    assert shop.read(image, "/said") == "ADockerfile\nsrc\n0\nread-only\n"
    assert shop.top_layer(image) == ["said"], "mount points leave with their mounts"


def test_bind_of_the_context_is_part_of_the_key(shop: Workshop) -> None:
    shop.write({"key/f": "1"})
    text = "FROM base\nRUN --mount=source=key,target=/k cat /k/f > /f\n"
    shop.build(text)
    shop.build(text)
    assert shop.cached == 1
    shop.write({"key/f": "2"})
    assert shop.read(shop.build(text), "/f") == "2"


def test_bind_takes_a_stage_and_what_is_written_there_is_lost(shop: Workshop) -> None:
    image = shop.build("""
        FROM base AS tools
        RUN mkdir -p /t; echo tool > /t/f
        RUN echo more > /t/g
        FROM base
        RUN --mount=from=tools,source=/t,target=/mnt,rw cat /mnt/f /mnt/g > /said; echo x > /mnt/h
        RUN --mount=from=tools,source=/t/f,target=/file cat /file > /again
        RUN --mount=from=tools,target=/all ls /all/t > /listed; touch /all/x || true
        """)
    assert shop.read(image, "/said") == "tool\nmore\n"
    assert shop.read(image, "/again") == "tool\n"
    assert shop.read(image, "/listed") == "f\ng\n"
    for layer in (Path(shop.store.root) / "layers").iterdir():
        assert not (layer / "diff/t/h").exists()
        assert not (layer / "diff/x").exists()


def test_bind_source_never_leads_out_of_its_tree(shop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (shop.context / "up").symlink_to(tmp_path)
    with pytest.raises(DockerfileError, match="is not in the build context"):
        shop.build("FROM base\nRUN --mount=source=up/secret,target=/s cat /s\n")
    (shop.context / "up").unlink()
    with pytest.raises(DockerfileError, match="'/up/secret' is not in evil"):
        shop.build(f"""
            FROM base AS evil
            RUN ln -s {tmp_path} /up
            FROM base
            RUN --mount=from=evil,source=/up/secret,target=/s cat /s
            """)


# ---- cache and tmpfs ----------------------------------------------------------------------------


def test_cache_lasts_and_is_in_no_layer(shop: Workshop) -> None:
    text = """
        FROM base
        RUN --mount=type=cache,target=/c,uid=7,mode=0750 echo {0} >> /c/log; cp /c/log /log{0}
        """
    assert shop.read(shop.build(text.format(1)), "/log1") == "1\n"
    image = shop.build(text.format(2))
    assert shop.read(image, "/log2") == "1\n2\n"
    assert shop.top_layer(image) == ["log2"]
    folder = next(path for name, path in Caches(shop.store.root).all() if name == "/c")
    facts = (folder / "data").stat()
    assert (facts.st_uid, stat.S_IMODE(facts.st_mode)) == (7, 0o750)


def test_cache_begins_with_what_from_has(shop: Workshop) -> None:
    image = shop.build("""
        FROM base AS seed
        RUN mkdir /seed; echo sown > /seed/f
        FROM base
        RUN --mount=type=cache,id=seeded,target=/c,from=seed,source=/seed cp /c/f /grown
        RUN --mount=type=cache,id=seeded,target=/c,ro touch /c/x || echo refused > /ro
        """)
    assert (shop.read(image, "/grown"), shop.read(image, "/ro")) == ("sown\n", "refused\n")


def test_cache_sharing_decides_who_waits(tmp_path: Path) -> None:
    caches = Caches(str(tmp_path))

    def nothing(_: Path) -> None:
        return

    with (
        caches.hold("a", "shared", nothing) as one,
        caches.hold("a", "shared", nothing) as two,
        caches.hold("a", "private", nothing) as own,
    ):
        assert one == two != own
        entered = threading.Event()

        def enter() -> None:
            with caches.hold("a", "locked", nothing):
                entered.set()

        waiting = threading.Thread(target=enter)
        waiting.start()
        assert not entered.wait(0.2)
        assert not caches.remove(one.parent), "a cache in use stays"
    waiting.join(10)
    assert entered.is_set()
    assert caches.remove(one.parent)


def test_steps_that_begin_with_an_empty_cache_share_it(tmp_path: Path) -> None:
    """Who found it being filled must not wait until the other's step is over."""
    filling, second = threading.Event(), threading.Event()

    def fill(_: Path) -> None:
        filling.set()
        assert not second.wait(0.2), "it is not there yet"

    def enter() -> None:
        filling.wait(20)
        with Caches(str(tmp_path)).hold("a", "shared", lambda _: None):
            second.set()

    late = threading.Thread(target=enter)
    late.start()
    with Caches(str(tmp_path)).hold("a", "shared", fill):
        assert second.wait(20)
    late.join()


def test_a_cache_that_could_not_be_filled_does_not_exist(tmp_path: Path) -> None:
    caches = Caches(str(tmp_path))

    def fail(_: Path) -> None:
        raise ImageError("no")

    with pytest.raises(ImageError), caches.hold("a", "shared", fail):
        pass
    with caches.hold("a", "shared", lambda new: (new / "f").write_text("x")) as data:
        assert (data / "f").read_text() == "x"


def test_tmpfs_is_empty_and_limited(shop: Workshop) -> None:
    image = shop.build("""
        FROM base
        RUN --mount=type=tmpfs,target=/tmp,size=64k \
            ls /tmp | wc -l > /n; dd if=/dev/zero of=/tmp/x bs=1k count=100 || echo full >> /n
        """)
    assert shop.read(image, "/n") == "0\nfull\n"


# ---- secrets and agents -------------------------------------------------------------------------


def test_secret_reaches_the_command_and_nothing_else(shop: Workshop) -> None:
    image = shop.build(
        """
        FROM base
        RUN --mount=type=secret,id=token wc -c < /run/secrets/token > /n
        RUN --mount=type=secret,id=token,target=/t,mode=0444,uid=5 stat -c '%a %u' /t >> /n
        RUN --mount=type=secret,id=token,env=TOKEN echo ${#TOKEN} >> /n
        RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent
        """,
        secrets={"token": Secret(TOKEN.encode())},
        tags=["secretive"],
    )
    assert shop.read(image, "/n") == f"{len(TOKEN)}\n444 5\n{len(TOKEN)}\n"
    assert not any(TOKEN.encode() in data for data in everything(shop.store.root))
    assert TOKEN not in repr(Secret(TOKEN.encode()))


def test_a_build_argument_s_value_is_in_no_part_of_the_image(shop: Workshop) -> None:
    text = "FROM base\nARG TOKEN\nRUN echo ${#TOKEN} > /length\n"
    image = shop.build(text, build_args={"TOKEN": "pr1vate-value"}, inline_cache=True)
    assert shop.read(image, "length") == "13\n"
    assert not any(b"pr1vate" in data for data in everything(shop.store.root))


def test_secret_changes_no_key(shop: Workshop) -> None:
    text = "FROM base\nRUN --mount=type=secret,id=k true > /key\n"
    shop.build(text, secrets={"k": Secret(b"one")})
    shop.build(text, secrets={"k": Secret(b"two")})
    assert shop.cached == 1


def test_what_is_required_and_missing_is_told(shop: Workshop) -> None:
    for kind, flag in (("secret", "--secret id=x,src=FILE"), ("ssh", "--ssh x")):
        with pytest.raises(DockerfileError, match="x is required, and was not given") as caught:
            shop.build(f"FROM base\nRUN --mount=type={kind},id=x,required true\n")
        assert caught.value.hint == f"build with {flag}"


def test_ssh_gives_a_socket_of_the_steps_own(shop: Workshop, tmp_path: Path) -> None:
    path = str(tmp_path / "agent")
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(path)
        image = shop.build(
            """
            FROM base
            RUN --mount=type=ssh,mode=0620,uid=5 stat -c '%n %a %u %F' $SSH_AUTH_SOCK > /said
            """,
            agents={"default": path},
        )
    assert shop.read(image, "/said") == "/run/buildkit/ssh_agent.0 620 5 socket\n"
    assert shop.top_layer(image) == ["said"]


def test_agent_socket_carries_bytes_both_ways(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent"))
        agent.listen()
        own = str(tmp_path / "own")
        with (
            agent_socket(own, str(tmp_path / "agent"), mode=0o600, uid=0, gid=0),
            socket.socket(socket.AF_UNIX) as client,
        ):
            client.connect(own)
            client.sendall(b"ask")
            near, _ = agent.accept()
            with near:
                assert near.recv(100) == b"ask"
                near.sendall(b"answer")
            assert client.recv(100) == b"answer"
            assert client.recv(100) == b"", "the agent hung up"


# ---- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mount", "problem"),
    [
        ("type=disk,target=/x", "unknown mount type 'disk'"),
        ("type=cache", "a mount of type cache needs a target"),
        ("type=tmpfs,target=/", "a mount cannot hide the root folder"),
        ("type=tmpfs,target=/x,size=many", "size=many: invalid size"),
        ("type=cache,target=/x,sharing=both", "unknown sharing mode 'both'"),
        ("type=cache,target=/x,mode=9", "mode=9 is not a mode"),
        ("type=secret", "a secret needs an id or a target"),
        ("type=secret,id=a,size=3", "a mount of type secret has no option size"),
        ("type=cache,tagret=/x", "unknown mount option tagret"),
        ("type=bind,target=/x,from=$A", "has a variable"),
        ("type=cache,target=/x,target=/y", "target is given twice"),
        ("target=/x,rw=perhaps", "rw=perhaps is neither true nor false"),
        ("type=bind,from=nonesuch,target=/x", "no such image: nonesuch"),
        ("source=nonesuch,target=/x", "'nonesuch' is not in the build context"),
        ("type=tmpfs,target=/bin/busybox", "not a directory (bin/busybox)"),
    ],
)
def test_a_mount_that_means_nothing_is_refused(shop: Workshop, mount: str, problem: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        shop.build(f"FROM base\nRUN --mount={mount} true\n")
    assert caught.value.message.startswith(
        (f"{shop.context}/Dockerfile:2: ", f"{os.path.relpath(shop.context)}/Dockerfile:2: ")
    )
    assert problem in caught.value.message
