"""Serve one model over HTTP: a simple door for people, a standard one for machines.

    GET  /healthz                          is it well?  (the Dockerfile's HEALTHCHECK asks)
    POST /predict                          one item in, one label out
    GET  /v2, /v2/health/live, ...         the Open Inference Protocol, version 2 (REST), which
    POST /v2/models/<name>/infer           KServe, Triton, MLServer and Seldon speak too

This file, tensors.py and gunicorn.conf.py are the same in every image; what differs is model.py,
read it next. Nothing here knows scikit-learn, and nothing in model.py knows HTTP.

See: https://github.com/kserve/open-inference-protocol.
"""

from __future__ import annotations

import json
from typing import Any

import model
from flask import Flask, Response, jsonify, request
from tensors import Invalid, Tensor, no_parameters, only_fields, parse_batch, parse_item
from werkzeug.exceptions import (
    HTTPException,
    NotFound,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)

MAX_BODY_BYTES = 1 << 20
HELP = {
    404: f"no such path: try POST /predict, GET /healthz, GET /v2/models/{model.NAME}",
    405: "method not allowed here: the Allow header names those that are",
    413: f"body: expected at most {MAX_BODY_BYTES} bytes",
}
LABEL = Tensor("label", "BYTES")
PROBABILITIES = Tensor("probabilities", "FP64", (len(model.LABELS),))

app = Flask(__name__)
# One more than we take: werkzeug cuts a chunked body off at this length without a word, so only a
# body that reaches it shows that there was more (see _read_body).
app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES + 1
model.load()  # now, not at the first request: being reachable has to mean being ready


@app.get("/healthz")
def healthz() -> dict[str, Any]:
    """Answer while the process can answer at all; the model was loaded before the port opened."""
    return {"status": "ok", "model": model.NAME}


@app.post("/predict")
def predict() -> dict[str, Any]:
    """Classify one item, sent as ``{"<input name>": item}``."""
    sent = _read_object()
    only_fields(sent, (model.INPUT.name,))
    [row] = model.probabilities(parse_item(model.INPUT, sent.get(model.INPUT.name)))
    return {
        "model": model.NAME,
        "label": _best(row),
        "probabilities": dict(zip(model.LABELS, row, strict=True)),
    }


@app.get("/v2")
def server_metadata() -> dict[str, Any]:
    """Name the server; it has no protocol extensions."""
    return {"name": f"{model.NAME}-server", "version": "1", "extensions": []}


@app.get("/v2/health/live")
def server_live() -> dict[str, Any]:
    """Answer liveness: restart me if this fails."""
    return {"live": True}


@app.get("/v2/health/ready")
def server_ready() -> dict[str, Any]:
    """Answer readiness: send me requests while this succeeds."""
    return {"ready": True}


@app.get("/v2/models/<name>")
def model_metadata(name: str) -> dict[str, Any]:
    """Describe the model's tensors, so that a client can build a request without reading code."""
    _check_name(name)
    return {
        "name": model.NAME,
        "platform": "sklearn",
        "inputs": [model.INPUT.metadata()],
        "outputs": [LABEL.metadata(), PROBABILITIES.metadata()],
    }


@app.get("/v2/models/<name>/ready")
def model_ready(name: str) -> dict[str, Any]:
    """Answer readiness of one model."""
    _check_name(name)
    return {"name": model.NAME, "ready": True}


@app.post("/v2/models/<name>/infer")
def infer(name: str) -> dict[str, Any]:
    """Classify a batch: tensors in, tensors out, the request's ``id`` echoed."""
    _check_name(name)
    sent = _read_object()
    only_fields(sent, ("id", "parameters", "inputs", "outputs"))
    no_parameters(sent, "request")
    rows = model.probabilities(_read_inputs(sent))
    answer = {"model_name": model.NAME, "outputs": _outputs(rows, _wanted(sent))}
    return answer | _read_id(sent)


