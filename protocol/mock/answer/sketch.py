"""Find the JSON object that a prompt describes: drawn as `{"name": ..., "age": 0}`, or told as "keys name and age".

The description becomes a JSON Schema, so that the value is made as for any other schema. A key's type is the one that
the prompt tells ("age (integer)", `"age": 36`), or else the usual one of keys of that name.
"""

from __future__ import annotations

import itertools
import re
import typing

from protocol.budget import Budget
from protocol.mock.answer.cost import first_match, matches
from protocol.mock.answer.declared import read_declared
from protocol.mock.answer.hints import hint_text
from protocol.mock.answer.key_types import TYPES, in_range, object_of, typed_schema, usual_schema
from protocol.mock.answer.scalar import singular
from protocol.wire.long_json import STRICT_JSON

_MAX_KEYS = 50
_MAX_DEPTH = 8
_MAX_ITEMS = 20
_TOKEN = r'"(?:[^"\\\n]|\\.){0,500}"'
_TOKEN += r"|'[^'\n]{0,500}'"
_TOKEN += r'|[\u201c\u201d][^\u201c\u201d\n]{0,500}\u201d|[{}\[\]:,]|\.{3}|…|[^\s{}\[\]:,"\']+'
_KEY = r"[A-Za-z_][\w-]{0,63}"

# What comes before a list of keys.
_LIST = (
    r"(?i)\b(?:keys?|fields?|properties|property|attributes?|members?|columns?)\b"
    r"(?: (?:should be|must be|are|is|of|named|called"
    r"|like|such as|including|exactly|only))*\s*[:=]?\s*\(?",
    r"(?i)\bjson\b[^.?!\n{]{0,40}?\b(?:with|containing|contains?|including|includes?|having|has|have|of)\b"
    r"(?: (?:the|these|following|only|exactly|a|an|two|three|four|five"
    r"|keys?|fields?|properties|attributes|its|structure|format|shape|schema))*\s*[:=]?\s*",
    r"(?i)\bjson(?: object| format)?\s*[:：]\s*",
    r"(?i)\b(?:extract|give|return|provide|output)(?: me)?(?: the)?:?\s"
    r"(?=[^.?!\n{]{1,120}\b(?:as|in)(?: an?)?(?: valid)? json\b)",
    r"(?:字段|键名|键|属性)(?:为|是|有|名|包括|包含|如下)*\s*[:：]?\s*",
    r"(?:包含|包括)(?:以下|如下)?\s*[:：]?\s*",
)
_NOTE = (
    r"(?:\s*[(（](?P<note>[^()（）\n]{1,120})[)）]|(?:\s+as\s+|\s*[:=\u2013\u2014-]\s*)"
    r"(?P<as>(?:an? )?(?:list of |array of )?[a-z]+(?:\[\])?)"
    r"|\s+(?P<kind>array|list|string|number|integer|boolean|flag|object)\b)?"
)
_BULLET = r"[^\S\n]*\n?[^\S\n]*(?:[-*\u2022]|\d{1,2}[.)])\s+"
_ITEM = (
    r"\s*(?:\*\*)?(?:(?:and|or|the|a|an) (?!and\b|or\b)|和|与|及)*"
    r"(?:[\"'`\u201c](?P<q>[^\W\d][\w-]{0,63})[\"'`\u201d]"
    rf"|(?P<w>{_KEY})|(?P<h>[\u4e00-\u9fff]{{1,6}}?)(?=[\s,;、，。；和与及(（]|\Z)){_NOTE}"
)
_SEPARATOR = r"\s*(?:[,;、，]\s*(?:and then |and |then |以及|和)?|\b(?:and )?then\b|\band\b|&|\+|和|与|及)\s*"
# "3 users, each with": an array of such objects.
_EACH = r"(?i)(?:(\d{1,2}|two|three|four|five|ten) )?(?<![a-z_])([a-z_]{2,40}s),?"
_EACH += r" (?:and )?each (?:one )?(?:having|with|has|containing)\b:?"
_COUNTS = {"two": 2, "three": 3, "four": 4, "five": 5, "ten": 10}
# A key that says itself that it is one: "a 'summary' key and a 'tags' array".
_SAID_KEY = r"[\"'`\u201c\u00ab\u300c]([^\W\d][\w-]{0,63})[\"'`\u201d\u00bb\u300d]\s(?:\(|as )?"
_SAID_KEY += r"((?:key|field|property|attribute|array|list|string|number|integer|boolean|object)\b(?: of \w{1,20})?)"
_LINE = (
    r"(?m)^[ \t]{0,8}(?:[-*\u2022] )?[\"'`]?(?P<key>[A-Za-z_][\w-]{0,63})[\"'`]?[ \t]{0,3}[:=][ \t]{0,3}"
    r"(?P<type><[^<>\n]{1,80}>|(?:string|str|int|integer|float|number|bool|boolean|array|list)(?:\[\w{0,20}\])?)"
    r"[ \t,;]{0,3}$"
)
_EXAMPLE = r"(?i)\b(?:example|e\.g\.|for instance)\b"
_MAX_SCHEMA_TEXT = 100_000  # characters that are searched for a JSON Schema
_MAX_BRACES = 50
_MARKED = (
    r"(?:(?i:\b(?:keys?|fields?|return|give|provide|output|include|show|use|with"
    r"|and|or|named|called|me|a|the|y|et|und|полями|поля|ключами|ключи|и)\b)\s*|[,、:：和与はとがを]\s*)"
    r"[\"`\u201c\u201e\u00ab\u300c\u300e]([^\W\d][\w-]{0,63})[\"`\u201d\u201c\u00bb\u300d\u300f]"
)
_NO_KEY = frozenset(
    "the a an and or of for in on to with from by as that this these those which what who where when how your my our"
    " their his her its it me you i we they them please json object objects format valid only key keys field fields"
    " value values answer response output result schema about following structure all any each some no not is are be"
    " was were has have information info data details if then so but at use do make give return list every".split()
)


