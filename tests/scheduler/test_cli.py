"""``minisched`` as an operator has it: every command, against the real API over its socket."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from scheduler.cli import perform
from scheduler.cli.app import COMMANDS
from scheduler.cli.get import NOUNS
from scheduler.cli.rollout import _ended
from tests.scheduler.cli_desk import Desk, desk

MINISCHED = Path(sys.executable).with_name("minisched")
SERVICE = """
services:
  web:
    image: {image}
    expose: [8000]
    labels: {{app: shop}}
    deploy:
      replicas: {replicas}
    x-update: {{min_ready: 0s, progress_deadline: 20s}}
"""
JOB = "services: {once: {image: task, deploy: {mode: replicated-job}}}"


@pytest.fixture
def sched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Desk]:
    monkeypatch.chdir(tmp_path)
    with desk(tmp_path, monkeypatch, capsys) as made:
        yield made


def compose(image: str = "good", replicas: int = 2) -> str:
    """Write the folder's Compose file; return its name."""
    Path("compose.yaml").write_text(SERVICE.format(image=image, replicas=replicas))
    return "compose.yaml"


def running(sched: Desk, image: str = "good", replicas: int = 2) -> Desk:
    compose(image, replicas)
    sched("apply", "--wait")
    return sched


# ── apply, diff ───────────────────────────────────────────────────────────────────────────────


def test_apply_says_what_it_did_and_waits(sched: Desk) -> None:
    compose()
    said = sched("apply", "-f", "compose.yaml", "--wait").splitlines()
    assert said[0] == "web created"
    assert said[-1] == "web: running, revision 1: 2 of 2 updated, 2 ready"
    assert sched("apply") == "web unchanged\n"
    compose(replicas=3)
    assert sched("apply") == "web configured\n"


def test_apply_dry_run_changes_nothing(sched: Desk) -> None:
    compose()
    assert sched("apply", "--dry-run") == "web created (dry run)\n"
    assert sched.rows("get", "deployments") == []


