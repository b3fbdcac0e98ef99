"""Compose files in and out, and everything that is refused by its path."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minirun import ScheduleError
from scheduler.compose import Project, SecretSource, parse, render
from scheduler.compose.document import env_file, interpolate, load
from scheduler.model import Deployment, Kind, Resources, Secret, Spread, Template, Volume
from scheduler.policy import (
    Autoscale,
    Canary,
    Cron,
    ExecCheck,
    Exposure,
    HttpCheck,
    Job,
    OnFailure,
    Portion,
    Probe,
    Probes,
    Restart,
    RestartPolicy,
    TcpCheck,
    Timeouts,
    Update,
)

FULL = """
name: shop
x-common: &common
  image: digits:${TAG:-1}
  restart: unless-stopped
services:
  web:
    <<: *common
    command: serve --port 80 "two words"
    ports: ["8080:80"]
    environment:
      MODE: fast
      WORKERS: 2
      HOME_REGION:
    env_file: [one.env, {path: none.env, required: false}]
    labels: [tier=front]
    user: "1000:1000"
    stop_grace_period: 1m30s
    secrets: [token, {source: key, target: /run/key, mode: "0400", uid: "7"}]
    volumes:
      - weights:/weights:ro
      - ./data:/data
      - {type: tmpfs, target: /scratch, tmpfs: {size: 64m}}
    tmpfs: /run
    healthcheck:
      test: ["CMD", "curl", "-f", "http://localhost"]
      interval: 10s
      timeout: 2s
      retries: 4
      start_period: 20s
    deploy:
      replicas: 3
      labels: {team: ml}
      resources:
        limits: {cpus: "1.5", memory: 1G, pids: 100}
        reservations:
          cpus: 250m
          devices: [{driver: nvidia, count: 2, capabilities: [gpu]}]
      update_config: {parallelism: 2, order: stop-first, delay: 10s, failure_action: pause}
      restart_policy: {condition: on-failure, delay: 5s, max_attempts: 3, window: 120s}
    x-autoscale: {minimum: 1, maximum: 8, concurrency: 4, down_stabilization: 5m}
    x-canary: {weight: 5, header: x-try, replicas: 25%}
    x-concurrency: 4
    x-route: {hosts: [shop.test], prefix: /api}
    x-priority: 70
    x-placement: binpack
    x-quota: team-a
secrets:
  token: {external: true}
  key: {file: ./key}
volumes:
  weights:
"""
FILES = {"one.env": "MODE=slow\nEXTRA='a b' # why\n"}


def read_or_missing(name: str) -> str:
    if name not in FILES:
        raise FileNotFoundError(name)
    return FILES[name]


def test_parse_reads_everything() -> None:
    project = parse(FULL, variables={"HOME_REGION": "eu"}, folder="/srv/shop", read=read_or_missing)
    (web,) = project.deployments
    template = web.template
    assert (project.name, web.name, template.image) == ("shop", "web", "digits:1")
    assert template.command == ("serve", "--port", "80", "two words")
    assert template.env == {"MODE": "fast", "EXTRA": "a b", "WORKERS": "2", "HOME_REGION": "eu"}
    assert (template.port, web.exposure.published) == (80, 8080)
    assert template.secrets == (Secret("token"), Secret("key", "/run/key", 7, 0, 0o400))
    assert template.volumes == (
        Volume("volume", "/weights", "weights", read_only=True),
        Volume("bind", "/data", "/srv/shop/data"),
        Volume("tmpfs", "/scratch", size_bytes=64 << 20),
        Volume("tmpfs", "/run"),
    )
    assert template.requests == Resources(250, 1 << 30, 2)
    assert template.limits == Resources(1500, 1 << 30, pids=100)
    check = ExecCheck(("curl", "-f", "http://localhost"))
    probe = Probe(check, 10.0, 2.0, 4)
    assert template.probes == Probes(Probe(check, 5.0, 2.0, 4), probe, probe)
    assert template.restart == RestartPolicy(Restart.ON_FAILURE, 5.0, 60.0, 120.0, 3)
    assert web.update == Update(Portion(0), Portion(2), 10.0, 600.0, OnFailure.PAUSE)
    assert web.autoscale == Autoscale(1, 8, concurrency=4.0, down_stabilization_s=300.0)
    assert web.canary == Canary(5, "x-try", Portion(25, percent=True))
    assert web.labels == {"tier": "front", "team": "ml"}
    assert (web.replicas, web.priority, web.spread, web.quota) == (3, 70, Spread.BINPACK, "team-a")
    assert web.exposure.hosts == ("shop.test",)
    assert web.timeouts.stop_s == 90.0
    assert project.secrets == {
        "token": SecretSource("external"),
        "key": SecretSource("file", "./key"),
    }


def test_a_plain_file_gets_the_safe_defaults() -> None:
    (web,) = parse("services: {web: {image: digits}}").deployments
    assert web == Deployment("web", Template("digits"))


def test_jobs_and_crons() -> None:
    text = """
