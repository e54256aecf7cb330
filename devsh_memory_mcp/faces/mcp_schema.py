"""Tool schemas, made from the records and kept small: every session pays for them in a model's context."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

# Checked all the same, and refused in words: no model needs to know how long a title may be, nor that absent means no.
_UNSHOWN = frozenset({"title", "$defs", "minLength", "maxLength", "minItems", "maxItems"})
_SMALL_RANGE = 1000
_EMPTY: tuple[Any, ...] = (None, False, [], {})


@cache
def input_schema(arguments: type[BaseModel]) -> Schema:
    """What a tool takes; closed. Of a record inside only the fields' names and types are shown. To be copied before it is changed."""
    full = arguments.model_json_schema(by_alias=True)
    definitions = {name: _sketched(record) for name, record in full.get("$defs", {}).items()}
    schema = _compact(_inlined(full, definitions))
    schema.setdefault("properties", {})
    schema["additionalProperties"] = False
    return schema


@cache
def output_schema(answer: type[BaseModel], fields: tuple[str, ...]) -> Schema:
    """What a tool answers: `fields` are always there; the answer may hold further ones."""
    full = answer.model_json_schema(by_alias=True, mode="serialization")
    definitions = full.get("$defs", {})
    shown = {name: _outlined(full["properties"][name], definitions) for name in fields}
    return {"type": "object", "properties": shown, "required": list(fields)}


def _outlined(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """A field's type alone; of a record only that it is an object, of a list only what it holds."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    small = _compact({key: item for key, item in schema.items() if key != "default"})
    kept: Schema = {key: small[key] for key in ("type", "anyOf") if key in small}
    if schema.get("type") == "array" and (items := _outlined(schema.get("items", {}), definitions)) != {"type": "object"}:
        kept["items"] = items
    return kept


def _sketched(record: Schema) -> Schema:
    fields = {name: _outlined(_nullable(field | {"default": None}), {}) for name, field in record["properties"].items()}
    required = {"required": record["required"]} if "required" in record else {}
    return {"type": "object", "properties": fields, **required, "additionalProperties": False}


def _inlined(schema: Any, definitions: Mapping[str, Schema]) -> Any:
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {**definitions[schema["$ref"].rpartition("/")[2]], **{key: item for key, item in schema.items() if key != "$ref"}}
    return {key: _inlined(item, definitions) for key, item in schema.items() if key != "$defs"}


def _compact(schema: Schema) -> Schema:
    small = {key: _compacted(item) for key, item in schema.items() if key not in _UNSHOWN}
    if "default" in small and small["default"] in _EMPTY and "anyOf" not in small:
        del small["default"]
    if schema.get("maximum", 2 * _SMALL_RANGE) > _SMALL_RANGE:
        small = {key: item for key, item in small.items() if key not in ("minimum", "maximum")}
    if "properties" in schema:
        small["properties"] = {name: _compact(item) for name, item in schema["properties"].items()}
        small.pop("description", None)
    return _nullable(small)


def _compacted(item: Any) -> Any:
    if isinstance(item, dict):
        return _compact(item)
    return [_compacted(each) for each in item] if isinstance(item, list) else item


def _nullable(schema: Schema) -> Schema:
    """`X or null` with a null default is optional as it is: only X is shown. Elsewhere both are named, each with a type of its own."""
    options = schema.get("anyOf", [])
    if len(options) != 2 or {"type": "null"} not in options or schema.get("default", ...) is not None:
        return schema
    (option,) = (each for each in options if each != {"type": "null"})
    return {**option, **{key: item for key, item in schema.items() if key not in ("anyOf", "default")}}
