"""To which property of a schema a prompt's hints belong, and what they offer for it.

Theory of operation. Before values are made for a schema, `assign_hints` gives a hint an owner where the words around it
name a property: "3 nights", "age: 36", "from London" for an origin. An owned hint serves its owner alone. All other
hints are free, and serve the first property that takes their kind. What a property takes is told by the words of its
name, or else of its description. Hints are only tried: whoever makes a value checks it.
"""

from __future__ import annotations

import math
import re
import typing

from protocol.budget import Budget
from protocol.mock.answer.command import COMMAND_END, COMMAND_RULE
from protocol.mock.answer.cost import first_match
from protocol.mock.answer.hints import HINT_NEAR, MAX_HINT_TEXT, OPENING_MARKS, QUOTATION, Hint, Hints, hint_words, stem
from protocol.mock.answer.modest import said_seconds, unit_seconds
from protocol.mock.answer.scalar import name_words, singular
from protocol.mock.json_schema.document import json_kind

#: Properties of a schema that hints are assigned to.
MAX_TARGETS = 300
_MAX_TEXT = 200  # characters of a quotation, a label's value, a question that is searched for

# What a property holds, by a word of its name. Of several such words, the last one counts.
_CLASSES = {
    word: kind
    for kind, words in (
        ("place", "city town location place country region state address destination origin venue province county"
                  " hotel where departure arrival area near room 城市 地点 位置 地区 国家"),
        ("person", "name person user customer author attendee passenger guest contact friend participant"
                   " employee artist patient client member student teacher owner assignee speaker host"
                   " 姓名 名字"),
        ("recipient", "to recipient receiver 收件人"),
        ("date", "date day when deadline due birthday dob start end checkin checkout until since before after 日期"),
        ("time", "time hour clock 时间"),
        ("url", "url uri link website site webpage href endpoint 网址 链接"),
        ("email", "email mail cc bcc 邮箱 邮件地址"),
        ("code", "id identifier code ticker symbol sku number zip zipcode postal postcode phone telephone mobile"
                 " airport timezone zone iata isbn version ref reference serial ip uuid tracking order"
                 " account 编号 代码 股票 电话 订单号"),
        ("path", "path file filename filepath directory folder 文件"),
        ("query", "query q question prompt input search term keyword topic 关键词 查询内容 问题"),
        ("text", "text message content body title subject note description task summary sentence comment reason"
                 " phrase word caption 内容 文本 消息"),
        ("sql", "sql statement"),
        ("currency", "currency 货币"),
        ("command", "command cmd shell script code 命令"),
        ("pattern", "pattern regex regexp old new"),
        ("tag", "channel tag hashtag branch 频道"),
        ("sum", "expression expr formula equation calculation 表达式 算式"),
        ("language", "language lang locale 语言"),
        ("choice", "unit format mode method type kind category status style level color colour gender priority sort"
                   " order_by sentiment role 单位"),
    )
    for word in words.split()
}  # fmt: skip
# Which kinds of literals a class takes, the likeliest first.
_TAKES = {
    "place": ("name", "quoted", "place", "code"),
    "person": ("name", "quoted", "person", "email"),
    "recipient": ("email", "name", "quoted", "person"),
    "date": ("date", "day", "quoted"),
    "time": ("time", "date", "quoted"),
    "url": ("url", "quoted"),
    "email": ("email", "quoted"),
    "code": ("code", "quoted", "number", "email", "name"),
    "path": ("path", "quoted", "url"),
    "query": ("sql", "quoted", "phrase", "url"),
    "sql": ("sql", "quoted"),
    "currency": ("currency", "code", "quoted", "name"),
    "command": ("quoted", "run"),
    "pattern": ("quoted", "code", "name"),
    "tag": ("tag", "quoted", "name"),
    "text": ("quoted", "said", "url"),
    "sum": ("sum", "quoted"),
    "language": ("name", "quoted"),
    "choice": ("quoted",),
    "": ("quoted", "name", "code", "email", "url", "path", "date", "time", "day"),
}
# Of these, the kinds that are meant for a class wherever they stand. A quotation may be for anything.
_SURE = {
    "place": ("name", "place"), "person": ("name", "person"), "recipient": ("email",), "date": ("date", "day"),
    "time": ("time",),
    "url": ("url",), "email": ("email",), "code": ("code",), "path": ("path",), "query": ("sql", "phrase"),
    "sql": ("sql",), "currency": ("currency",), "command": ("run",), "tag": ("tag",), "text": ("said",),
    "sum": ("sum",), "language": ("name",),
}  # fmt: skip

