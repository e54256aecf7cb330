"""/openapi.json, made of the table of operations, and a page that shows it without a script or another host."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from devsh_memory_mcp.config import VERSION
from devsh_memory_mcp.faces.http_catalogue import CATALOGUE_ROUTES
from devsh_memory_mcp.faces.http_compat import COMPATIBLE
from devsh_memory_mcp.faces.http_events import EVENT_ROUTES
from devsh_memory_mcp.faces.http_faults import STATUSES
from devsh_memory_mcp.faces.http_front import Listed
from devsh_memory_mcp.faces.http_shapes import Fault, Health
from devsh_memory_mcp.faces.operations import OPERATIONS, STREAMS, Operation, Stream

Json = dict[str, Any]

_REF = "#/components/schemas/{model}"
_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1, "maxLength": 64}}
_WHERE: Json = {"type": "string", "minLength": 1, "maxLength": 64, "description": "Which orchestration; else the task's, else your own."}
_NAMES = {
    400: "The request is wrong.", 401: "There is no token, or none that is good.", 403: "The token is not for that.",
    404: "There is no such thing.", 405: "It is not asked so.", 409: "The state of things forbids it.", 413: "It is too large.",
    429: "The token asks too often.", 500: "A fault of the server.", 503: "Not now; nothing was done.", 507: "No room on the disk.",
}  # fmt: skip


def openapi() -> Json:
    """The document."""
    every = _every()
    kinds: dict[str, type[BaseModel]] = {kind.__name__: kind for each in every for kind in (each.takes, each.answers)}
    kinds |= {"Fault": Fault, "Health": Health}
    taken = {each.takes for each in every}
    _, schemas = models_json_schema(
        [(kind, "validation" if kind in taken else "serialization") for kind in kinds.values()], by_alias=True, ref_template=_REF
    )
    definitions: Json = schemas.get("$defs", {})
    paths: Json = {"/health": {"get": _health()}}
    paths |= {route.path: {"get": _listed(route)} for route in (*EVENT_ROUTES, *CATALOGUE_ROUTES)}
    for each in every:
        entry = _stream(each, definitions) if isinstance(each, Stream) else _operation(each, definitions)
        paths.setdefault(each.path, {})[each.method.lower()] = entry
    return {
        "openapi": "3.1.0",
        "info": {"title": "devsh", "version": VERSION, "description": "Orchestrations of sub-agents, over HTTP."},
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "taskRun": {"type": "apiKey", "in": "header", "name": "X-Task-Run-JWT"},
                "cmux": {"type": "apiKey", "in": "header", "name": "x-cmux-token"},
            },
        },
        "security": [{"bearer": []}, {"taskRun": []}, {"cmux": []}],
    }


def _every() -> list[Operation | Stream]:
    return [*OPERATIONS, *COMPATIBLE, *STREAMS]


def _health() -> Json:
    return {
        "operationId": "health",
        "summary": "That the server lives.",
        "security": [],
        "responses": {"200": _response("Health", "It lives."), **_faults({403, 500})},
    }


def _listed(route: Listed) -> Json:
    """A route whose answers are no record of ours."""
    goes_on = route.media_type == "text/event-stream"
    text: Json = {"type": "string"}
    query = [{"name": name, "in": "query", "required": False, "schema": text, "description": said} for name, said in route.query]
    entry: Json = {"operationId": route.name, "summary": route.text, "parameters": [*([_ID] if "{id}" in route.path else []), *query]}
    if route.is_open:
        entry["security"] = []
    content = {route.media_type: {"schema": text if goes_on else {"type": "object"}}}
    entry["responses"] = {"200": {"description": "It goes on." if goes_on else "Done.", "content": content}, **_faults()}
    return entry


def _operation(operation: Operation, definitions: Json) -> Json:
    entry = _head(operation)
    if operation.method == "POST":
        name = operation.takes.__name__
        flat = {**definitions[name], "properties": {**definitions[name].get("properties", {}), "orchestrationId": _WHERE}}
        body = {key: value for key, value in flat.items() if key != "title"}
        entry["requestBody"] = {"required": bool(definitions[name].get("required")), "content": {"application/json": {"schema": body}}}
    else:
        entry["parameters"] += _query(definitions[operation.takes.__name__])
    entry["responses"] = {str(operation.status): _response(operation.answers.__name__, "Done."), **_faults()}
    return entry


def _stream(stream: Stream, definitions: Json) -> Json:
    entry = _head(stream)
    entry["parameters"] += _query(definitions[stream.takes.__name__])
    content = {"application/x-ndjson": {"schema": {"$ref": _REF.format(model=stream.answers.__name__)}}}
    entry["responses"] = {"200": {"description": "One of these on each line; empty lines mean nothing.", "content": content}, **_faults()}
    return entry


def _head(each: Operation | Stream) -> Json:
    parameters = [_ID] if "{id}" in each.path else []
    roles = ", ".join(sorted(each.roles))
    return {"operationId": each.name, "summary": each.text, "description": f"For tokens of: {roles}.", "parameters": parameters}


def _query(schema: Json) -> list[Json]:
    required = schema.get("required", [])
    found = [
        {"name": name, "in": "query", "required": name in required, "schema": _without_null(value)}
        for name, value in schema.get("properties", {}).items()
    ]
    return [*found, {"name": "orchestrationId", "in": "query", "required": False, "schema": _WHERE}]


def _without_null(schema: Json) -> Json:
    """What a query has room for: a parameter that is null is left out."""
    if "anyOf" not in schema:
        return schema
    kept = [each for each in schema["anyOf"] if each.get("type") != "null"]
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    return {**rest, **kept[0]} if len(kept) == 1 else {**rest, "anyOf": kept}


def _response(name: str, text: str) -> Json:
    return {"description": text, "content": {"application/json": {"schema": {"$ref": _REF.format(model=name)}}}}


def _faults(statuses: Iterable[int] = frozenset(STATUSES.values())) -> Mapping[str, Json]:
    return {str(status): _response("Fault", _NAMES[status]) for status in sorted(statuses)}


def page() -> str:
    """What there is, for people."""
    rows = "".join(
        f"<tr><td>{each.method}<td><code>{escape(each.path)}</code><td>{escape(each.text)}<td>{escape(', '.join(sorted(each.roles)))}"
        for each in _every()
    )
    rows += "".join(
        f"<tr><td>GET<td><code>{escape(each.path)}</code><td>{escape(each.text)}<td>{'everybody' if each.is_open else 'head, user, worker'}"
        for each in (*EVENT_ROUTES, *CATALOGUE_ROUTES)
    )
    return _PAGE.format(version=escape(VERSION), rows=rows)


_PAGE = """<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width"><title>devsh</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}}
td,th{{padding:.25rem .75rem .25rem 0;text-align:left;vertical-align:top}}code{{font-size:14px}}</style>
<h1>devsh {version}</h1>
<p>Orchestrations of sub-agents, over HTTP. Every request but this page's needs a token: <code>Authorization: Bearer</code>, made by
<code>devsh token</code> where the server runs. Shapes are in <a href="/openapi.json">/openapi.json</a>.</p>
<table><tr><th>method<th>path<th>what<th>for tokens of{rows}</table></html>
"""
