"""Check a value against a JSON Schema."""

from __future__ import annotations

from protocol.mock.json_schema.check import SchemaChecker
from protocol.mock.json_schema.document import SchemaDocument


def violations(value, schema):
    """Return everything that is wrong with a value under a schema, [] when it is valid."""
    document = SchemaDocument(schema)
    return list(SchemaChecker(document).problems(value, document.root))
