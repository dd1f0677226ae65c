"""JSON mode: the object has the shape that the prompt or the instructions show, in any of the usual ways.

The prompts are those of LangChain's and LlamaIndex' parsers, Instructor, DSPy, and of people.
"""

from __future__ import annotations

import json

import pytest
from json_schemas import violations
from steps import assert_grows_in_proportion

from protocol.mock.answer.reply import Question, reply

TEXT = "powered by openai"


def answered(prompt, instructions=""):
    return json.loads(reply(Question(prompt, format="json_object", instructions=instructions), TEXT).text)


LISTED = [
    ("a, then b, then c", "Return JSON with fields: title, then summary, then tags",
     {"title": "title", "summary": "summary", "tags": ["tag"]}),
    ("dspy", "Respond with a JSON object in the following order of fields: `reasoning`, then `answer`, then `score` (must be"
     " formatted as a valid Python float), then `kind` (must be formatted as a valid Python Literal['Good', 'Bad']).",
     {"reasoning": "reasoning", "answer": "answer", "score": 1.5, "kind": "Good"}),
    ("back-ticks", "Return JSON with `title` and `year`", {"title": "title", "year": 1}),
    ("keys_that_say_so", "Respond in JSON with a 'summary' key and a 'tags' key", {"summary": "summary", "tags": ["tag"]}),
    ("fields_that_say_so", 'A JSON object with a "summary" field and a "scores" array',
     {"summary": "summary", "scores": [1.5]}),
    ("must_have", "The JSON must have: name (string), age (integer)", {"name": "Ada Lovelace", "age": 1}),
    ("and_as_json", "Extract the name and age as JSON", {"name": "Ada Lovelace", "age": 1}),
    ("ampersand", "Extract name & age as JSON", {"name": "Ada Lovelace", "age": 1}),
    ("named_types", "JSON with a `tags` list and an `ok` boolean", {"tags": ["tag"], "ok": True}),
    ("chinese", "输出JSON，包含“姓名”和“年龄”两个字段", {"姓名": "姓名", "年龄": "年龄"}),
    ("japanese", "JSONで返してください。キーは「名前」と「年齢」です。", {"名前": "名前", "年齢": "年齢"}),
    ("russian", "Верни JSON с полями «имя» и «возраст»", {"имя": "имя", "возраст": "возраст"}),
    ("lines", "Answer in JSON:\nname: <string>\nage: <int>", {"name": "Ada Lovelace", "age": 1}),
    ("lines_of_types", "Reply as JSON.\n- name: string\n- tags: list[str]\n- ok: boolean",
     {"name": "Ada Lovelace", "tags": ["tag"], "ok": True}),
    ("lines_with_a_range", "JSON:\nscore: <float 0-1>\nrank: <int, at least 3>", {"score": 0.7, "rank": 3}),
    ("drawn_arrays", "Return JSON with the schema { title: string, tags: string[], scores: number[] }",
     {"title": "title", "tags": ["tag"], "scores": [1.5]}),
    ("drawn_ranges", 'JSON like {"sentiment": "positive" | "negative", "score": 0.0-1.0, "stars": 2-5}',
     {"sentiment": "positive", "score": 0.7, "stars": 2}),
    ("bullets_of_a_structure", "Output a JSON with the following structure:\n- title: string, the title\n- ok: boolean\n",
     {"title": "title", "ok": True}),
    ("drawn_with_placeholders", 'Output JSON:\n```\n{\n  "answer": "<string>",\n  "confidence": <float 0-1>\n}\n```',
     {"answer": "answer", "confidence": 0.7}),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "value"), [row[1:] for row in LISTED], ids=[row[0] for row in LISTED])
def test_keys_are_read_where_a_prompt_lists_them(prompt, value):
    assert answered(prompt) == value
    assert answered("Go on.", prompt) == value