# The classes of a property by which one object of a list is called.
_NAMING = ("person", "place", "code", "path")

# By a preposition right before a literal: words of the names of properties that the literal may be for.
_PREPOSITIONS = {
    "from": "from origin source sender departure start base since min low",
    "to": "to destination target recipient receiver arrival end until into max high email contact",
    "into": "target to into destination",
    "in": "city location place country region state town language target unit year",
    "at": "location place time venue address city hour",
    "near": "location place city near address",
    "by": "author artist by deadline due creator",
    "with": "attendee participant guest member contact",
    "for": "person user customer name recipient city location destination",
    "on": "date day when",
    "between": "min low start from origin max high end to destination until",
    "since": "start since from", "after": "start after", "until": "end until", "before": "deadline due before end",
    "under": "max limit budget high", "below": "max limit budget high", "over": "min low", "above": "min low",
    "least": "min low", "most": "max limit high", "top": "limit top count num max k n",
    "first": "limit first count num n", "last": "limit last count num n",
    "than": "max min limit budget",
    "out": "max high", "$": "price amount cost budget total fee", "€": "price amount cost budget total fee",
    "¥": "price amount cost budget total fee", "£": "price amount cost budget total fee",
    "在": "city location place", "到": "to destination target end", "去": "to destination city location",
    "从": "from origin source start", "给": "to recipient name contact", "飞": "to destination", "往": "to destination",
}  # fmt: skip
# By the word after a number: further words of the names of properties that the number may be for.
_UNITS = {
    "minute": "duration minutes length time", "min": "duration minutes", "hour": "duration hours",
    "h": "duration hours",
    "second": "duration seconds timeout", "s": "duration seconds timeout", "sec": "duration seconds timeout",
    "day": "duration days length", "night": "duration nights", "week": "duration weeks",
    "month": "term duration months",
    "year": "age term duration years", "old": "age", "dollar": "price amount cost budget", "usd": "price amount budget",
    "eur": "price amount budget", "euro": "price amount cost budget", "yuan": "price amount cost budget",
    "degree": "temperature angle", "celsius": "temperature", "percent": "percentage rate percent tip", "%":
    "percentage rate percent tip", "people": "party guests size persons attendees", "person": "people guests party",
    "guest": "people party guests", "km": "distance kilometers", "mile": "distance miles",
    "kg": "weight", "cm": "height",
    "lb": "weight", "m": "distance height", "result": "limit count max top", "item": "quantity count limit",
    "of": "quantity count amount",
    "ticket": "quantity count", "piece": "quantity count", "copy": "quantity count", "time": "repeat count times",
    "room": "rooms", "星": "rating", "天": "days duration", "晚": "nights", "人": "people guests",
    "位": "people guests", "岁": "age", "元": "price amount budget", "小时": "hours duration",
    "分钟": "minutes duration", "张": "quantity count", "个": "quantity count", "度": "temperature",
    "米": "distance height",
}  # fmt: skip
# What a prompt wants to be said, run, or asked for: the group of the first rule that matches.
_SAID = (
    r"(?i)\b(?:email|e-mail|mail|tell|notify|inform|message|text|remind) [\w@.+-]+ that (\S.*)",
    r"(?i)\btranslate (?!this\b|the following)(\S.*?) (?:in)?to\b",
    r"把(\S+?)(?:翻译|译成|译为)",
    r"(?i)\b(?:saying(?: that)?|says?(?: that)?|that reads|tell (?:him|her|them)(?: that)?|to say)\s*[:,]?\s+(\S.*)",
    r"(?i)\bremind (?:me|us|him|her|them) (?:to|that|about) (\S.*?)(?= (?:at|on|by|in|tomorrow|today)\b|[.!?]?\s*\Z)",
    r"(?:\A|[.!?\n])[^,;:\n]{0,100}(?:：|:\s)\s*(\S.*)",
)
_ASKED = (
    r"(?i)\b(?:search(?:ing)?|look(?:ing)?(?: up)?|google|find|query|browse)\b[^.?!\n]{0,60}?"
    r"\b(?:for|about|on|up)\s+(\S[^\n]*)",
    r"(?i)\b(?:search|google|information on|news (?:about|on))\s+(?!(?:the|our|your) (?:web|internet|docs|documents?"
    r"|documentation|database|files|knowledge base)\b)(\S[^\n]*)",
    r"(?:搜索|查找|查询|搜一下|查一下|关于)\s*([^，。？！\n]+)",
    r"\A\s*(\S[^\n]*)\s*\Z",
)
_SPOKEN = {"said": _SAID, "phrase": _ASKED, "run": (COMMAND_RULE,)}
# Words between a name and its value.
_FILLERS = frozenset(
    "of is are was be the a an as at named called equal equals set to being will should must value about around only"
    " exactly , ， = : # 是 为 叫 即 my our for in".split()
)
_COUNTS = frozenset("max limit count results page size top k offset".split())
# Stems of words of names that only say that the property is a flag.
_FLAG_WORDS = frozenset("is has includ with use enabl should can be".split())
_OPPOSITES = {"on": "off", "open": "close", "lock": "unlock", "enabl": "disabl", "activ": "inactiv"}
_ARTICLES = frozenset("the a an my our his her user city mr mrs dr $ € £ ¥".split())
# Stems of words that say no to a flag.
_NEGATIONS = frozenset("no not without don't dont never exclud disabl skip off fals 不 无".split())


