"""The OpenAPI 3.1 description of the service."""

from importlib.metadata import version
from typing import Any

_NUMBER = {"type": "number"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_PROBABILITIES = {"type": "object", "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1}}


def document(*, max_bytes: int, max_files: int, needs_token: bool) -> dict[str, Any]:
    """Return the description of the routes with this server's bounds."""
    paths: dict[str, Any] = {
        "/score": {"post": _score(max_bytes, max_files)},
        "/model": {"get": _get("What is served: the model, its scale, and the bounds of a request.", "Model")},
        "/health": {"get": {**_get("Whether the service works; needs no token.", "Health"), "security": []}},
        "/metrics": {
            "get": {
                "summary": "Counters in Prometheus' text format.",
                "responses": {"200": {"description": "Counters.", "content": {"text/plain": {"schema": _text()}}}},
            }
        },
        "/openapi.json": {"get": _get("This description.", None)},
    }
    if needs_token:
        for path, methods in paths.items():
            if path != "/health":
                for method in methods.values():
                    method["responses"]["401"] = _error("The token is missing or wrong.")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mpiqe",
            "summary": "Blind image quality assessment: how good does a photo look?",
            "version": version("mpiqe"),
        },
        "security": [{"token": []}] if needs_token else [],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}} if needs_token else {},
        },
    }


def _score(max_bytes: int, max_files: int) -> dict[str, Any]:
    photo = {"schema": {"type": "string", "format": "binary"}}
    return {
        "summary": "Score a photo, or several.",
        "description": (
            f"At most {max_bytes} bytes and {max_files} photos. The score of a photo does not depend on what else is "
            "scored. No URL is fetched: photos are sent."
        ),
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": _form()},
                "application/json": {"schema": {"$ref": "#/components/schemas/Images"}},
                "image/*": photo,
                "application/octet-stream": photo,
            },
        },
        "responses": {
            "200": _answer("At least one photo was scored; the others have their error.", "Scores"),
            "408": _error("The body took too long to arrive."),
            "413": _error("The body or the number of photos is over the limit."),
            "415": _error("A body of this type is not read."),
            "422": _answer("No photo could be read; says why, for each of them.", "Unreadable"),
            "503": {
                **_error("The queue is full."),
                "headers": {"Retry-After": {"description": "Seconds until to ask again.", "schema": _whole()}},
            },
        },
    }


def _form() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": {"type": "string", "format": "binary"}, "minProperties": 1}


def _schemas() -> dict[str, Any]:
    result = {
        "name": {**_TEXT_OR_NULL, "description": "What the caller called the photo."},
        "score": {"type": ["number", "null"], "description": "In the units of /model; null for a photo with an error."},
        "quality": {"type": ["number", "null"], "description": "Position on the scale, from 0 (worst) to 1 (best)."},
        "spread": {"type": ["number", "null"], "description": "Standard deviation over the photo's crops."},
        "interval": {
            "type": ["array", "null"],
            "items": _NUMBER,
            "minItems": 2,
            "maxItems": 2,
            "description": "Low and high of the prediction interval; null for a model without one.",
        },
        "scene": {"anyOf": [_PROBABILITIES, {"type": "null"}]},
        "distortion": {"anyOf": [_PROBABILITIES, {"type": "null"}]},
        "width": {"type": ["integer", "null"], "description": "Of the upright photo, in pixels."},
        "height": {"type": ["integer", "null"]},
        "error": {**_TEXT_OR_NULL, "description": "Why the photo has no score."},
    }
    results = {"type": "array", "items": {"$ref": "#/components/schemas/Result"}, "minItems": 1}
    image = _object({"base64": _text(), "name": _text()}, required=["base64"])
    return {
        "Images": _object({"images": {"type": "array", "minItems": 1, "items": image}}),
        "Result": _object(result),
        "Scores": _object({"model": _text(), "results": results}),
        "Unreadable": _object(
            {"error": _text(), "model": _text(), "results": results}, required=["error"]
        ),  # a form or JSON that cannot be read has no results
        "Error": _object({"error": _text()}),
        "Health": _object({"status": {"const": "ok"}}),
        "Model": _object(
            {
                "model": _text(),
                "unit": _text(),
                "low": _NUMBER,
                "high": _NUMBER,
                "higher_is_better": {"type": "boolean"},
                "interval_level": {"type": ["number", "null"]},
                "crops": _whole(),
                "crop_size": _whole(),
                "scenes": {"type": "array", "items": _text()},
                "distortions": {"type": "array", "items": _text()},
                "computes": _text(),
                "mpiqe": _text(),
                "limits": _object({name: _whole() for name in ("bytes", "files", "pixels", "queue")}),
            }
        ),
    }


def _object(properties: dict[str, Any], *, required: list[str] | None = None) -> dict[str, Any]:
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def _text() -> dict[str, Any]:
    return {"type": "string"}


def _whole() -> dict[str, Any]:
    return {"type": "integer", "minimum": 0}


def _get(summary: str, schema: str | None) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": _answer(summary, schema)}}


def _answer(text: str, schema: str | None) -> dict[str, Any]:
    kind = {"$ref": f"#/components/schemas/{schema}"} if schema else {"type": "object"}
    return {"description": text, "content": {"application/json": {"schema": kind}}}


def _error(text: str) -> dict[str, Any]:
    return _answer(text, "Error")