def _read_object() -> dict[str, Any]:
    """Return the body as a JSON object.

    Raises:
        UnsupportedMediaType: the body is not declared as plain JSON.
        Invalid: it is, but does not parse, or is not an object.
    """
    if not request.is_json:
        got = request.mimetype or "none"
        raise UnsupportedMediaType(
            f"content-type: expected application/json, got {got} "
            "(with curl, add: -H 'content-type: application/json')"
        )
    if request.content_encoding:
        raise UnsupportedMediaType(
            f"content-encoding: expected none, got {request.content_encoding}"
        )
    raw = _read_body()
    try:
        body = json.loads(raw)
    except ValueError as error:
        text = raw.decode(errors="replace")
        raise Invalid("body", f"JSON ({error})", text) from error
    except RecursionError as error:
        raise Invalid("body", "JSON nested less deeply", [[]]) from error
    if not isinstance(body, dict):
        raise Invalid("body", "a JSON object", body)
    return body


def _read_body() -> bytes:
    """Return the whole body; half of one must not pass for a request.

    Raises:
        RequestEntityTooLarge: it is longer than MAX_BODY_BYTES.
    """
    raw = request.get_data()
    if len(raw) > MAX_BODY_BYTES:
        raise RequestEntityTooLarge
    return raw


def _check_name(name: str) -> None:
    """Refuse a model we do not have."""
    if name != model.NAME:
        raise NotFound(f'no model "{name}" here, only "{model.NAME}"')


def _read_id(sent: dict[str, Any]) -> dict[str, str]:
    """Return the request's id, to be merged into the answer."""
    if "id" not in sent:
        return {}
    if not isinstance(sent["id"], str):
        raise Invalid("id", "text", sent["id"])
    return {"id": sent["id"]}


def _read_inputs(sent: dict[str, Any]) -> list[Any]:
    """Return the leaves of the only tensor these models take."""
    inputs = sent.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise Invalid("inputs", f'a list with the one tensor "{model.INPUT.name}"', inputs)
    return parse_batch(model.INPUT, inputs[0], "inputs[0]")


def _wanted(sent: dict[str, Any]) -> list[str]:
    """Return the names of the outputs asked for; none named means all."""
    names = (LABEL.name, PROBABILITIES.name)
    outputs = sent.get("outputs", [])
    if not isinstance(outputs, list) or not all(isinstance(entry, dict) for entry in outputs):
        raise Invalid("outputs", 'a list of {"name": ...}', outputs)
    for index, entry in enumerate(outputs):
        only_fields(entry, ("name", "parameters"), f"outputs[{index}]")
        no_parameters(entry, f"outputs[{index}]")
        if entry.get("name") not in names:
            raise Invalid(f"outputs[{index}].name", f"one of {names}", entry.get("name"))
    return [entry["name"] for entry in outputs] or list(names)


def _outputs(rows: list[list[float]], wanted: list[str]) -> list[dict[str, Any]]:
    """Return the tensors asked for, in that order, their data flat."""
    data: dict[str, tuple[Tensor, list[Any]]] = {
        LABEL.name: (LABEL, [_best(row) for row in rows]),
        PROBABILITIES.name: (PROBABILITIES, [value for row in rows for value in row]),
    }
    return [_output(*data[name], len(rows)) for name in wanted]


def _output(tensor: Tensor, data: list[Any], batch: int) -> dict[str, Any]:
    """Write one tensor: its metadata with the real batch size, and the data."""
    return tensor.metadata() | {"shape": [batch, *tensor.shape], "data": data}


def _best(row: list[float]) -> str:
    """Return the label with the highest probability."""
    return model.LABELS[row.index(max(row))]


@app.errorhandler(Invalid)
def on_invalid(error: Invalid) -> tuple[Response, int]:
    """Say what is wrong, and outside the protocol also show a request that works."""
    body: dict[str, Any] = {"error": str(error)}
    if request.path == "/predict":
        example = {model.INPUT.name: model.EXAMPLE}
        body |= {"field": error.field, "expected": error.expected, "example": example}
    return jsonify(body), 400


@app.errorhandler(HTTPException)
def on_http_error(error: HTTPException) -> Response:
    """Turn the framework's HTML error pages (404, 405 with Allow, 413, 415) into JSON."""
    own_words = error.description != type(error).description
    message = error.description if own_words else HELP.get(error.code or 0, error.description)
    response = Response(status=error.code, headers=error.get_headers())
    response.data = json.dumps({"error": message})
    response.content_type = "application/json"
    return response


@app.errorhandler(Exception)
def on_bug(error: Exception) -> tuple[Response, int]:
    """Log a traceback for us, and none for the client: it may name paths and data."""
    app.logger.exception("unhandled error", exc_info=error)
    return jsonify({"error": "internal error, see the container's log"}), 500
