"""JSON Schemas (2020-12) of every file and every answer, generated from the records: `python -m devsh_memory_mcp.store.schemas DIRECTORY`.

A test holds `schemas/` equal to what this gives.
"""

import inspect
import json
import sys
from collections.abc import Iterable
from functools import reduce
from operator import or_
from pathlib import Path
from types import UnionType
from typing import get_args, get_origin, get_type_hints

from pydantic import BaseModel, create_model

from devsh_memory_mcp.domain import answers, events, exchange
from devsh_memory_mcp.domain.documents import AgentsDocument, MailboxDocument, PlanDocument
from devsh_memory_mcp.domain.records import Record
from devsh_memory_mcp.settings import Values
from devsh_memory_mcp.shim.rundir import Letter, Outcome, Report, Run

Schema = dict[str, object]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ENVELOPE: dict[str, Schema] = {
    "seq": {"type": "integer", "minimum": 1, "description": "The number of the event; there is no gap."},
    "timestamp": {"type": "string", "format": "date-time", "description": "When, in UTC with milliseconds."},
    "end": {"type": "integer", "minimum": 1, "description": "In a commit of several events, the number of its last one."},
}


def schemas() -> dict[str, Schema]:
    """Every schema by the path of its file."""
    documents: dict[str, type[BaseModel]] = {"PLAN.json": PlanDocument, "AGENTS.json": AgentsDocument, "MAILBOX.json": MailboxDocument}
    found = {f"{name.removesuffix('.json')}.schema.json": model_schema(model) for name, model in documents.items()}
    found["settings.schema.json"] = Values.model_json_schema(mode="serialization")
    found["EVENTS.schema.json"] = journal_schema(events.ALL)
    for name, shape in (("run", Run), ("report", Report), ("inbox", Letter), ("outcome", Outcome)):
        found[f"{name}.schema.json"] = shape_schema(shape)
    for answer in answer_models():
        found[f"answers/{answer.__name__}.schema.json"] = model_schema(answer)
    return {name: {"$schema": DIALECT} | schema for name, schema in found.items()}


def answer_models() -> list[type[BaseModel]]:
    """What tools answer with: the answers and the records of lists."""
    members = [
        member
        for module in (answers, exchange)
        for _, member in inspect.getmembers(module, inspect.isclass)
        if member.__module__ == module.__name__
    ]
    return [member for member in members if issubclass(member, Record)]


def model_schema(model: type[BaseModel]) -> Schema:
    """The schema of a record as it is written."""
    return model.model_json_schema(by_alias=True, mode="serialization")


def journal_schema(kinds: Iterable[type[events.Event]]) -> Schema:
    """A line of EVENTS.jsonl: the envelope and, by `event`, the fields beside it."""
    definitions: dict[str, object] = {}
    lines: list[Schema] = []
    for kind in kinds:
        schema = kind.model_json_schema(by_alias=True, mode="serialization", ref_template="#/$defs/{model}")
        definitions |= _members(schema.pop("$defs", {}))
        own = {"event": {"const": kind.name}} | _members(schema.get("properties", {}))
        required = ["seq", "timestamp", "event", *schema.get("required", [])]
        definitions[kind.__name__] = schema | {"properties": _ENVELOPE | own, "required": required}
        lines.append({"$ref": f"#/$defs/{kind.__name__}"})
    return {"title": "A line of EVENTS.jsonl", "oneOf": lines, "$defs": definitions}


def shape_schema(shape: type) -> Schema:
    """The schema of a file in the run directory, whose shapes are plain tuples; a key without a value is null there."""
    return model_schema(_record_of(shape))


def _record_of(shape: type) -> type[BaseModel]:
    defaults = getattr(shape, "_field_defaults", {})
    fields = {name: (_record_type(hint), defaults.get(name, ...)) for name, hint in get_type_hints(shape).items()}
    return create_model(shape.__name__, __base__=Record, __doc__=inspect.getdoc(shape), **fields)  # type: ignore[call-overload, no-any-return]


def _record_type(hint: object) -> object:
    """The type with a record in the place of each shape."""
    if isinstance(hint, type) and hasattr(hint, "_fields"):
        return _record_of(hint)
    parts = tuple(_record_type(part) for part in get_args(hint))
    if isinstance(hint, UnionType):
        return reduce(or_, parts)
    origin = get_origin(hint)
    return origin[parts] if origin is not None else hint


def _members(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def write(directory: Path) -> None:
    """Puts every schema into `directory`."""
    for name, schema in schemas().items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text_of(schema))


def text_of(schema: Schema) -> str:
    """The schema as it stands in its file."""
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "schemas"))