class HintTarget(typing.NamedTuple):
    """A property that hints may serve: its name, its words' stems, its class, and whether numbers and strings fit."""

    name: str
    words: tuple[str, ...]
    kind: str
    takes_numbers: bool
    takes_strings: bool
    is_list: bool
    is_time: bool  # measured in a unit of time


# ---- what a property takes


def hint_class(name: str, description: object = "") -> str:
    """Return the class of what a property holds, "" when neither its name nor its description tells."""
    words = name_words(name).split()
    for word in reversed(words):
        kind = _CLASSES.get(word) or _CLASSES.get(singular(word))
        if kind:
            return kind
    for word in hint_words(description[:100]) if isinstance(description, str) else ():
        kind = _CLASSES.get(word)
        if kind and kind not in ("text", "choice", "query") and word not in ("to", "order", "user", "start", "end"):
            return kind
    return ""


def hint_target(name: str, schema: object) -> HintTarget:
    """Describe a property for `assign_hints`."""
    known = schema if isinstance(schema, dict) else {}
    kinds = _stated_kinds(known)
    return HintTarget(
        name,
        tuple(stem(word) for word in name_words(name).split()),
        hint_class(name, known.get("description")),
        not kinds or bool(kinds & {"integer", "number"}),
        (not kinds or "string" in kinds) and not {"enum", "const"} & known.keys(),
        any("array" in _types_of(part) for part in (known, *_branches_of(known))),
        unit_seconds(name, known.get("description")) is not None,
    )