def test_apply_says_that_a_revision_was_rolled_back(sched: Desk) -> None:
    running(sched)
    compose("crash")
    said = sched("apply", "--wait", code=1)
    assert "web: revision 2 was rolled back to 1" in said
    assert "hint: minisched events web tells the story" in said
    sched("rollout", "status", "web")
    assert sched.rows("get", "deployments")[0][:2] == ["web", "running"]
    assert "no progress for " in sched("rollout", "history", "web")
    said = sched("rollout", "undo", "web", code=125)
    assert "web has no earlier revision that worked\nhint: revision 2 failed: " in said


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("", "web: revision 2 was rolled back to 1"),
        ("web.9: exited with 1", "web: revision 2 was rolled back to 1: web.9: exited with 1"),
        ("revision 2 was rolled back to 1: x", "web: revision 2 was rolled back to 1: x"),
    ],
)
def test_rollback_is_told_whatever_came_after_it(
    reason: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = {"revision": 1, "state": "progressing", "reason": reason}
    assert _ended({"name": "web", "status": status}, 2) is False
    assert f"minisched: {said}\n" in capsys.readouterr().err


def test_apply_gives_up_in_time_and_says_where_to_look(sched: Desk) -> None:
    Path("compose.yaml").write_text("services: {web: {image: never, expose: [8000]}}")
    said = sched("apply", "--wait", "--timeout", "0.1s", code=1)
    assert "web: not there after 0.1 s" in said
    assert "minisched describe web" in said


def test_apply_prunes_what_has_the_label_only(sched: Desk) -> None:
    running(sched)
    Path("other.yaml").write_text(
        "services: {other: {image: good}, api: {image: good, labels: {app: shop}}}"
    )
    sched("apply", "-f", "other.yaml")
    assert "web unchanged" in sched("apply", "--prune", "--dry-run", "-l", "app=shop")
    said = sched("apply", "--prune", "-l", "app=shop")
    assert said.splitlines() == ["web unchanged", "api deleted"]
    left = {row["name"] for row in json.loads(sched("get", "deployment", "--format", "json"))}
    assert {"web", "other"} <= left
    assert "--prune -l app=shop" in sched("apply", "--prune", code=125)


def test_apply_stores_the_files_secrets_first(sched: Desk) -> None:
    Path("key").write_bytes(b"\xffsecret")
    Path("compose.yaml").write_text(
        "services: {web: {image: good, secrets: [key]}}\nsecrets: {key: {file: key}}"
    )
    sched("apply")
    assert sched.lab.store.secret_value("key") == b"\xffsecret"


def test_diff_knows_the_secrets_that_apply_would_store(sched: Desk) -> None:
    running(sched)
    Path("key").write_text("secret")
    text = (
        Path("compose.yaml").read_text().replace("image: good", "image: good\n    secrets: [key]")
    )
    Path("compose.yaml").write_text(f"{text}\nsecrets: {{key: {{file: key}}}}")
    assert '+ /secrets: [{"source": "key"' in sched("diff", code=1)
    assert sched.rows("secret", "list") == [], "it was only asked"
    sched("apply")
    assert sched("diff") == ""


def test_apply_passes_on_which_field_was_refused(sched: Desk) -> None:
    compose("no-such-image")
    said = sched("apply", code=125)
    assert "web" in said
    assert "no-such-image" in said
    assert "hint: " in said


def test_diff_shows_each_field_and_says_so_by_its_code(sched: Desk) -> None:
    compose()
    new = sched("diff", code=1).splitlines()
    assert new[0] == "web (created, revision 1)"
    assert '  + /image: "good"' in new
    assert not [line for line in new if line.startswith("  -")], "there is nothing to take away"
    running(sched)
    assert sched("diff") == ""
    compose("slow", 3)
    said = sched("diff", code=1)
    assert "web (configured, revision 2)" in said
    assert '  - /image: "good"\n  + /image: "slow"' in said
    assert "  - /replicas: 2\n  + /replicas: 3" in said
    changed = json.loads(sched("diff", "--format", "json", code=1))
    assert changed[0]["preview"]["changed"] is True


def test_what_was_rolled_back_explains_no_newer_wish(sched: Desk) -> None:
    running(sched)
    compose("crash")
    sched("apply", "--wait", code=1)
    assert sched.rows("get", "deployments")[0][-1] != "-", "why it is not what was asked for"
    running(sched, replicas=3)
    assert sched.rows("get", "deployments") == [["web", "running", "3/3", "3", "1", "good", "-"]]


def test_apply_says_once_what_is_wrong(sched: Desk) -> None:
    compose("nope")
    assert sched("apply", code=125).count("there is no image nope") == 1


# ── get, describe ─────────────────────────────────────────────────────────────────────────────


def test_get_shows_deployments_and_replicas(sched: Desk) -> None:
    running(sched)
    assert sched.rows("get", "deployments") == [["web", "running", "2/2", "2", "1", "good", "-"]]
    replicas = sched.rows("get", "replicas", "web")
    assert [row[:4] for row in replicas] == [
        ["web.1", "1", "running", "yes"],
        ["web.2", "1", "running", "yes"],
    ]
    assert "ADDRESS" in sched("get", "replica", "web.1", "-o", "wide")
    assert [row[0] for row in sched.rows("get", "replicas", "web.2")] == ["web.2"]
    assert "app=shop" in sched("get", "deployment", "-l", "app=shop", "-o", "wide")
    assert sched.rows("get", "deployments", "-l", "app=none") == []


def test_get_as_json_and_yaml_holds_everything(sched: Desk) -> None:
    running(sched)
    as_json = json.loads(sched("get", "deployment", "web", "--format", "json"))
    as_yaml = yaml.safe_load(sched("get", "deployment", "web", "-o", "yaml"))
    for shown in (as_json, as_yaml):
        assert shown[0]["spec"]["image"] == "good"
        assert shown[0]["status"]["ready"] == 2


def test_get_knows_every_noun(sched: Desk) -> None:
    for noun in NOUNS:
        assert sched("get", noun).splitlines()[0].isupper()


#: What is typed, and what is said about it.
REFUSED: tuple[tuple[tuple[str, ...], str], ...] = (
    (("get", "pods"), "there is no noun 'pods'"),
    (("get", "deployment", "nope"), "not found: nope"),
    (("get", "images", "-l", "a=b"), "images have no labels"),
    (("get", "deployments", "-l", "a"), "'a' is not KEY=VALUE"),
    (("describe", "nope"), "there is no deployment nope"),
    (("describe", "nope.1"), "there is no replica nope.1"),
    (("scale", "web"), "does not say how many"),
    (("scale", "web=x"), "does not say how many"),
    (("scale", "nope=1"), "there is no deployment nope"),
    (("autoscale", "web"), "autoscale needs bounds"),
    (("delete",), "name a deployment"),
    (("logs", "nope"), "there is no deployment nope"),
    (("rollout", "status", "web", "--timeout", "soon"), "--timeout: 'soon' is not a duration"),
    (("quota", "set", "team"), "a quota without a bound"),
    (("quota", "set", "team", "--memory", "much"), "--memory: 'much' is not a size"),
    (("serve", "--listen", "0.0.0.0:1"), "--listen, --tls-cert and --tls-key go together"),
    (("serve", "--publish-on", "nowhere"), "--publish-on: 'nowhere' is no IP address"),
    (("nope",), "no such command: 'nope'"),
    (("aply",), "did you mean apply?"),
    (("get",), "missing argument 'NOUN'"),
    (("apply", "--nope"), "no such option"),
)


def test_cli_refuses_with_a_reason(sched: Desk) -> None:
    for words, reason in REFUSED:
        said = sched(*words, code=125)
        assert said.startswith("minisched: ")
        assert reason in said


def test_describe_tells_the_whole_story(sched: Desk) -> None:
    running(sched)
    said = sched("describe", "web")
    for part in ("State:", "running", "web.1", "Revisions:", "Events:"):
        assert part in said
    asked_for = textwrap.dedent(said.partition("Asked for:\n")[2].partition("\nReplicas:")[0])
    Path("again.yaml").write_text(asked_for)
    assert sched("apply", "-f", "again.yaml") == "web unchanged\n"
    assert "web.1" in sched("describe", "web.1")


def test_describe_names_what_a_file_has_to_have_beside(sched: Desk) -> None:
    Path("compose.yaml").write_text("""
services:
  web: {image: good, expose: [8000], secrets: [key], volumes: ["data:/data"]}
secrets: {key: {environment: HOME}}
volumes: {data: }
""")
    sched("apply")
    said = sched("describe", "web").partition("Asked for:\n")[2].partition("\nReplicas:")[0]
    Path("again.yaml").write_text(textwrap.dedent(said))
    assert sched("apply", "-f", "again.yaml") == "web unchanged\n"


def test_describe_shows_nought_and_units(sched: Desk) -> None:
    running(sched)
    said = sched("describe", "web.1").splitlines()
    assert "Restarts:          0" in said
    assert "  Memory:          1 MiB" in said
    assert any(line.startswith("Age:") and line.endswith("s") for line in said)


def test_describe_as_json_holds_everything(sched: Desk) -> None:
    running(sched)
    found = json.loads(sched("describe", "web", "--format", "json"))
    assert len(found["replicas"]) == 2


# ── scale, rollouts, the end ──────────────────────────────────────────────────────────────────


def test_scale_takes_several_and_goes_on_after_one_that_fails(sched: Desk) -> None:
    running(sched)
    said = sched("scale", "nope=1", "web=3", code=125)
    assert "web scaled to 3" in said
    sched("rollout", "status", "web")
    assert len(sched.rows("get", "replicas", "web")) == 3


def test_autoscale_sets_bounds_and_takes_them_away(sched: Desk) -> None:
    running(sched)
    said = sched("autoscale", "web", "--min", "1", "--max", "4", "--concurrency", "2")
    assert said == "web autoscaled, 1 to 4 replicas\n"
    assert sched("autoscale", "web", "--off").startswith("web not autoscaled, ")
    spec = json.loads(sched("get", "deployment", "web", "--format", "json"))[0]["spec"]
    assert spec["autoscale"] is None


def test_rollout_undo_history_pause_and_resume(sched: Desk) -> None:
    running(sched)
    running(sched, "slow")
    assert [row[:2] for row in sched.rows("rollout", "history", "web")] == [
        ["1", "-"],
        ["2", "current"],
    ]
    assert sched("rollout", "undo", "web") == "web rolling back to revision 1\n"
    assert "revision 1: 2 of 2 updated, 2 ready" in sched("rollout", "status", "web")
    assert "no revision 9" in sched("rollout", "undo", "web", "--to-revision", "9", code=125)
    assert sched("rollout", "pause", "web") == "web paused\n"
    assert "paused" in sched("rollout", "status", "web", "--no-watch")
    assert sched("rollout", "resume", "web") == "web resumed\n"
    assert "has no canary" in sched("rollout", "promote", "web", code=125)


def test_restart_replaces_every_replica(sched: Desk) -> None:
    running(sched)
    sched("restart", "web")
    sched("rollout", "status", "web")
    rows = sched.rows("get", "replicas", "web")
    left = {row[0] for row in rows if row[2] not in ("draining", "removing")}
    assert left.isdisjoint({"web.1", "web.2"})


def test_delete_waits_until_nothing_is_left(sched: Desk) -> None:
    running(sched)
    assert sched("delete", "-l", "app=shop", "--wait") == "web deleted\n"
    assert sched.rows("get", "deployments") == []


def test_delete_tells_what_it_waits_for(sched: Desk) -> None:
    running(sched)
    sched.lab.runtime.removed_after_s = lambda: 1e6
    states: set[str] = set()
    for _ in range(60):  # seconds, on a machine that has much to do
        assert "still there: web" in sched("delete", "web", "--wait", "--timeout", "1s", code=1)
        states = {row[2] for row in sched.rows("get", "replicas", "web")}
        if states == {"removing"}:
            break
    assert states == {"removing"}
    assert "deleting" in sched("describe", "web")
    assert "waits until its containers are removed" in sched("get", "deployments")


# ── looking ───────────────────────────────────────────────────────────────────────────────────


def test_logs_show_which_replica_says_what(sched: Desk) -> None:
    running(sched)
    sched.lab.insides.write("web.1", "one", 1.25)
    sched.lab.insides.write("web.2", "two", 2.0)
    assert sched("logs", "web") == "web.1  one\nweb.2  two\n"
    assert sched("logs", "web.2") == "two\n"
    assert sched("logs", "-t", "web.1") == "1970-01-01T00:00:01.250Z one\n"
    assert sched("logs", "-n", "1", "--no-prefix", "web") == "two\n"
    sched.lab.insides.ended.add("web.1")
    assert sched("logs", "-f", "web.1") == "one\n"


def test_exec_passes_words_and_the_code_on(sched: Desk) -> None:
    running(sched)
    assert sched("exec", "web.1", "ls", "-l", code=3).startswith("ls -l")
    assert sched("exec", "web", "--", "cat", "--help", code=3).startswith("cat --help")
    assert "did not end in 2 s" in sched("exec", "--timeout", "2", "web", "sleep", "9", code=125)


def test_events_tell_what_was_decided(sched: Desk) -> None:
    running(sched)
    events = [json.loads(line) for line in sched("events", "web", "--format", "json").splitlines()]
    assert {event["deployment"] for event in events} == {"web"}
    numbers = [event["sequence"] for event in events]
    assert numbers == sorted(numbers)
    after = sched("events", "web", "--after", str(numbers[0]), "--format", "json").splitlines()
    assert len(after) == len(events) - 1
    assert "web" in sched("events", "--inputs")


def test_top_shows_what_is_used(sched: Desk) -> None:
    running(sched)
    head, _, headings, web = sched("top", "--once", "--interval", "0.1").splitlines()
    assert "1 deployments, 2 replicas" in head
    assert "REQUESTS/S" in headings
    assert web.split()[:3] == ["web", "running", "2/2"]


# ── host, quotas, secrets, tokens, jobs ───────────────────────────────────────────────────────


def test_drain_empties_the_host_and_uncordon_fills_it(sched: Desk) -> None:
    running(sched)
    assert sched("drain").splitlines()[-1] == "host drained"
    assert sched.rows("get", "nodes")[0][-1] == "yes"
    sched("uncordon")
    assert "2 ready" in sched("rollout", "status", "web")
    assert sched("cordon") == "host cordoned\n"


def test_quota_is_set_listed_and_removed(sched: Desk) -> None:
    assert sched("quota", "set", "team", "--cpu", "1.5", "--memory", "1g") == "quota team set\n"
    assert sched.rows("quota", "list")[0][:2] == ["team", "0/1.5"]
    assert sched("quota", "delete", "team") == "quota team deleted\n"
    assert sched.rows("get", "quotas") == []


def test_secret_comes_from_a_file_or_stdin_and_is_never_shown(
    sched: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("value").write_bytes(b"\x00hidden\xff")
    assert sched("secret", "create", "one", "--from-file", "value") == "secret one stored\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"piped")))
    sched("secret", "create", "two")
    assert sched.lab.store.secret_value("one") == b"\x00hidden\xff"
    assert sched.lab.store.secret_value("two") == b"piped"
    assert "hidden" not in sched("secret", "list", "--format", "json")
    assert [row[0] for row in sched.rows("secret", "list")] == ["one", "two"]
    sched("secret", "delete", "one", "two")
    assert "is empty" in sched("secret", "create", "x", "--from-file", os.devnull, code=125)


def test_token_is_shown_once(sched: Desk) -> None:
    text = sched("token", "create", "ci", "--scope", "deploy").strip()
    assert sched.lab.store.check_token(text) is not None
    assert text not in sched("token", "list") + sched("get", "tokens", "--format", "json")
    assert sched("token", "revoke", "ci") == "token ci revoked\n"
    assert sched.lab.store.check_token(text) is None


def test_job_runs_to_its_end(sched: Desk) -> None:
    Path("compose.yaml").write_text(JOB)
    sched("apply", "--wait")
    assert sched.rows("job", "list")[0][:2] == ["once", "done"]
    assert "once run 2 succeeded" in sched("job", "run", "once", "--wait")
    assert [row[:2] for row in sched.rows("job", "runs", "once")] == [
        ["2", "succeeded"],
        ["1", "succeeded"],
    ]
    assert sched.rows("cron", "list") == []


def test_paused_cron_says_so_and_nobody_waits_for_it(sched: Desk) -> None:
    service = 'image: task, x-cron: {schedule: "0 3 * * *"}, x-paused: true'
    Path("compose.yaml").write_text(f"services: {{night: {{{service}}}}}")
    assert "night: paused" in sched("apply", "--wait")
    assert "night run 1 succeeded" in sched("job", "run", "night", "--wait")
    assert sched.rows("cron", "list")[0][6] == "paused"
    sched("rollout", "resume", "night")
    assert sched.rows("cron", "list")[0][6] != "paused"


def test_job_that_fails_says_how_often(sched: Desk) -> None:
    Path("compose.yaml").write_text(JOB.replace("task,", "crash, x-job: {backoff_limit: 1},"))
    assert "run 1: 2 failures, 1 are allowed" in sched("apply", "--wait", code=1)


# ── the process itself ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_page_of_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert perform((name, "--help")) == 0
    assert f"minisched {name}" in capsys.readouterr().out


def test_help_loads_neither_the_api_nor_yaml() -> None:
    code = "from scheduler.cli import perform; perform(['--help']); import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"flask", "pydantic", "yaml", "sqlite3", "ssl", "httpx", "rich"}


def test_watch_ends_with_130_on_ctrl_c_and_says_nothing(sched: Desk) -> None:
    running(sched)
    process = subprocess.Popen(
        [MINISCHED, "events", "-w"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline(), "the events that were are shown first"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, b"")


def test_nobody_reading_ends_it_with_141(sched: Desk) -> None:
    running(sched)
    process = subprocess.Popen(
        [MINISCHED, "events", "-w"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        sched("restart", "web")  # something to tell
    assert process.stderr is not None
    assert (process.wait(1), process.stderr.read()) == (141, b"")
    process.stderr.close()


def test_completion_knows_deployments(sched: Desk) -> None:
    running(sched)
    words = {"COMP_WORDS": "minisched describe w", "COMP_CWORD": "2"}
    done = subprocess.run(
        [MINISCHED],
        env={**os.environ, **words, "_MINISCHED_COMPLETE": "bash_complete"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "plain,web\n"
    for shell in ("bash", "zsh", "fish"):
        assert "_MINISCHED_COMPLETE" in sched("completion", shell)
