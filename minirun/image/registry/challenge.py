"""The header ``WWW-Authenticate``, taken apart.

    >>> parse('Bearer realm="https://auth.example/token",service="reg",scope="repository:a:pull"')
    [Challenge(scheme='bearer', realm='https://auth.example/token', service='reg', scopes=\
('repository:a:pull',), error='')]
    >>> [c.scheme for c in parse('Negotiate, Basic realm="a, b"')]
    ['negotiate', 'basic']

Several challenges may share one header, and commas separate both them and their parameters.

May not import anything with an effect. See: RFC 9110 section 11.6.1. Next: ``auth.py``.
"""

from __future__ import annotations

import re

from ...record import Record

# A parameter, or a scheme: a word that no "=" follows.
_ITEM = re.compile(
    r"[\s,]*(?:"
    r"(?P<name>[\w!#$%&'*+.^`|~-]+)\s*=\s*(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|(?P<plain>[^\s,\"]*))"
    r"|(?P<scheme>[\w!#$%&'*+.^`|~-]+)(?=\s|,|$)"
    r")"
)


class Challenge(Record):
    """What a registry wants to see before it answers."""

    scheme: str
    realm: str = ""
    service: str = ""
    scopes: tuple[str, ...] = ()
    error: str = ""


def parse(header: str) -> list[Challenge]:
    """Return the challenges of a header; what cannot be understood ends it."""
    found: list[tuple[str, dict[str, str]]] = []
    end = 0
    while match := _ITEM.match(header, end):
        end = match.end()
        if scheme := match["scheme"]:
            found.append((scheme.lower(), {}))
        elif found:
            found[-1][1].setdefault(match["name"].lower(), _value(match))
    return [_challenge(scheme, parameters) for scheme, parameters in found]


def _value(match: re.Match[str]) -> str:
    if match["quoted"] is None:
        return match["plain"] or ""
    return re.sub(r"\\(.)", r"\1", match["quoted"])


def _challenge(scheme: str, parameters: dict[str, str]) -> Challenge:
    get = parameters.get
    scopes = tuple(get("scope", "").split())
    return Challenge(scheme, get("realm", ""), get("service", ""), scopes, get("error", ""))