class Sketch(typing.NamedTuple):
    """A schema, and the prompt without the words that describe it: what is left may hold values."""

    schema: dict[str, typing.Any]
    rest: str


def read_sketch(text: str, budget: Budget) -> Sketch | None:
    """Return the object that a text draws or tells of, None where it does neither."""
    schema = _last_written_schema(text[:_MAX_SCHEMA_TEXT], budget)
    if schema is not None:
        return schema
    text = hint_text(text)
    declared = read_declared(text, budget)
    if declared is not None:
        return Sketch(declared.schema, declared.rest)
    return _drawn(text, budget) or _in_lines(text, budget) or _told(text, budget)


def _sketch(text: str, start: int, end: int, properties: dict[str, typing.Any]) -> Sketch:
    return Sketch(object_of(properties), f"{text[:start]} ; {text[end:]}")


# ---- drawn


def _last_written_schema(text: str, budget: Budget) -> Sketch | None:
    """Return the last JSON Schema that a text has and does not call an example, as format instructions write it.

    What stands between several schemas, such as an example's instance, holds no values.
    """
    found: dict[str, typing.Any] | None = None
    start = end = 0
    for brace in itertools.islice(re.finditer(r"\{", text), _MAX_BRACES):
        if brace.start() < end:
            continue
        budget.spend(10 + (len(text) - brace.start()) // 50)
        schema, after = _written_schema(text, brace.start())
        if schema is None:
            continue
        start, end = (brace.start(), after) if found is None else (start, after)
        if found is None or not re.search(_EXAMPLE, text[max(0, brace.start() - 60) : brace.start()]):
            found = schema
    return None if found is None else Sketch(found, f"{text[:start]} ; {text[end:]}")


def _written_schema(text: str, start: int) -> tuple[dict[str, typing.Any] | None, int]:
    """Return the JSON Schema that a text has from a brace on, and its end; None where there is none of an object."""
    try:
        value, end = STRICT_JSON.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None, start
    is_schema = isinstance(value, dict) and isinstance(value.get("properties"), dict) and bool(value["properties"])
    if not is_schema or not all(isinstance(part, (dict, bool)) for part in value["properties"].values()):
        return None, start
    return value, end


def _in_lines(text: str, budget: Budget) -> Sketch | None:
    """Return the object of lines such as `name: <string>`, of which there are two at least."""
    found = list(matches(_LINE, text, budget))[:_MAX_KEYS]
    if len(found) < 2:
        return None
    keys = {line["key"]: _noted(line["key"], line["type"].strip("<>")) for line in found}
    return _sketch(text, found[0].start(), found[-1].end(), keys)


def _drawn(text: str, budget: Budget) -> Sketch | None:
    """Return the first object that a text draws and that has keys."""
    end = 0
    for found in list(re.finditer(r"\{", text))[:20]:
        budget.spend(10 + (len(text) - found.start()) // 20)
        if found.start() < end:
            continue  # it is within a drawing that has no keys
        tokens = list(matches(_TOKEN, text[found.start() :], budget))
        budget.spend(5 * len(tokens))
        schema, used = _shape([token[0] for token in tokens], 0, "", 0)
        end = found.start() + tokens[min(used, len(tokens)) - 1].end()
        if schema.get("properties"):
            return Sketch(schema, f"{text[: found.start()]} ; {text[end:]}")
    return None


def _shape(tokens: typing.Sequence[str], at: int, name: str, depth: int) -> tuple[dict[str, typing.Any], int]:
    """Return the schema of the drawn value at a token, and the place after it."""
    token = tokens[at] if at < len(tokens) else ""
    if token == "{" and depth < _MAX_DEPTH:
        return _shape_of_object(tokens, at + 1, depth)
    if token == "[" and depth < _MAX_DEPTH:
        at += 1
        item: dict[str, typing.Any] = {"type": "string"}
        if at < len(tokens) and tokens[at] not in ("]", "...", "…"):
            item, at = _shape(tokens, at, singular(name), depth + 1)
        while at < len(tokens) and tokens[at] != "]":
            at += 1
        return {"type": "array", "items": item}, at + 1
    if list(tokens[at + 1 : at + 3]) == ["[", "]"]:  # string[]
        return {"type": "array", "items": _scalar_shape([token], singular(name)), "minItems": 1}, at + 3
    end = at
    while end < len(tokens) and tokens[end] not in (",", "}", "]"):
        end += 1
    return _scalar_shape(tokens[at:end], name), end


def _shape_of_object(tokens: typing.Sequence[str], at: int, depth: int) -> tuple[dict[str, typing.Any], int]:
    properties: dict[str, typing.Any] = {}
    while at < len(tokens) and tokens[at] != "}":
        key = tokens[at].strip("\"'\u201c\u201d`")
        if tokens[at] in (",", "...", "…") or not key or len(properties) >= _MAX_KEYS:
            at += 1
        elif at + 1 < len(tokens) and tokens[at + 1] == ":":
            properties[key], at = _shape(tokens, at + 2, key, depth + 1)
        else:
            if re.fullmatch(_KEY, key) and at + 1 < len(tokens) and tokens[at + 1] in (",", "}"):
                properties[key] = usual_schema(key)  # {name, age}
            at += 1
    return object_of(properties), at + 1


def _scalar_shape(said: typing.Sequence[str], name: str) -> dict[str, typing.Any]:
    """Return the schema for what is drawn in the place of a value: an example, a type's name, or dots."""
    first = said[0] if said else ""
    words = [word for word in re.split(r"[\s|/<>]+", " ".join(said).strip("\"'\u201c\u201d").lower()) if word]
    choices = [part.strip(" \"'\u201c\u201d<>") for part in " ".join(said).split("|")]
    if len(choices) > 1 and not all(part.lower() in TYPES for part in choices):
        return {"enum": [part for part in choices if part] or [""]}
    if re.fullmatch(r"-?\d+", first):
        return {"type": "integer"}
    if re.fullmatch(r"-?\d+\.\d+", first):
        return {"type": "number"}
    if re.fullmatch(r"\d{1,9}(?:\.\d{1,6})?-\d{1,9}(?:\.\d{1,6})?", first):
        return in_range({"type": "number" if "." in first else "integer"}, first)
    if first in ("true", "false"):
        return {"type": "boolean"}
    if words and words[0].rstrip("[]") in TYPES:
        kind = TYPES[words[0].rstrip("[]")] if not words[0].endswith("[]") else "array"
        return in_range(typed_schema(kind, name), " ".join(words))
    if first[:1] in ('"', "'") and len(first) > 2 and not re.search(r"\.\.\.|…|<|value|string", first):
        return {"type": "string"}
    return usual_schema(name)


# ---- told


def _told(text: str, budget: Budget) -> Sketch | None:
    """Return the object whose keys a text lists."""
    each = first_match(_EACH, text, budget)
    if each is not None:
        keys, end = _listed_keys(text, each.end())
        if keys:
            count = _COUNTS.get((each[1] or "").lower()) or int(each[1] or 1)
            items = {"type": "array", "items": object_of(keys), "minItems": max(1, min(_MAX_ITEMS, count))}
            return _sketch(text, each.start(), end, {each[2]: items})
    said = {found[1]: _noted(found[1], found[2]) for found in list(matches(_SAID_KEY, text, budget))[:_MAX_KEYS]}
    if len(said) > 1:
        return Sketch(object_of(said), re.sub(_SAID_KEY, " ; ", text))
    for rule in _LIST:
        for found in list(matches(rule, text, budget))[:10]:
            budget.spend(500)
            keys, end = _listed_keys(text, found.end())
            if len(keys) > 1 or (keys and _is_single_key(text, found.end(), end)):
                return _sketch(text, found.start(), end, keys)
    if re.search(r"(?i)json|object|\bkeys?\b|\bfields?\b|字段|键", text):
        marked = [found[1] for found in matches(_MARKED, text, budget)][:_MAX_KEYS]
        listed = re.search(r"(?i)\b(?:list|array) of (?:(\d{1,2}) |all |the |some )*([a-z_]{2,40})\b", text)
        keys = {key: usual_schema(key) for key in marked}
        if not keys and listed:
            count = max(1, min(_MAX_ITEMS, int(listed[1] or 1)))
            keys = {listed[2].lower(): {**typed_schema("array", listed[2].lower()), "minItems": count}}
        if keys:
            return Sketch(object_of(keys), re.sub(_MARKED, " ; ", text))
    return None


def _is_single_key(text: str, start: int, end: int) -> bool:
    """Say whether a list of one word has a key and no prose: the word is marked as a key, or ends the sentence."""
    if re.search(r"[\"'`\u201d()（）]|\b(?:as|string|number|integer|boolean|list|array)\b", text[start:end]):
        return True
    is_name = text[start:end].lstrip()[:1].isupper()
    return not is_name and re.match(r"\s*(?:[.!?;\n。！？；]|\Z)", text[end:]) is not None


def _listed_keys(text: str, at: int) -> tuple[dict[str, typing.Any], int]:
    """Return the keys of a list, and where it ends."""
    keys: dict[str, typing.Any] = {}
    end = at
    bullet = re.compile(_BULLET).match(text, at)
    at = bullet.end() if bullet else at
    while len(keys) < _MAX_KEYS:
        item = re.compile(_ITEM).match(text, at)
        key = (item["q"] or item["w"] or item["h"]) if item else ""
        if item is None or (item["w"] and key.lower() in _NO_KEY and not text[item.end("w") :].startswith(",")):
            break
        said = item["as"] or item["kind"] or ""
        note = item["note"] or said
        keys[key] = _noted(key, note)
        end = item.end()
        if said and not _note_type(note):
            end = item.end("q") + 1 if item["q"] else max(item.end("w"), item.end("h"))  # prose follows, and no type
        following = re.compile(rf"[^\n]{{0,300}}\n{_BULLET}" if bullet else _SEPARATOR).match(text, end)
        if following is None:
            break
        at = following.end()
    return keys, end


def _note_type(note: str) -> str:
    if re.search(r"\b(?:list|array)\b|\[\]|数组|列表", note):
        return "array"
    return next((TYPES[word] for word in re.findall(r"[^\W\d_]+", note) if word in TYPES), "")


def _noted(key: str, note: str) -> dict[str, typing.Any]:
    literals = re.search(r"Literal\[([^\[\]]{1,200})\]", note)
    members = re.findall(r"['\"]([^'\"]{1,60})['\"]", literals[1]) if literals else []
    if members:
        return {"enum": members}
    note = note.lower()
    kind = _note_type(note)
    if not kind:
        return usual_schema(key)
    schema = typed_schema(kind, key)
    schema = in_range(schema, note)
    if kind == "array" and re.search(r"\b(?:numbers|integers|ints|floats)\b", note):
        schema["items"] = {"type": "number" if "integers" not in note and "ints" not in note else "integer"}
    return schema