def hint_targets(properties: typing.Mapping[str, object], budget: Budget) -> list[HintTarget]:
    """Describe properties by name."""
    targets = []
    for name, schema in properties.items():
        enum = schema.get("enum") if isinstance(schema, dict) else None
        budget.spend(20 + (len(enum) // 5 if isinstance(enum, list) else 0))
        targets.append(hint_target(name, schema))
    return targets


def _stated_kinds(schema: typing.Mapping[str, typing.Any]) -> set[str]:
    """Return the types that a schema, its branches or its items state; none of them when any type may do."""
    kinds: set[str] = set()
    for part in [schema, *_branches_of(schema)]:
        items = part.get("items")
        if isinstance(items, dict):
            part = items
        kinds.update(_types_of(part))
        if "$ref" in part:
            return set()
        kinds.update("string" if isinstance(value, str) else json_kind(value) for value in _list_in(part, "enum"))
    return kinds


def _types_of(schema: typing.Mapping[str, typing.Any]) -> list[str]:
    stated = schema.get("type")
    return [one for one in (stated if isinstance(stated, list) else [stated]) if isinstance(one, str)]


def _branches_of(schema: typing.Mapping[str, typing.Any]) -> list[dict[str, typing.Any]]:
    # The schema has not been checked yet: a client may send anything.
    return [branch for word in ("anyOf", "oneOf") for branch in _list_in(schema, word) if isinstance(branch, dict)]


def _list_in(schema: typing.Mapping[str, typing.Any], keyword: str) -> list[typing.Any]:
    value = schema.get(keyword)
    return value if isinstance(value, list) else []


# ---- to which property a literal belongs


def assign_hints(
    hints: Hints, targets: typing.Sequence[HintTarget], fixed: typing.AbstractSet[str], budget: Budget
) -> tuple[Hint, ...]:
    """Give hints the property that the words around them name. Labelled values ("title: Tea for two") come first.

    `fixed` are the members of enums, in small letters; they serve no property as free strings.
    """
    targets = targets[:MAX_TARGETS]
    if not hints.text or not targets:
        return tuple(hint for hint in hints.literals if not _is_fixed_text(hint, fixed))
    budget.spend(len(hints.words))
    known = frozenset(stem(word) for word in hints.words)
    labelled = [hint for target in targets for hint in _labelled(hints.text, target, known, budget)]
    given = [(hint.owner, hint.value) for hint in labelled]
    counts: dict[str, int] = {}
    for owner, _ in given:
        counts[owner] = counts.get(owner, 0) + 1
    assigned: list[tuple[float, Hint]] = []
    last = Hint(None, "")
    quotations = sum(hint.kind == "quoted" for hint in hints.literals)
    for at, hint in enumerate(hints.literals):
        budget.spend(1 + 3 * len(targets) + len(given) // 20)
        if hint.owner:
            assigned.append((math.inf, hint))
        if hint.owner or _is_fixed_text(hint, fixed):
            continue
        if hint.joined and last.kind == hint.kind:
            hint = hint._replace(before=last.before, after=hint.after or last.after)
        score, owner = _owner(hint, targets, counts)
        owner = owner or _list_owner(hint, at, hints.literals, targets)
        if not owner and hint.kind == "quoted" and quotations == 1:
            owner = _body_of(targets)
        if owner:
            counts[owner] = counts.get(owner, 0) + 1
        if (owner, hint.value) not in given:
            assigned.append((score if owner else 0.0, hint._replace(owner=owner)))
        last = hint
    return (*labelled, *_best_owned(assigned, targets))


def _best_owned(
    assigned: typing.Sequence[tuple[float, Hint]], targets: typing.Sequence[HintTarget]
) -> typing.Iterator[Hint]:
    """Yield the hints. A property that is no list owns only those with its best score, and leaves the others free."""
    lists = {target.name for target in targets if target.is_list}
    best: dict[str, float] = {}
    for score, hint in assigned:
        best[hint.owner] = max(score, best.get(hint.owner, 0.0))
    for score, hint in assigned:
        yield hint if score >= best[hint.owner] or hint.owner in lists else hint._replace(owner="")


def _is_fixed_text(hint: Hint, fixed: typing.AbstractSet[str]) -> bool:
    return isinstance(hint.value, str) and hint.kind != "quoted" and hint.value.casefold() in fixed


def _owner(hint: Hint, targets: typing.Sequence[HintTarget], counts: typing.Mapping[str, int]) -> tuple[float, str]:
    best, owner = 0.9, ""
    for target in targets:
        score = hint_tie(hint, target)
        # Of equals, the property with fewest hints: "Tokyo, Japan" is a city and a country.
        if score > best or (score == best and owner and counts.get(target.name, 0) < counts.get(owner, 0)):
            best, owner = score, target.name
    return best, owner


def _list_owner(hint: Hint, at: int, hints: typing.Sequence[Hint], targets: typing.Sequence[HintTarget]) -> str:
    """Return the array that takes a literal which is one of a list, "" for none."""
    near = [other for other in (hint, *hints[at + 1 : at + 2]) if other.joined and other.kind == hint.kind]
    return next((target.name for target in targets if near and target.is_list and may_take(hint, target)), "")


def _body_of(targets: typing.Sequence[HintTarget]) -> str:
    """Return the property for a prompt's only quotation: the body of a message that also has a subject; "" for none."""
    named = {target.words[-1]: target.name for target in targets if target.words}
    bodies = [named[word] for word in ("body", "messag", "content", "text") if word in named]
    return bodies[0] if bodies and ("subject" in named or "titl" in named or "title" in named) else ""


def hint_tie(hint: Hint, target: HintTarget) -> float:
    """Score how well the words around a literal name a property: 0 for not at all, 1 and more for clearly."""
    if not may_take(hint, target):
        return 0.0
    score = 0.0
    if hint.before and hint.before[0] in target.words and hint.before[0] not in _PREPOSITIONS:
        score = 3.0
    elif hint.before:
        score = _named_before(hint.before, target)
    if hint.kind in ("number", "counted", "sum"):
        return max(score, _unit_score(hint, target))
    if hint.after and hint.after[0] in target.words and hint.after[0] not in _PREPOSITIONS:
        score = max(score, 1.1)
    if hint.kind == "quoted" and target.kind in ("date", "time"):
        return score
    preposition = _preposition(hint.before)
    points_to = [stem(word) for word in _PREPOSITIONS.get(preposition, "").split()]
    for word in target.words:
        if word in points_to:
            score = max(score, 1.5 + (word == preposition))  # a name with the preposition itself comes first
    return score


def may_take(hint: Hint, target: HintTarget) -> bool:
    """Say whether a property takes literals of this kind at all."""
    if isinstance(hint.value, str):
        return target.takes_strings and (hint.kind in ("enum", *_TAKES[target.kind]))
    return target.takes_numbers or (target.takes_strings and target.kind == "code" and hint.kind == "number")


def stand_in(one: Hint, other: Hint) -> bool:
    """Say whether one property may take either of two literals, though their kinds differ: an address or a name."""
    if one.kind == other.kind or "quoted" in (one.kind, other.kind):
        return False  # a quotation may be anything
    return any(one.kind in kinds and other.kind in kinds for name, kinds in _TAKES.items() if name)


def _named_before(before: typing.Sequence[str], target: HintTarget) -> float:
    near = [word for word in before[:HINT_NEAR] if word not in _FILLERS]
    run = 0
    while run < len(near) and near[run] in target.words:
        run += 1
    return 2.0 + 0.5 * run if run else 0.0


def _unit_score(hint: Hint, target: HintTarget) -> float:
    score = 0.0
    for place, word in enumerate(hint.after[:1] if hint.after[:1] == ("of",) else hint.after[:2]):  # "3 of SKU-1"
        if word in target.words and word not in ("to", "in", "of", "from"):
            score = max(score, 2.8 - place)
        if place == 0 and set(map(stem, _UNITS.get(word, "").split())) & set(target.words):
            score = max(score, 1.6)
        if place == 0 and target.is_time and said_seconds(word):
            score = max(score, 1.2)
    points_to = _PREPOSITIONS.get(hint.before[0] if hint.before else "", "").split()
    if set(map(stem, points_to)) & set(target.words):
        score = max(score, 1.3)
    return score


def _preposition(before: typing.Sequence[str]) -> str:
    for word in before:
        if not word.isdigit() and word not in _ARTICLES:
            return word
    return ""


def _labelled(text: str, target: HintTarget, known: typing.AbstractSet[str], budget: Budget) -> list[Hint]:
    """Find a value that is written as `name: value` or `name=value`, quoted or up to the next separator."""
    if not target.takes_strings or not target.words or not all(word in known for word in target.words):
        return []
    budget.spend(200 + len(text) // 20)  # the first half is what it costs to compile the pattern
    name = r"[\s_-]*".join(re.escape(word) for word in name_words(target.name).split())
    value = rf"(?:({QUOTATION})|([^\s{OPENING_MARKS}<{{\[][^,;\n，；。]{{0,199}}))"
    closed = rf"[\"'`\u201d\u300d]?\s*(?:[:：=]|(?<=\w)\s+is\s+(?=[{OPENING_MARKS}]))"
    found = re.search(rf"(?i)(?<![^\W_]){name}{closed}\s*{value}", text)
    if found is None:
        return []
    end = r"\.(?:\s|\Z)|\s+and\s+\w+\s*[:=]|\s+\w+\s*[=]|[?!](?:\s|\Z)"
    said = found[1][1:-1] if found[1] else re.split(end, found[2])[0].strip()
    return [Hint(said, "label", owner=target.name)] if said else []


# ---- choosing


class ReadPrompt:
    """A prompt, read once for all values of one schema: its hints, its words, and what it wants to be said."""

    __slots__ = ("budget", "hints", "text", "_flag_words", "_known", "_spoken", "_stems", "_whole")

    def __init__(self, hints: Hints, budget: Budget) -> None:
        self.hints = hints
        self.text = hints.text
        self.budget = budget
        budget.spend(len(hints.words))
        self._stems = [stem(word) for word in hints.words]
        self._known = frozenset(self._stems)
        self._whole = hints.text.strip().rstrip(".?!。？！")
        self._flag_words: list[str] | None = None
        self._spoken: dict[str, list[str]] = {}

    def spoken(self, wanted: str, *, only_sure: bool = False) -> list[str]:
        """Return what is wanted said ("saying ..."), run, or asked for ("search for ...", else the whole prompt).

        `only_sure` is content with no whole prompt.
        """
        found = self._spoken.get(wanted)
        if found is None:
            found = self._spoken[wanted] = _spoken(self.text, wanted, self.budget)
        return [] if only_sure and [said.rstrip(".?!。？！") for said in found] == [self._whole] else found

    def flags(self, name: str) -> list[bool]:
        """Return [True] or [False] as the prompt says yes or no to a property, [] where it does not speak of it."""
        words = self._flag_words
        if words is None:
            self.budget.spend(len(self.text) // 5)
            said = re.findall(r"[^\W_]+(?:'t)?|[=:]", self.text.casefold())
            words = self._flag_words = [stem(word) for word in said]
        self.budget.spend(1 + len(words) // 20)
        about = [stem(word) for word in name_words(name).split()]
        about = [word for word in about if word not in _FLAG_WORDS] or about
        opposite = _OPPOSITES.get(stem(name_words(name).rpartition(" ")[2]))
        if opposite in words:
            return [False]
        for at, word in enumerate(words if about else ()):
            if word != about[-1]:
                continue
            said_behind = 3 if words[at + 1 : at + 2] in (["="], [":"], ["is"]) else 1
            return [_NEGATIONS.isdisjoint(words[max(0, at - 3) : at] + words[at + 1 : at + 1 + said_behind])]
        return []

    def mentioned(self, values: typing.Sequence[object], target: HintTarget) -> list[object]:
        """Return the members of an enum that the prompt mentions, the likeliest first."""
        words = self._stems
        found: list[tuple[float, int, int, object]] = []
        for value in values:
            if isinstance(value, str):
                if len(value) > 2 * MAX_HINT_TEXT:
                    continue  # with more letters than a prompt has
                self.budget.spend(4 + len(value) // 10)
                own = [stem(word) for word in hint_words(value)]
                if own and all(word in self._known for word in own):
                    self.budget.spend(10)
                    at = words.index(own[0])
                    before = tuple(words[max(0, at - HINT_NEAR) : at][::-1])
                    after = tuple(words[at + len(own) : at + len(own) + 1])
                    tie = hint_tie(Hint(value, "enum", before, after), target)
                    found.append((-tie, -len(own), at, value))
                elif not value.isascii() and value and value in self.text:
                    found.append((0, -1, self.text.index(value), value))
                continue
            self.budget.spend(1 + len(self.hints.literals) // 10)
            if any(hint.value == value for hint in self.hints.literals if not isinstance(value, bool)):
                found.append((0, 0, 0, value))
        found.sort(key=lambda item: item[:3])
        return [item[3] for item in found]


def text_hints(
    hints: typing.Sequence[Hint],
    name: str,
    description: object,
    prompt: ReadPrompt | None,
    *,
    only_sure: bool = False,
) -> tuple[list[str], list[str]]:
    """Return the strings that belong to the property `name`, and those that are free and of a kind that it takes.

    What the prompt wants said is among them where it is given. `only_sure` leaves out what is free for anything.
    """
    kind = hint_class(name, description)
    takes = _SURE.get(kind, ()) if only_sure else _TAKES[kind]
    owned = [str(hint.value) for hint in hints if hint.owner and hint.owner in (name, singular(name))]
    owned += [str(hint.value) for hint in hints if hint.owner and singular(hint.owner) == name != hint.owner]
    free: list[str] = []
    for wanted in takes:
        if wanted == "said" and name_words(name).endswith(("subject", "title")):
            continue
        if wanted in _SPOKEN and prompt is not None:
            free.extend(prompt.spoken(wanted, only_sure=only_sure))
        free.extend(str(hint.value) for hint in hints if hint.kind == wanted and not hint.owner)
    return owned, free


def number_hints(
    hints: typing.Sequence[Hint], name: str, whole: bool, description: object = ""
) -> tuple[list[float], list[float]]:
    """Return the numbers that belong to the property `name`, and the free ones, in the property's unit of time."""
    unit = unit_seconds(name, description)
    owned: list[float] = []
    free: list[float] = []
    counts = not _COUNTS.isdisjoint(name_words(name).split())  # so no year is meant for it
    for hint in hints:
        value = hint.value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        said = said_seconds(hint.after[0]) if hint.after and unit else None
        if said and unit and said != unit:
            value = round(value * said / unit, 9)
            value = int(value) if value == int(value) else value
        if whole and value != int(value):
            continue
        if hint.owner and (name in (hint.owner, singular(hint.owner)) or singular(name) == hint.owner):
            owned.append(value)
        elif not hint.owner and hint.kind == "number" and not (counts and 1900 <= value < 2100):
            free.append(value)
    return owned, free


def hint_rows(
    hints: typing.Sequence[Hint], name: str, properties: typing.Mapping[str, typing.Any], budget: Budget
) -> list[tuple[Hint, ...]]:
    """Return the hints of each object of the list `name`: "Ana is 31, Bo is 25" are two rows; [] for less than two.

    A row begins with what its object is called: a literal for the first property of a person, a place or a code.
    Where a number is right before each of them ("3 of SKU-1, 2 of SKU-2"), the row begins with the number.
    """
    targets = hint_targets(properties, budget)
    key = next((one for one in targets if one.takes_strings and one.kind in _NAMING), None)
    if key is None:
        return []
    wanted = _TAKES[key.kind]
    free = [at for at, hint in enumerate(hints) if hint.owner in ("", name, *properties)]
    keys = [at for at in free if isinstance(hints[at].value, str) and hints[at].kind in wanted[:1]]
    if len(keys) < 2:
        return []
    counted = all(at and hints[at - 1].kind in ("number", "counted") for at in keys)
    starts = [at - counted for at in keys]
    return [tuple(hints[start:end]) for start, end in zip(starts, [*starts[1:], len(hints)])]


def owned_row(row: tuple[Hint, ...], properties: typing.Mapping[str, typing.Any], budget: Budget) -> tuple[Hint, ...]:
    """Give a row's name to the property that names its object, its only number to the only one for numbers alone."""
    budget.spend(1 + len(row) // 5)
    targets = hint_targets(properties, budget)
    key = next((one for one in targets if one.takes_strings and one.kind in _NAMING), None)
    named = next((hint for hint in row if key and hint.kind in _TAKES[key.kind][:1]), None)
    if key and named:
        row = tuple(hint._replace(owner=key.name) if hint is named else hint for hint in row)
    numbers = [hint for hint in row if hint.kind == "number" and not hint.owner]
    takers = [one.name for one in targets if one.takes_numbers and not one.takes_strings]
    if len(numbers) != 1 or len(takers) != 1:
        return row
    return tuple(hint._replace(owner=takers[0]) if hint is numbers[0] else hint for hint in row)


def _spoken(text: str, wanted: str, budget: Budget) -> list[str]:
    found = next((found for found in (first_match(rule, text, budget) for rule in _SPOKEN[wanted]) if found), None)
    if found is None or len(found[1]) > _MAX_TEXT:
        return []
    if wanted == "said":
        return [re.split(r"[,;]\s+\w+\s*[:=]", found[1])[0].strip()]
    if wanted == "run":
        return [found[1].rstrip(COMMAND_END)]
    return [re.split(r"[?!.]\s+(?=[A-Z])", found[1])[0].strip().rstrip(".?!。？！")]
