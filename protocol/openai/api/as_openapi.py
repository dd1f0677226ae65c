"""The description of the API as an OpenAPI document: what tools read, and what requests are checked against.

OpenAPI Specification 3.1.0; JSON Schema, draft 2020-12. An operation's body is JSON; one that has a file is a form.
"""

from __future__ import annotations

import re

from protocol.budget import let_others_go_first
from protocol.openai.api.notation import (
    ChoiceShape,
    ListShape,
    MapShape,
    NamedShape,
    ObjectShape,
    ScalarShape,
    Shape,
    Shapes,
    UnionShape,
)
from protocol.openai.api.operations import Operation, Reference
from protocol.wire.json_text import JsonObject

_PARAMETER = re.compile(r"\{(\w+)\}")
_TYPES = {"str": "string", "int": "integer", "num": "number", "bool": "boolean", "null": "null", "time": "integer"}
_ERROR = {"$ref": "#/components/schemas/Error"}
_JSON, _FORM = "application/json", "multipart/form-data"
# What names of schemas may be made of (OpenAPI 3.1.0, "Components Object").
_MOST_NAME_CHARACTERS = 64


def openapi(reference: Reference, version: str) -> JsonObject:
    """Return the document; `version` is that of the service. It is made in turns with everybody else."""
    paths: dict[str, JsonObject] = {}
    used: list[str] = []
    for key in reference.keys():
        let_others_go_first()
        operation = reference.operation(key)
        item = paths.setdefault(operation.path, {})
        item[operation.method.lower()] = _operation(operation, reference.shapes, used)
    schemas: JsonObject = {"Error": _error_schema()}
    while used:  # a shape names others
        name = used.pop()
        if name not in schemas:
            let_others_go_first()
            schemas[name] = _schema(reference.shapes.named(name), used)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "oaiserve", "version": version,
            "description": "The OpenAI API as this server answers it, and checks requests against.",
        },
        "servers": [{"url": "/v1"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }  # fmt: skip


def _operation(operation: Operation, shapes: Shapes, used: list[str]) -> JsonObject:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(operation.path)
    ]
    if operation.query is not None:
        query = shapes.followed(operation.query)
        for name, member in query.members.items() if isinstance(query, ObjectShape) else ():
            parameters.append(
                {"name": name, "in": "query", "required": member.required, "schema": _schema(member.shape, used)}
            )
    made: JsonObject = {"operationId": _id(operation), "tags": [operation.path.split("/")[1]]}
    if parameters:
        made["parameters"] = parameters
    if operation.body is not None and operation.verb != "opens":
        media = _FORM if _has_file(operation.body, shapes) else _JSON
        made["requestBody"] = {"required": True, "content": {media: {"schema": _schema(operation.body, used)}}}
    status = "101" if operation.verb == "opens" else "200"
    made["responses"] = {
        status: {"description": operation.verb, **_answer(operation, used)},
        "default": {"description": "an error", "content": {_JSON: {"schema": _ERROR}}},
    }
    return made


def _id(operation: Operation) -> str:
    words = re.sub(r"\W+", "_", operation.path).strip("_")
    return f"{operation.method.lower()}_{words}"


def _answer(operation: Operation, used: list[str]) -> JsonObject:
    if operation.gives_bytes:
        return {"content": {"application/octet-stream": {}}}
    if operation.result is None:
        return {}
    schema = _schema(operation.result, used)
    if operation.verb == "lists":
        schema = {
            "type": "object", "required": ["object", "data"],
            "properties": {
                "object": {"const": "list"}, "data": {"type": "array", "items": schema},
                "has_more": {"type": "boolean"},
            },
        }  # fmt: skip
    return {"content": {_JSON: {"schema": schema}}}


def _has_file(shape: Shape, shapes: Shapes) -> bool:
    """Tell whether a body has a file among its members: then it comes as a form."""
    found = shapes.followed(shape)
    members = found.members.values() if isinstance(found, ObjectShape) else ()
    return any(_is_file(member.shape) for member in members)


def _is_file(shape: Shape) -> bool:
    if isinstance(shape, UnionShape):
        return any(_is_file(variant) for variant in shape.variants)
    inner = shape.item if isinstance(shape, ListShape) else shape
    return isinstance(inner, ScalarShape) and inner.kind == "file"


# ---- schemas --------------------------------------------------------------------------------------------------------


def _schema(shape: Shape, used: list[str]) -> JsonObject:
    """Return the JSON Schema of a shape; the names that it mentions are added to `used`."""
    if isinstance(shape, NamedShape):
        used.append(shape.name)
        return {"$ref": f"#/components/schemas/{shape.name}"}
    if isinstance(shape, ScalarShape):
        return _scalar(shape)
    if isinstance(shape, ChoiceShape):
        return {"const": shape.values[0]} if len(shape.values) == 1 else {"enum": list(shape.values)}
    if isinstance(shape, UnionShape):
        return {"anyOf": [_schema(variant, used) for variant in shape.variants]}
    if isinstance(shape, ListShape):
        return {"type": "array", "items": _schema(shape.item, used), **_bounds("Items", shape.low or None, shape.high)}
    if isinstance(shape, MapShape):
        made: JsonObject = {"type": "object", "additionalProperties": _schema(shape.item, used)}
        if shape.most is not None:
            made.update(maxProperties=shape.most, propertyNames={"maxLength": _MOST_NAME_CHARACTERS})
        return made
    required = [name for name, member in shape.members.items() if member.required]
    return {
        "type": "object",
        "properties": {name: _schema(member.shape, used) for name, member in shape.members.items()},
        **({"required": required} if required else {}),
    }


def _scalar(shape: ScalarShape) -> JsonObject:
    if shape.kind == "any":
        return {}
    if shape.kind == "file":
        return {"type": "string", "contentMediaType": "application/octet-stream"}
    made: JsonObject = {"type": _TYPES[shape.kind]}
    if shape.kind == "str":
        made.update(_bounds("Length", shape.low, shape.high))
    else:
        bounds = {"minimum": shape.low, "maximum": shape.high}
        made.update({name: bound for name, bound in bounds.items() if bound is not None})
    return made


def _bounds(what: str, low: float | None, high: float | None) -> JsonObject:
    bounds = {f"min{what}": low, f"max{what}": high}
    return {name: int(bound) for name, bound in bounds.items() if bound is not None}


def _error_schema() -> JsonObject:
    text: JsonObject = {"type": ["string", "null"]}
    members = {"message": {"type": "string"}, "type": {"type": "string"}, "param": text, "code": text}
    return {
        "type": "object", "required": ["error"],
        "properties": {"error": {"type": "object", "required": ["message", "type"], "properties": members}},
    }  # fmt: skip
