"""The operations of the OpenAI API, read from its description.

An operation is a line; the lines below it say what it takes:

    POST /batches creates Batch as batch_ through validating 1 in_progress 2 completed
      ? {…}                                the query's parameters
      < {input_file_id str, …}             the body: JSON; after `form`, a multipart form or JSON

The verb says what the mock's engine does, unless one of its families answers the operation:

    lists X         a page of the collection at this path
    creates X       adds an object to the collection
    gives X         the object at this path
    updates X       changes the object at this path
    deletes X       removes it
    sets X          changes the object one step above this path
    answers X       makes up an answer, and remembers nothing
    opens nothing   becomes a WebSocket, on which clients send what `<` has

`nothing` in the place of X is an empty answer, `bytes` is a file's content. After X may stand:

    by next, by token           the lists' pages have another cursor than ids
    whole                       the lists have no pages
    as batch_                   how the ids begin
    with {status "cancelled"}   what is set
    through a 1 b 2 c           the life cycle of `status`, with the seconds between its stages

`Name = {...}` gives a shape a name; `#` begins a comment.
"""

from __future__ import annotations

import re
import typing
import urllib.parse

from protocol.openai.api.checks import Conformity
from protocol.openai.api.notation import ChoiceShape, ObjectShape, ScalarShape, Shape, Shapes, read_shape, read_shape_at

_ENTRY = re.compile(r"^(?!#)\S.*(?:\n[ \t]+.*)*", re.MULTILINE)
_HEAD = re.compile(
    r"(GET|POST|DELETE) (\S+)\s+(lists|creates|gives|updates|deletes|sets|answers|opens)\s+(.*)", re.DOTALL
)
_DEFINITION = re.compile(r"(\w+) = (.*)", re.DOTALL)
_TAKES = re.compile(r"\n +(\?|<|form) ")
_SUFFIX = re.compile(r"\s*(by|as|with|through|whole)\b")
_LIFE_CYCLE = re.compile(r"(?:\s+\w+(?:\s+[\d.]+)?)+")
_ONE_WORD = re.compile(r"\s+(\S+)")

# What a node of the tree of paths has besides its segments. The slashes keep them apart from any segment.
_PARAMETER, _PARAMETER_NAME, _METHODS = "/{}", "/name", "/methods"


class Stage(typing.NamedTuple):
    """A stage of a life cycle: the `status`, and how many seconds it lasts."""

    status: str
    seconds: float


class Operation:
    """One operation. `verb`, `page` and the others are the words of its line.

    `result` is None for one that answers bytes or nothing. `query` and `body` are None for one that takes none.
    """

    __slots__ = (
        "body", "collection", "gives_bytes", "key", "method", "page", "path", "prefix", "query", "result", "sets",
        "stages", "verb",
    )  # fmt: skip

    def __init__(self, method: str, path: str, verb: str) -> None:
        self.key = f"{method} {path}"
        self.method = method
        self.path = path
        self.verb = verb
        #: The path of the collection that the operation is about, with its parameters' names.
        self.collection = _collection_of(path, verb)
        self.result: Shape | None = None
        self.gives_bytes = False
        self.query: Shape | None = None
        self.body: Shape | None = None
        self.page = ""
        self.prefix = ""
        self.sets: dict[str, typing.Any] = {}
        self.stages: tuple[Stage, ...] = ()


def _collection_of(path: str, verb: str) -> str:
    if verb == "sets":
        path = path.rpartition("/")[0]
    return path.rpartition("/")[0] if path.endswith("}") else path


class Found(typing.NamedTuple):
    """What there is at a path: the keys of its operations by method, and the values of its parameters by name."""

    methods: typing.Mapping[str, str]
    names: typing.Mapping[str, str]


