"""JSON without the ``json`` module: its C half alone, which is all of the work.

``json`` imports ``re``, and ``re`` imports ``enum``, ``functools`` and ``collections``: 6 of the 20
milliseconds of a command like ``minirun-oci state``. The scanner and the encoder that ``json`` uses
are in ``_json``, an implementation detail of CPython; where it looks different, and for every text
that is not plain valid JSON, the real module takes over and tells what is wrong.

    >>> loads('{"a": [1, null]}'), dumps({"a": (1, None)})
    ({'a': [1, None]}, '{"a": [1, null]}')

Next: ``sync.py`` and ``state.py``, which use it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_BLANKS = " \t\n\r"


class _Rules:
    """What ``json.JSONDecoder`` is by default, as the scanner wants to see it."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(name: str) -> NoReturn:
        """NaN and Infinity are not JSON."""
        raise ValueError(name)


def _unknown(value: object) -> NoReturn:
    message = f"{type(value).__name__} is not JSON"
    raise TypeError(message)


_scan: Callable[[str, int], tuple[Any, int]] | None
_encode: Callable[[Any, int], tuple[str, ...]] | None
_encode_compact: Callable[[Any, int], tuple[str, ...]] | None
_quote: Callable[[str], str] | None
try:
    import _json

    _scan = _json.make_scanner(_Rules())  # type: ignore[arg-type]  # any object with these names
    _text = _json.encode_basestring_ascii
    _quote = _json.encode_basestring
    _encode, _encode_compact = (
        _json.make_encoder(None, _unknown, _text, None, *separators, False, False, False)
        for separators in ((": ", ", "), (":", ","))
    )
except (ImportError, AttributeError, TypeError):  # another implementation, or another version
    _scan = _encode = _encode_compact = _quote = None


def quote(text: str) -> str:
    r"""Return a text as a JSON string; characters beyond ASCII stay as they are.

    >>> quote('a "é"\n')
    '"a \\"é\\"\\n"'
    """
    if _quote is not None:
        return _quote(text)
    import json

    return json.dumps(text, ensure_ascii=False)


def loads(text: str | bytes) -> Any:  # noqa: ANN401 - the JSON edge
    """Return what a JSON text holds.

    Raises:
        ValueError: it is not JSON.
    """
    plain = text if isinstance(text, str) else text.decode()
    start = len(plain) - len(plain.lstrip(_BLANKS))
    try:
        if _scan is not None:
            value, end = _scan(plain, start)
            if not plain[end:].strip(_BLANKS):
                return value
    except (StopIteration, SystemError, ValueError):
        pass  # without json in memory the scanner cannot say what is wrong
    import json

    return json.loads(plain)


def dumps(value: Any) -> str:  # noqa: ANN401 - the JSON edge
    """Return the JSON text of plain data; characters beyond ASCII are escaped.

    Raises:
        TypeError: it holds something that JSON does not have.
    """
    if _encode is not None:
        return "".join(_encode(value, 0))
    import json

    return json.dumps(value, allow_nan=False)


def compact(value: Any) -> str:  # noqa: ANN401 - the JSON edge
    """Return the JSON text of plain data without blanks, as Go writes it.

    >>> compact({"a": (1, None)})
    '{"a":[1,null]}'
    """
    if _encode_compact is not None:
        return "".join(_encode_compact(value, 0))
    import json

    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def pretty(value: Any, margin: str = "", step: str = "  ") -> str:  # noqa: ANN401 - the JSON edge
    r"""Return the JSON text of plain data, indented as ``json.dumps(value, indent=2)`` does it.

    >>> pretty({"a": []})
    '{\n  "a": []\n}'
    """
    inner = margin + step
    if isinstance(value, dict) and value:
        lines = [f"{inner}{dumps(k)}: {pretty(v, inner, step)}" for k, v in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{margin}}}"
    if isinstance(value, (list, tuple)) and value:
        return "[\n" + ",\n".join(inner + pretty(v, inner, step) for v in value) + f"\n{margin}]"
    return dumps(value)
