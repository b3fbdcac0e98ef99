"""How a service's replicas are restarted, replaced and probed."""

from __future__ import annotations

import math
import shlex

from ..model import Kind
from ..policy import (
    ExecCheck,
    HttpCheck,
    OnFailure,
    Portion,
    Probe,
    Probes,
    Restart,
    RestartPolicy,
    TcpCheck,
    Update,
)
from .facts import decode
from .fields import Section, refuse, text

_RESTART = {"no": Restart.NEVER, "none": Restart.NEVER, "on-failure": Restart.ON_FAILURE}
_RESTART |= dict.fromkeys(("always", "unless-stopped", "any"), Restart.ALWAYS)
_ACTIONS = dict(zip(("rollback", "pause", "continue"), OnFailure, strict=True))


def restart(service: Section, deploy: Section, kind: Kind) -> RestartPolicy:
    """Return when a service's replicas are started again; the most exact of three ways wins."""
    default = Restart.ALWAYS if kind is Kind.SERVICE else Restart.ON_FAILURE
    said = service.text("restart")
    word, _, attempts = said.partition(":")
    if (word and word not in _RESTART) or (attempts and not attempts.isdecimal()):
        hint = "no, always, on-failure, on-failure:3 or unless-stopped"
        refuse(service.at("restart"), f"{said!r} is not a restart policy", hint)
    policy = RestartPolicy(
        _RESTART.get(word, default), max_attempts=int(attempts) if attempts else None
    )
    if section := deploy.section("restart_policy"):
        policy = _restart_policy(section, default)
    if section := service.section("x-restart"):
        policy = decode(RestartPolicy, section)
    return policy


def _restart_policy(section: Section, default: Restart) -> RestartPolicy:
    word = section.text("condition")
    if word and word not in _RESTART:
        refuse(section.at("condition"), f"{word!r} is not none, on-failure or any")
    delay_s, window_s = section.duration_s("delay"), section.duration_s("window")
    policy = RestartPolicy(
        _RESTART.get(word, default),
        1.0 if delay_s is None else delay_s,
        max(60.0, delay_s or 0.0),
        600.0 if window_s is None else window_s,
        section.integer("max_attempts"),
    )
    section.close()
    return policy


def update(config: Section | None, exact: Section | None) -> Update | None:
    """Return how revisions replace each other; ``x-update`` says it in our own words."""
    if exact:
        if config:
            refuse(config.path, f"and {exact.path} say the same thing twice")
        return decode(Update, exact)
    if config is None:
        return None
    order = config.text("order", "start-first")
    if order not in ("start-first", "stop-first"):
        refuse(config.at("order"), f"{order!r} is not start-first or stop-first")
    action = config.text("failure_action", "rollback")
    if action not in _ACTIONS:
        refuse(config.at("failure_action"), f"{action!r} is not one of {', '.join(_ACTIONS)}")
    at_once = config.integer("parallelism")
    batch = Portion(100, percent=True) if at_once == 0 else Portion(at_once or 1)
    none, starts_first = Portion(0), order == "start-first"
    waits = [w for key in ("monitor", "delay") if (w := config.duration_s(key)) is not None]
    ready_s = max(waits, default=Update().min_ready_s)
    config.close([("max_failure_ratio", "any replica that does not become available is a failure")])
    return Update(
        batch if starts_first else none,
        none if starts_first else batch,
        ready_s,
        max(Update().progress_deadline_s, 2 * ready_s),
        _ACTIONS[action],
    )


def probes(service: Section) -> Probes:
    """Return a service's probes: its healthcheck, or ``x-probes``."""
    health, exact = service.section("healthcheck"), service.section("x-probes")
    if exact is None:
        return _healthcheck(health) if health else Probes()
    if health:
        refuse(health.path, f"and {exact.path} say the same thing twice")
    found = Probes(*(_probe(exact.section(key)) for key in ("startup", "liveness", "readiness")))
    exact.close()
    return found


def _healthcheck(section: Section) -> Probes:
    """Return the probes of a healthcheck: it decides on requests, and on life and death."""
    test, path = section.take("test"), section.at("test")
    is_off = section.flag("disable") or test in (["NONE"], "NONE")
    period_s, retries = section.duration_s("interval") or 30.0, section.integer("retries") or 3
    timeout_s, start_s = section.duration_s("timeout") or 30.0, section.duration_s("start_period")
    start_every_s = section.duration_s("start_interval") or 5.0
    section.close()
    if is_off:
        return Probes()
    check = ExecCheck(_test(test, path))
    probe = Probe(check, period_s, timeout_s, retries)
    tries = math.ceil((start_s or 0) / start_every_s)
    startup = Probe(check, start_every_s, timeout_s, tries) if tries else None
    return Probes(startup, probe, probe)


def _test(test: object, path: str) -> tuple[str, ...]:
    if isinstance(test, str):
        return ("/bin/sh", "-c", test)
    if not isinstance(test, list) or len(test) < 2:
        refuse(path, "is not a command", hint="write [CMD, program, argument …]")
    how, *words = (text(word, f"{path}[{i}]") for i, word in enumerate(test))
    if how == "CMD-SHELL":
        return ("/bin/sh", "-c", words[0])
    if how != "CMD":
        refuse(f"{path}[0]", f"{how!r} is not CMD, CMD-SHELL or NONE")
    return tuple(words)


def _probe(section: Section | None) -> Probe | None:
    """Return a probe in the scheduler's own words: http, tcp or exec, and its patience."""
    if section is None:
        return None
    checks: list[HttpCheck | TcpCheck | ExecCheck] = []
    if http := section.section("http"):
        checks.append(decode(HttpCheck, http))
    if tcp := section.take("tcp"):
        checks.append(decode(TcpCheck, Section({} if tcp is True else tcp, section.at("tcp"))))
    if words := command(section, "exec"):
        checks.append(ExecCheck(words))
    if len(checks) != 1:
        refuse(section.path, "needs one of http, tcp and exec")
    return decode(Probe, section, check=checks[0])


def command(service: Section, key: str) -> tuple[str, ...] | None:
    """Return a command: a list as it is, a text split as a shell would."""
    value, path = service.take(key), service.at(key)
    if value is None:
        return None
    if isinstance(value, list):
        return tuple(text(word, f"{path}[{i}]") for i, word in enumerate(value))
    try:
        return tuple(shlex.split(text(value, path)))
    except ValueError as error:
        refuse(path, f"{value!r}: {str(error).lower()}")