class Reference:
    """The whole description. `texts` returns its parts, which are read on first use; an operation when asked for."""

    def __init__(self, texts: typing.Callable[[], typing.Sequence[str]]) -> None:
        self._texts = texts
        self._definitions: dict[str, str] = {}
        #: The shapes that the description names.
        self.shapes = Shapes(self._definitions)
        #: What makes the checks of these shapes; they take more memory than the shapes.
        self.conformity = Conformity(self.shapes)
        # By key: the operation's text until it is asked for, then the operation.
        self._operations: dict[str, str | Operation] = {}
        self._tree: dict[str, typing.Any] = {}

    def find(self, path: str) -> Found | None:
        """Return what there is at a path such as "/files/file-1", None where there is nothing."""
        self._scan()
        names: dict[str, str] = {}
        node = self._tree
        for segment in path[1:].split("/"):
            child = node.get(segment)
            if child is None:
                child = node.get(_PARAMETER)
                if child is None or not segment:
                    return None
                # A slash stays escaped, because records are found by their paths.
                names[child[_PARAMETER_NAME]] = urllib.parse.unquote(segment).replace("/", "%2F")
            node = child
        methods = node.get(_METHODS)
        return None if methods is None else Found(methods, names)

    def operation(self, key: str) -> Operation:
        """Return the operation of a key such as "POST /batches"."""
        self._scan()
        operation = self._operations[key]
        if isinstance(operation, str):
            operation = self._operations[key] = _read_operation(operation)
        return operation

    def has(self, key: str) -> bool:
        """Whether there is an operation of that key."""
        self._scan()
        return key in self._operations

    def keys(self) -> list[str]:
        """Return the keys of all operations."""
        self._scan()
        return list(self._operations)

    def item_shape(self, collection: str) -> tuple[Shape | None, str]:
        """Return the shape of a collection's objects, and how their ids begin, by its path with parameters' names."""
        self._scan()
        prefix = ""
        shape: Shape | None = None
        for key in (f"POST {collection}", f"GET {collection}"):
            if key in self._operations:
                operation = self.operation(key)
                prefix = prefix or operation.prefix
                shape = shape or operation.result
        for key in self._operations:
            if re.fullmatch(rf"GET {re.escape(collection)}/{{\w+}}", key):
                return self.operation(key).result, prefix
        return shape, prefix

    def template(self, path: str) -> str:
        """Return a path with its parameters' names in the place of their values."""
        node, steps = self._tree, []
        for segment in path[1:].split("/"):
            child = node.get(segment)
            if child is None:
                child = node.get(_PARAMETER, {})
                segment = "{" + child.get(_PARAMETER_NAME, "") + "}"
            steps.append(segment)
            node = child
        return "/" + "/".join(steps)

    def _scan(self) -> None:
        """Cut the texts into their entries, once."""
        if self._operations:
            return
        for text in self._texts():
            for entry in _ENTRY.findall(text):
                definition = _DEFINITION.fullmatch(entry)
                if definition:
                    self._definitions[definition[1]] = definition[2]
                else:
                    method, path, _ = entry.split(None, 2)
                    self._operations[f"{method} {path}"] = entry
                    self._plant(method, path)

    def _plant(self, method: str, path: str) -> None:
        node = self._tree
        for segment in path[1:].split("/"):
            if segment.startswith("{"):
                node = node.setdefault(_PARAMETER, {_PARAMETER_NAME: segment[1:-1]})
            else:
                node = node.setdefault(segment, {})
        node.setdefault(_METHODS, {})[method] = f"{method} {path}"


def _read_operation(text: str) -> Operation:
    head, *takes = _TAKES.split(text)
    match = _HEAD.fullmatch(head)
    if match is None:
        raise ValueError(f"not an operation: {head!r}")
    operation = Operation(match[1], match[2], match[3])
    _read_result(operation, match[4])
    for mark, shape in zip(takes[::2], takes[1::2]):
        if mark == "?":
            operation.query = read_shape(shape)
        else:
            operation.body = read_shape(shape)
    return operation


def _read_result(operation: Operation, text: str) -> None:
    word = text.split(None, 1)[0]
    if word in ("nothing", "bytes"):
        operation.gives_bytes = word == "bytes"
        at = len(word)
    else:
        operation.result, at = read_shape_at(text, 0)
    while True:
        suffix = _SUFFIX.match(text, at)
        if suffix is None:
            break
        at = _read_suffix(operation, suffix[1], text, suffix.end())
    if text[at:].strip():
        raise ValueError(f"{operation.key}: {text[at:]!r} is not understood")


def _read_suffix(operation: Operation, word: str, text: str, at: int) -> int:
    """Read what follows a word of the head; return where it ends."""
    if word == "whole":
        operation.page = "whole"
        return at
    if word == "with":
        shape, at = read_shape_at(text, at)
        operation.sets = _literals(shape)
        return at
    if word == "through":
        said = _matched(_LIFE_CYCLE, text, at)
        pairs = re.findall(r"([a-z_]+)(?:\s+([\d.]+))?", said[0])
        operation.stages = tuple(Stage(status, float(seconds or 0)) for status, seconds in pairs)
        return said.end()
    said = _matched(_ONE_WORD, text, at)
    if word == "by":
        operation.page = said[1]
    else:
        operation.prefix = said[1]
    return said.end()


def _matched(pattern: re.Pattern[str], text: str, at: int) -> re.Match[str]:
    match = pattern.match(text, at)
    if match is None:
        raise ValueError(f"{text[at : at + 40]!r} is not understood")
    return match


def _literals(shape: Shape) -> dict[str, typing.Any]:
    """Return the one object that has a shape; each of its members allows a single value."""
    if type(shape) is not ObjectShape:
        raise ValueError("`with` must be followed by an object")
    values: dict[str, typing.Any] = {}
    for name, member in shape.members.items():
        is_null = type(member.shape) is ScalarShape and member.shape.kind == "null"
        values[name] = None if is_null else member.shape.values[0] if type(member.shape) is ChoiceShape else None
    return values