services:
  once: {image: t, deploy: {mode: replicated-job, replicas: 3}}
  many: {image: t, x-job: {completions: 9, parallelism: 2, deadline: 1h}}
  night: {image: t, x-cron: {schedule: "0 3 * * *", replace: true}}
"""
    once, many, night = parse(text).deployments
    assert (once.kind, once.job) == (Kind.JOB, Job(3, 3))
    assert (many.kind, many.job) == (Kind.JOB, Job(9, 2, 6, 3600.0))
    assert (night.kind, night.cron) == (Kind.CRON, Cron("0 3 * * *", replace=True))
    assert night.template.restart.condition is Restart.ON_FAILURE


@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("build: .", "services.web.build"),
        ("depends_on: [db]", "services.web.depends_on"),
        ("privileged: true", "services.web.privileged"),
        ("networks: [front]", "services.web.networks"),
        ("imagee: x", "services.web.imagee"),
        ("x-autoscal: {}", "services.web.x-autoscal"),
        ("deploy: {placement: {constraints: []}}", "services.web.deploy.placement"),
        ("deploy: {mode: global}", "services.web.deploy.mode"),
        ("deploy: {endpoint_mode: vip}", "services.web.deploy.endpoint_mode"),
        ("deploy: {replicas: many}", "services.web.deploy.replicas"),
        ("deploy: {replicas: -1}", "replicas"),
        ("deploy: {update_config: {max_failure_ratio: 0.1}}", "update_config.max_failure_ratio"),
        ("deploy: {resources: {limits: {cpus: lots}}}", "deploy.resources.limits.cpus"),
        ("deploy: {resources: {limits: {memory: 9999999T}}}", "resources.limits.memory"),
        ("gpus: all", "services.web.gpus"),
        ("gpus: [{device_ids: ['0']}]", "services.web.gpus[0].device_ids"),
        ("ports: ['80:80', '81:81']", "services.web.ports"),
        ("ports: ['3000-3005:3000']", "services.web.ports[0]"),
        ("ports: ['127.0.0.1:80:80']", "services.web.ports[0]"),
        ("ports: ['53:53/udp']", "services.web.ports[0]"),
        ("ports: ['0:99999']", "port"),
        ("environment: {A: true}", "services.web.environment.A"),
        ("environment: {A: [1]}", "services.web.environment.A"),
        ("env_file: gone.env", "services.web.env_file[0]"),
        ("volumes: [/data]", "services.web.volumes[0]"),
        ("volumes: [unknown:/data]", "services.web.volumes[0]"),
        ("volumes: [~/x:/data]", "services.web.volumes[0]"),
        ("volumes: ['/x:/data:z']", "services.web.volumes[0]"),
        ("secrets: [unknown]", "services.web.secrets[0]"),
        ("healthcheck: {test: [SHELL, x]}", "services.web.healthcheck.test[0]"),
        ("healthcheck: {test: [CMD, x], interval: soon}", "services.web.healthcheck.interval"),
        ("restart: sometimes", "services.web.restart"),
        ("command: 'unclosed \"'", "services.web.command"),
        ("x-autoscale: {maximum: 3}", "autoscale"),
        ("x-autoscale: {concurrency: 1, minimum: 5, maximum: 3}", "autoscale.minimum"),
        ("x-autoscale: {concurrency: fast}", "services.web.x-autoscale.concurrency"),
        ("x-canary: {steps: []}", "services.web.x-canary.steps"),
        ("x-cron: {}", "services.web.x-cron.schedule"),
        ("x-cron: {schedule: '61 * * * *'}", "cron.schedule"),
        ("x-job: {parallelism: 2}\n    scale: 3", "services.web.x-job"),
        ("deploy: {mode: replicated-job, replicas: 0}", "job.completions"),
        ("x-probes: {readiness: {period: 1s}}", "services.web.x-probes.readiness"),
        ("x-placement: anywhere", "services.web.x-placement"),
        ("image: ${IMAGE:?say which}", "services.web.image"),
        ("image: ${}", "services.web.image"),
    ],
)
def test_refused_by_path(service: str, path: str) -> None:
    image = "" if service.startswith("image:") else "    image: digits\n"
    with pytest.raises(ScheduleError) as refused:
        parse(f"services:\n  web:\n{image}    {service}\n")
    assert path in refused.value.message
    assert refused.value.status == 422


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "services: is missing"),
        ("services: {}", "services: is missing"),
        ("services: [web]", "services: expected a mapping"),
        ("services: {web: [1]}", "services.web: expected a mapping"),
        ("services: {web: {image: a, image: b}}", "given twice"),
        ("services: {1: {image: a}}", "services.1: a key is a text"),
        ("services: {Web_1: {image: a}}", "name: is not lowercase"),
        ("services: {web: {image: a}}\nnetworks: {n: {}}", "networks: is not supported"),
        ("a: [", "not YAML"),
        ("a: !!python/object:os.system x", "not YAML"),
        ("- 1", "expected a mapping"),
        ("services: {web: {image: a}}\nsecrets: {k: {}}", "secrets.k: needs one of"),
    ],
)
def test_bad_files(text: str, problem: str) -> None:
    with pytest.raises(ScheduleError, match=problem.replace("[", r"\[")) as refused:
        parse(text)
    assert 400 <= refused.value.status < 500


def test_a_file_that_grows_through_its_aliases_is_stopped() -> None:
    """What if nine lines of YAML were a billion values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(ScheduleError, match="too many values"):
        load("\n".join(lines), {})
    with pytest.raises(ScheduleError):
        load("[" * 5000, {})
    with pytest.raises(ScheduleError, match="larger"):
        load("#" * (1 << 21), {})