DECLARED = [
    ("typescript", "Return JSON matching interface User { name: string; age?: number; tags: string[];"
     " role: 'admin' | 'user' }", {"name": "Ada Lovelace", "age": 1.5, "tags": ["tag"], "role": "admin"}),
    ("typescript_lines", "```ts\nexport interface Song {\n  // what it is called\n  title: string\n  year: number\n}\n"
     "type Album = {\n  name: string;\n  songs: Array<Song>;\n  rating: number | null;\n  meta?: { live: boolean }\n}\n```\n"
     "Return JSON of the type Album",
     {"name": "Ada Lovelace", "songs": [{"title": "title", "year": 1.5}], "rating": 1.5, "meta": {"live": True}}),
    ("pydantic", "Return JSON for this:\nclass User(BaseModel):\n    name: str\n    age: Optional[int] = None\n"
     "    tags: list[str]\n", {"name": "Ada Lovelace", "age": 1, "tags": ["tag"]}),
    ("pydantic_nested", 'class Color(str, Enum):\n    RED = "red"\n    BLUE = "blue"\n\n'
     'class Wheel(BaseModel):\n    """A wheel.\n\n    size: not a field\n    """\n    size: int = Field(ge=10, le=20)\n\n'
     'class Car(BaseModel):\n    wheels: List[Wheel]\n    color: Color\n    kind: Literal["suv", "van"] = "suv"\n'
     '    price: float | None = Field(default=None, description="in dollars")\n\nGive one as JSON.',
     {"wheels": [{"size": 10}], "color": "red", "kind": "suv", "price": 1.5}),
    ("zod", "const Schema = z.object({ name: z.string(), age: z.number().int().min(18), email: z.string().email(),"
     " tags: z.array(z.string()), kind: z.enum(['a', 'b']).optional(), at: z.object({ city: z.string() }) }) as JSON",
     {"name": "Ada Lovelace", "age": 18, "email": "user@example.com", "tags": ["tag"], "kind": "a",
      "at": {"city": "Paris"}}),
    ("dataclass", "JSON like\n@dataclass\nclass P:\n    x: float\n    ok: bool = True\n", {"x": 1.5, "ok": True}),
    ("recursive", "type Node = { label: string; next?: Node }\nReturn JSON.", None),
    ("broken", "class User(BaseModel):\n    name: str\n    tags: list[str\nJSON", {"name": "Ada Lovelace", "tags": ["tag"]}),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "value"), [row[1:] for row in DECLARED], ids=[row[0] for row in DECLARED])
def test_types_that_a_prompt_declares_are_kept_to(prompt, value):
    made = answered(prompt)
    assert made == value or (value is None and made["label"] == made["next"]["label"] == "label")


def test_values_stand_beside_a_declared_type():
    prompt = "interface User { name: string; age: number }\nJason is 25 years old. Extract a User as JSON."
    assert answered(prompt) == {"name": "Jason", "age": 25}


JOKE = {
    "properties": {"setup": {"description": "question to set up a joke", "title": "Setup", "type": "string"},
                   "rating": {"type": "integer", "minimum": 1, "maximum": 5}},
    "required": ["setup", "rating"],
}  # fmt: skip
LANGCHAIN = (
    "The output should be formatted as a JSON instance that conforms to the JSON schema below.\n\nAs an example, for the"
    ' schema {"properties": {"foo": {"title": "Foo", "description": "a list of strings", "type": "array", "items": {"type":'
    ' "string"}}}, "required": ["foo"]}\nthe object {"foo": ["bar", "baz"]} is a well-formatted instance of the schema. The'
    ' object {"properties": {"foo": ["bar", "baz"]}} is not well-formatted.\n\nHere is the output schema:\n```\n'
    f"{json.dumps(JOKE)}\n```"
)
LLAMA = (
    "Tell me about an album\n\nHere's a JSON schema to follow:\n"
    + json.dumps({"title": "Album", "type": "object", "required": ["name", "songs"],
                  "properties": {"name": {"type": "string"}, "songs": {"type": "array", "items": {"$ref": "#/$defs/Song"}}},
                  "$defs": {"Song": {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}}})
    + "\n\nOutput a valid JSON object but do not repeat the schema."
)  # fmt: skip


def test_the_schema_of_format_instructions_is_kept_to_and_not_the_example_beside_it():
    for made in (answered("Tell me a joke.", LANGCHAIN), answered(f"Tell me a joke.\n{LANGCHAIN}")):
        assert made == {"setup": "setup", "rating": 1}
        assert violations(made, JOKE) == []
    assert answered(LLAMA) == {"name": "Ada Lovelace", "songs": [{"title": "title"}]}


def test_a_schema_in_a_wrapper_is_found_as_well_as_one_behind_a_long_text():
    wrapped = json.dumps({"name": "joke", "strict": True, "schema": JOKE})
    assert answered("A joke", f"Use {wrapped}") == {"setup": "setup", "rating": 1}
    assert answered("A joke", "Be kind. " * 2000 + json.dumps(JOKE) + " Be brief. " * 2000) == {
        "setup": "setup",
        "rating": 1,
    }


@pytest.mark.parametrize(
    "prompt",
    [
        "I have a class of students, JSON please", "What type of tea is this? JSON", "json: interface { }",
        "Explain z.object({}) in JSON", "The class is full:\nno places\nJSON", 'Say "key" in JSON',
    ],
)  # fmt: skip
def test_prose_that_only_sounds_like_a_declaration_is_none(prompt):
    assert answered(prompt) == {"text": TEXT}


@pytest.mark.parametrize(
    "piece",
    [
        "interface A { a: ", "class A(B):\n    a: list[", "z.object({ a: z.array(", '{"properties": {"a": ', "type A = { a: { ",
        "class A:\n", "a: <string>\n", "'a' key and ", "then a, ", '"""', "/*", "a | ", "Optional[",
    ],
)  # fmt: skip
def test_long_and_broken_declarations_are_read_in_proportion(piece):
    def ask(count):
        reply(Question("JSON\n" + piece * count, format="json_object"), TEXT)

    assert_grows_in_proportion(ask, 3000 // len(piece))
    ask(200_000 // len(piece))
