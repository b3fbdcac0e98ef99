"""Containers become images and archives, and archives become images."""

from __future__ import annotations

import io
import json
import os
import select
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minirun import Containers
from minirun.engine.home import Home
from tests.integration.cli_lab import MINIRUN, Cli, Terminal, fresh

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "busybox")


@pytest.fixture(scope="module")
def shared() -> Iterator[Cli]:
    with fresh() as made:
        yield made


@pytest.fixture
def cli(shared: Cli) -> Iterator[Cli]:
    yield shared
    shared.clear()


def ran(cli: Cli, name: str, script: str, *flags: str, image: str = "") -> None:
    """Run a script to its end in a container that stays."""
    words = ("--network", "none", *flags, image or str(cli.rootfs), "sh", "-ec", script)
    cli("run", "--name", name, *words)


def config_of(cli: Cli, image: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(cli("image", "inspect", image).out)[0]["Config"]
    return found


SCRIPT = """
mkdir /x; echo hi > /x/f; ln /x/f /x/again; ln -s f /x/link; chmod 6755 /x/f
rm /bin/wc; rm -r /root; mkdir /root; touch /root/new
"""


def test_commit_keeps_files_and_forgets_mounts(cli: Cli, tmp_path: Path) -> None:
    ran(cli, "one", SCRIPT, "-v", f"{tmp_path}/vol:/deep/er/vol")
    assert cli("diff", "one").out.split("\n") == [
        *("C /bin", "D /bin/wc", "C /root", "A /root/new", "A /x"),
        *("A /x/again", "A /x/f", "A /x/link", ""),
    ]
    image = cli("commit", "-m", "why", "-a", "Ada", "one", "made:1").out.strip()
    shown = cli(
        "run",
        "--rm",
        "--network",
        "none",
        "made:1",
        "sh",
        "-c",
        "stat -c '%A %h' /x/f; ls / /root; test ! -e /bin/wc",
    ).out
    assert shown.startswith("-rwsr-sr-x 2\n")
    assert "deep" not in shown
    assert "new" in shown
    history = json.loads(cli("history", "--format", "json", "made:1").out.splitlines()[0])
    assert history["Comment"] == "why"
    assert json.loads(cli("image", "inspect", image).out)[0]["Author"] == "Ada"


def test_what_is_mounted_over_is_in_no_container_and_in_no_image(cli: Cli, tmp_path: Path) -> None:
    """What if the image has no /etc/hosts to mount on? One layer has it, for all containers."""
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copytree(cli.rootfs / "bin", bare / "bin", symlinks=True)
    ran(cli, "bare", "test -e /etc/hosts; test -e /proc/self", image=str(bare))
    [upper] = cli.data.glob("containers/*/upper")
    assert not [path.name for path in upper.iterdir()]
    cli("commit", "bare", "bare")
    kept = [path for path in cli.data.glob("l/*") if (path / "etc/hosts").exists()]
    assert not kept
    assert (cli.data / "foundation/etc/hosts").exists()


def test_image_that_is_kept_in_mind_is_read_again_when_the_name_has_moved(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIRUN_DEFAULT_REGISTRY", "none")
    for name in ("low", "high"):
        ran(cli, name, f"echo {name} > /name")
        cli("commit", name, f"{name}:1")
    containers = Containers(Home(str(cli.data), str(cli.root)))
    cli("tag", "low:1", "now")
    before = containers.target("now")
    assert containers.target("now") == before
    cli("tag", "high:1", "now")
    assert containers.target("now").image_id == containers.target("high:1").image_id
    assert containers.target("now").image_id != before.image_id


def test_commit_applies_flags_and_changes(cli: Cli) -> None:
    ran(cli, "one", "true", "-e", "A=1", "-e", "B=2", "-w", "/tmp", "--label", "k=v")
    changes = ["-c", "ENV B=3", "-c", 'CMD ["echo", "hi"]', "-c", "EXPOSE 80/udp"]
    cli("commit", *changes, "one", "made:2")
    found = config_of(cli, "made:2")
    assert found["Env"] == ["A=1", "B=3"]
    assert (found["Cmd"], found["WorkingDir"]) == (["echo", "hi"], "/tmp")
    assert (found["Labels"], found["ExposedPorts"]) == ({"k": "v"}, {"80/udp": {}})
    assert cli("run", "--rm", "--network", "none", "made:2").out == "hi\n"
    assert "RUN" in cli.fails("commit", "-c", "RUN true", "one")


def test_commit_twice_shares_all_but_the_last_layer(cli: Cli) -> None:
    ran(cli, "one", "echo a > /a")
    cli("commit", "one", "first")
    ran(cli, "two", "echo b > /b", image="first")
    cli("commit", "two", "second")
    both = [
        json.loads(cli("image", "inspect", n).out)[0]["RootFS"]["Layers"]
        for n in ("first", "second")
    ]
    assert both[1][:2] == both[0]
    assert len(both[1]) == 3


def test_commit_of_a_user_namespace_has_the_container_s_owners(cli: Cli) -> None:
    ran(cli, "one", "echo x > /x; chown 7:8 /x; chmod 6755 /x; touch /etc/mine", "--userns", "auto")
    upper = json.loads(cli("inspect", "one").out)[0]["Minirun"]["Overlay"]["upper"]
    assert os.stat(f"{upper}/x").st_uid == 100007
    assert cli("diff", "one").out == "C /etc\nA /etc/mine\nA /x\n"
    cli("commit", "one", "mapped")
    words = (
        "run",
        "--rm",
        "--network",
        "none",
        "mapped",
        "busybox",
        "stat",
        "-c",
        "%u:%g %A",
        "/x",
        "/etc",
        "/bin/sh",
    )
    assert cli(*words).out.split("\n")[:2] == ["7:8 -rwsr-sr-x", "0:0 drwxr-xr-x"]
    exported = subprocess.run(
        [MINIRUN, "export", "one"],
        env=os.environ | cli.environment,
        capture_output=True,
        check=True,
    )
    with tarfile.open(fileobj=io.BytesIO(exported.stdout)) as archive:
        assert (archive.getmember("x").uid, archive.getmember("bin/busybox").uid) == (7, 0)


def test_commit_of_a_running_container_leaves_it_running(cli: Cli) -> None:
    container = cli.busy(command="echo a > /a; echo ready; sleep 1000")
    while "ready" not in cli("logs", container).out:
        pass
    cli("commit", container, "live")
    assert cli.field(container, ".State.Status") == "running"
    assert cli("run", "--rm", "--network", "none", "live", "cat", "/a").out == "a\n"


def test_commit_after_the_image_lost_its_blobs(cli: Cli) -> None:
    ran(cli, "base", "echo a > /a")
    cli("commit", "-c", "ENV KEPT=1", "base", "gone")
    ran(cli, "one", "echo b > /b", image="gone")
    cli("rmi", "-f", "gone")
    cli("commit", "one", "again")
    assert cli("run", "--rm", "--network", "none", "again", "cat", "/a", "/b").out == "a\nb\n"
    assert config_of(cli, "again")["Env"] == ["KEPT=1"]


def test_export_and_import_keep_every_attribute(cli: Cli, tmp_path: Path) -> None:
    ran(cli, "one", f"{SCRIPT} mkdir /tmp/s; chmod 1777 /tmp/s; chown 3:4 /tmp/s")
    cli("export", "-o", str(tmp_path / "flat.tar"), "one")
    with tarfile.open(tmp_path / "flat.tar") as archive:
        names = set(archive.getnames())
        assert archive.getmember("x/again").islnk() != archive.getmember("x/f").islnk()
        assert archive.getmember("x/f").mode == 0o6755
    assert not names & {"etc/hosts", "etc/resolv.conf", "etc/hostname", "bin/wc"}
    assert not any("/.wh." in name for name in names)
    cli(
        "import",
        "-c",
        'CMD ["busybox", "stat", "-c", "%a %u:%g", "/x/f", "/tmp/s"]',
        str(tmp_path / "flat.tar"),
        "flat",
    )
    assert cli("run", "--rm", "--network", "none", "flat").out == "6755 0:0\n1777 3:4\n"
    ran(cli, "two", "true", image="flat")
    assert cli("diff", "two").out == ""
    subprocess.run(["gzip", str(tmp_path / "flat.tar")], check=True)
    assert cli("import", str(tmp_path / "flat.tar.gz")).out.startswith("sha256:")


def test_import_takes_files_only(cli: Cli, tmp_path: Path) -> None:
    assert "only files" in cli.fails("import", "http://example.org/x.tar")
    assert "is a directory" in cli.fails("import", str(tmp_path))
    assert "arm64" in cli.fails("import", "--platform", "linux/arm64", "-")


def test_import_refuses_a_hostile_or_cut_archive_and_keeps_nothing(
    cli: Cli, tmp_path: Path
) -> None:
    hostile = tmp_path / "hostile.tar"
    with tarfile.open(hostile, "w") as archive:
        archive.addfile(tarfile.TarInfo("../../etc/cron.d/x"))
    before = cli("system", "df").out
    assert "'..'" in cli.fails("import", str(hostile))
    cut = tmp_path / "cut.tar"
    with tarfile.open(cut, "w") as archive:
        archive.add(cli.rootfs / "bin/busybox", "busybox")
    cut.write_bytes(cut.read_bytes()[:5000])
    assert "truncated" in cli.fails("import", str(cut))
    assert cli("system", "df").out == before
    assert os.listdir(cli.data / "tmp") == []


def test_an_archive_without_room_is_one_error(cli: Cli, tmp_path: Path) -> None:
    ran(cli, "one", "true")
    cli("commit", "one", "small")
    for words in (("save", "small"), ("export", "one")):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [MINIRUN, *words],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | cli.environment,
                check=False,
            )
        assert done.returncode == 125
        assert done.stderr.count("\n") == 2
        assert "cannot write to standard output: no space left on device" in done.stderr
        assert "cannot write to /dev/full" in cli.fails(*words[:1], "-o", "/dev/full", words[1])
    assert "its directory must exist" in cli.fails(
        "save", "-o", str(tmp_path / "no/x.tar"), "small"
    )
    assert os.listdir(tmp_path) == []


def test_save_gives_the_names_that_were_asked_for(cli: Cli, tmp_path: Path) -> None:
    ran(cli, "one", "true")
    image_id = cli("commit", "one", "asked:1").out.strip()
    cli("tag", "asked:1", "asked:2")
    cli("tag", "asked:1", "other.example/secret:1")
    path = str(tmp_path / "x.tar")
    for words, names in (
        (("asked:1",), ["asked:1"]),
        (("asked:1", "asked:2"), ["asked:1", "asked:2"]),
        ((image_id,), []),
    ):
        cli("save", "-o", path, *words)
        with tarfile.open(path) as tar:
            manifest, index = (tar.extractfile(n) for n in ("manifest.json", "index.json"))
            assert manifest is not None
            assert index is not None
            assert [item["RepoTags"] for item in json.load(manifest)] == [names]
            assert len(json.load(index)["manifests"]) == max(1, len(names))
    cli("rmi", "asked:1", "asked:2", "other.example/secret:1")


def test_a_compressed_archive_that_is_a_bomb_is_refused(cli: Cli, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "zeros.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("zeros")
        member.size = 4 << 20
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    tight = Cli(cli.data, cli.root, cli.rootfs, cli.bridge, {"MINIRUN_LAYER_LIMITS": "size=1M"})
    for words in (("load", "-i"), ("import",)):
        said = tight.fails(*words, str(tmp_path / "zeros.tar.gz"))
        assert " than 1048576 bytes" in said
        assert "hint: if you trust it, MINIRUN_LAYER_LIMITS=size=2097152" in said


def test_load_of_what_is_no_archive_is_explained(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for what, problem in (
        (str(tmp_path), "is no OCI image layout"),
        (str(tmp_path / "nothing"), "no such file"),
        (str(tmp_path / "empty"), "is empty"),
    ):
        said = cli.fails("load", "-i", what)
        assert problem in said
        assert "hint: " in said


def test_a_reader_that_leaves_ends_a_save_quietly(cli: Cli) -> None:
    ran(cli, "one", "true")
    cli("commit", "one", "small")
    line = f"{shlex.quote(str(MINIRUN))} save small | head -c 1 >/dev/null; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        env=os.environ | cli.environment,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("141\n", "")


def test_load_of_a_cut_archive_is_one_error_and_leaves_nothing(cli: Cli, tmp_path: Path) -> None:
    ran(cli, "one", "true")
    cli("commit", "one", "small")
    cli("rm", "one")
    for flags in ((), ("--oci",)):
        cli("save", *flags, "-o", str(tmp_path / "whole.tar"), "small")
        whole = (tmp_path / "whole.tar").read_bytes()
        cli("image", "prune", "-af")
        for size in (100, len(whole) // 2, len(whole) - 100_000):
            (tmp_path / "cut.tar").write_bytes(whole[:size])
            cli.fails("load", "-i", str(tmp_path / "cut.tar"))
            assert cli("images", "-q").out == ""
        assert "Loaded image: small:latest" in cli("load", "-i", str(tmp_path / "whole.tar")).out
    assert os.listdir(cli.data / "tmp") == []


def test_a_long_save_draws_a_bar_on_a_terminal(cli: Cli, tmp_path: Path) -> None:
    ran(cli, "one", "dd if=/dev/urandom of=/big bs=1M count=4")
    cli("commit", "one", "big")
    os.mkfifo(tmp_path / "slow")
    terminal = Terminal(cli, "save", "-o", str(tmp_path / "slow"), "big")
    with open(tmp_path / "slow", "rb", buffering=0) as slow:
        slow.read(1)  # its first write has begun, and waits for us
        assert not select.select([terminal.fd], [], [], 0.7)[0]
        while slow.read(1 << 20):
            continue
    assert b"save" in terminal.until(b"MB")
    assert terminal.end() == 0


def test_verify_names_what_was_changed(cli: Cli) -> None:
    ran(cli, "one", SCRIPT)
    cli("commit", "one", "good")
    assert "every byte is as" in cli("image", "verify", "good").out
    found = json.loads(cli("image", "inspect", "good").out)[0]
    diff = Path(found["GraphDriver"]["Data"]["LowerDir"].split(":")[0])
    (diff / "x/f").write_text("changed")
    (diff / "extra").touch()
    (diff / "x/link").unlink()
    done = cli("image", "verify", "good", check=False)
    assert done.code == 1
    for told in ("/x/again was changed", "/extra is not part", "/x/link is missing"):
        assert told in done.err
    manifest = json.loads((cli.data / "index.json").read_text())["manifests"][0]["digest"]
    blob = json.loads((cli.data / "blobs/sha256" / manifest[7:]).read_text())["layers"][0]["digest"]
    path = cli.data / "blobs/sha256" / blob[7:]
    path.write_bytes(path.read_bytes()[:-100])
    assert cli("image", "verify", "good", check=False).code == 1
    cli("rmi", "-f", "good")


def test_usage_counts_what_is_shared(cli: Cli) -> None:
    cli("image", "prune", "-af")  # the images of other tests are nobody's here
    ran(cli, "one", "yes | head -c 300000 > /big")
    cli("commit", "one", "low")
    ran(cli, "two", "yes | head -c 700000 > /bigger", image="low")
    cli("commit", "two", "high")
    rows = {
        row["Name"]: row
        for row in map(json.loads, cli("image", "du", "--format", "json").out.splitlines())
    }
    assert rows["high:latest"]["SharedSize"] == rows["low:latest"]["SharedSize"]
    assert "6" in rows["high:latest"]["UniqueSize"]
    assert rows["low:latest"]["Containers"] == 1
    assert "UNIQUE SIZE" in cli("system", "df", "-v").out
    # "two" was started from the lower one: of the other, its own layer can be had back.
    free = ("system", "df", "--format", "{{.Type}} {{.Reclaimable}}")
    assert "Images 0B\n" not in cli(*free).out
    assert cli("create", "high").code == 0
    assert "Images 0B\n" in cli(*free).out
    assert cli("images", "-a", "--digests").out.count(" sha256:") == 2


def test_prune_takes_filters(cli: Cli) -> None:
    ran(cli, "one", "true")
    cli("commit", "-c", "LABEL keep=1", "one", "kept")
    cli("commit", "-c", "LABEL drop=1", "one", "dropped")
    cli("image", "prune", "-af", "--filter", "until=1h")
    assert "dropped" in cli("images").out
    cli("image", "prune", "-af", "--filter", "label!=keep")
    assert "kept" in cli("images").out
    assert "dropped" not in cli("images").out
    assert cli("images", "-f", "reference=kept*", "-q").out.strip()
    assert "invalid filter" in cli.fails("image", "prune", "-f", "--filter", "size=1")