def test_yaml_is_the_1_2_core_schema() -> None:
    assert load("{a: 22:22, b: no, c: on, d: 0777, e: true, f: 1.5, g: null, h: 1e3}", {}) == {
        "a": "22:22", "b": "no", "c": "on", "d": 777, "e": True, "f": 1.5, "g": None, "h": "1e3",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("$A", "1"),
        ("${A}", "1"),
        ("x${A}y", "x1y"),
        ("$$A", "$A"),
        ("${B:-two}", "two"),
        ("${B-two}", "two"),
        ("${E:-two}", "two"),
        ("${E-two}", ""),
        ("${A:+set}", "set"),
        ("${B+set}", ""),
        ("${B}", ""),
    ],
)
def test_interpolate(text: str, want: str) -> None:
    assert interpolate(text, {"A": "1", "E": ""}, "x") == want


def test_env_file_quotes_comments_and_references() -> None:
    text = "# top\nA=1 # one\nB='$A #x'\nexport C=\"$A\\n$A\"\n\nD=$A$A\n"
    assert env_file(text, {}, "x") == {"A": "1", "B": "$A #x", "C": "1\n1", "D": "11"}
    with pytest.raises(ScheduleError, match="line 1"):
        env_file("no equals", {}, "x")


# ---- and back -----------------------------------------------------------------------------------

words = st.text("abcdefg$ '\"#:{}%é\n-", min_size=1, max_size=8)
seconds = st.sampled_from([0.5, 1.0, 7.25, 30.0, 90.0])
portions = st.builds(Portion, st.integers(1, 50), st.booleans())
checks = st.one_of(
    st.builds(HttpCheck, st.just("/healthz"), st.none() | st.just(9000)),
    st.builds(TcpCheck, st.none() | st.just(9000)),
    st.builds(ExecCheck, st.lists(words, min_size=1, max_size=3).map(tuple)),
)
probes = st.none() | st.builds(Probe, checks, seconds, seconds, st.integers(1, 9))
templates = st.builds(
    Template,
    image=st.just("digits:1"),
    entrypoint=st.none() | st.lists(words, max_size=2).map(tuple),
    command=st.none() | st.lists(words, max_size=3).map(tuple),
    env=st.dictionaries(st.text("ABC_", min_size=1, max_size=5), words, max_size=3),
    secrets=st.sampled_from([(), (Secret("key"),), (Secret("key", "/k", 1, 2, 0o400),)]),
    volumes=st.sampled_from(
        [
            (),
            (Volume("bind", "/a", "/b", read_only=True), Volume("volume", "/c", "data")),
            (Volume("tmpfs", "/t", size_bytes=4096),),
        ]
    ),
    user=st.sampled_from(["", "1000"]),
    port=st.just(8000),
    requests=st.builds(Resources, st.integers(0, 4000), st.integers(0, 1 << 40), st.integers(0, 2)),
    probes=st.builds(Probes, probes, probes, probes),
    restart=st.builds(RestartPolicy, st.sampled_from(Restart), seconds),
    concurrency=st.integers(0, 9),
    read_only=st.booleans(),
)
services = st.builds(
    Deployment,
    name=st.just("web"),
    template=templates,
    replicas=st.integers(0, 9),
    autoscale=st.none() | st.builds(Autoscale, st.integers(0, 2), concurrency=seconds),
    update=st.builds(Update, portions, portions, seconds),
    rollback=st.none() | st.builds(Update, portions),
    canary=st.none() | st.builds(Canary, st.integers(1, 99), replicas=portions),
    priority=st.integers(0, 100),
    labels=st.dictionaries(st.text("abc", min_size=1, max_size=4), words, max_size=2),
    spread=st.sampled_from(Spread),
    exposure=st.builds(Exposure, st.sampled_from([(), ("a.test",)]), st.sampled_from(["", "/p"])),
    timeouts=st.builds(Timeouts, seconds, seconds, seconds, seconds, seconds),
    queue_limit=st.none() | st.integers(0, 99),
    paused=st.booleans(),
)  # fmt: skip


@settings(deadline=None)
@given(services)
def test_render_reads_back_as_the_same(wanted: Deployment) -> None:
    project = Project((wanted,), "p", {"key": SecretSource("external")}, ("data",))
    assert parse(render(project)) == project


def test_render_of_a_parsed_file_reads_back_as_the_same() -> None:
    project = parse(FULL, folder="/srv/shop", read=read_or_missing)
    assert parse(render(project)) == project


def test_render_of_jobs_reads_back_as_the_same() -> None:
    once = RestartPolicy(Restart.ON_FAILURE)
    task = Template("task", restart=once)
    jobs = (
        Deployment("a", task, Kind.JOB, job=Job()),
        Deployment("b", task, Kind.JOB, job=Job(9, 3, 1, 60.0)),
        Deployment("c", task, Kind.CRON, cron=Cron("*/5 * * * *"), job=Job(2)),
    )
    assert parse(render(Project(jobs))).deployments == jobs


@settings(deadline=None, max_examples=300)
@given(st.text("abws:{}[],-\n &*!$'\"#0123 ", max_size=60))
def test_garbage_is_refused_and_never_a_crash(text: str) -> None:
    inside = f"services:\n  web:\n    image: x\n    {text.splitlines()[0] if text else ''}\n"
    for document in (text, inside):
        with contextlib.suppress(ScheduleError):
            parse(document)
