"""Tell which of the offered tools a prompt asks for, by its words alone.

Theory of operation. A prompt is cut into clauses (clauses.py), and each tool is held against each clause:

- A clause that spells a tool's name asks for it.
- Any other clause must be a request: a question, an order, or a few words such as "weather in Oslo". It must not call
  for a text ("write a poem about rain").
- Then the words of the tool's name count. A tool that looks something up needs its objects ("weather"); one that does
  something needs its verb, too ("send ... email"). Where the name says little, words of the description count as well.
- An order to do one thing ("create a file") does not ask for a tool that does another ("read_file").
- A tool that hands the talk over ("transfer_to_billing_agent") needs its subject alone, in whatever kind of clause.

When the same words speak for two tools, the one whose name has more of them is meant.
"""

from __future__ import annotations

import re
import typing

from protocol.budget import Budget
from protocol.mock.answer.assignment import hint_class
from protocol.mock.answer.clauses import DOING_VERBS, LOOK_UP_VERBS, TELLING_VERBS, TEXT_VERBS, Clause, clauses, stems
from protocol.mock.answer.hints import OPENING_MARKS, glossary_words, hint_words, stem
from protocol.mock.answer.plain import parameters_of
from protocol.mock.answer.reply import OfferedTool
from protocol.mock.answer.scalar import name_words

_MAX_DESCRIPTION = 1000  # characters
_MAX_MEMBERS = 100  # of an enum


class AskedTool(typing.NamedTuple):
    """A tool that a prompt asks for, and where in the prompt its words begin."""

    tool: OfferedTool
    position: int
    spelt: bool = False  # by its name
    waits: bool = False  # until there are results of what is asked before it: "..., then email it"
    is_named: bool = True  # the prompt has a word of its name, or one that stands for it; else words of its description
    is_whole: bool = True  # the prompt has all words of its name, or orders what its verb says


_MATHS = stems("calculate compute evaluate solve multiply divide subtract sum estimate")
_SUMS = _MATHS | {"add"}
_FILLERS = stems(
    "the a an of for to in on at by with from and or current currently latest recent new today info information data"
    " details detail result results value tool function api item text string user my your me it all any one given"
    " specific specified provided certain this that these those which what who when where how as is are be can will"
    " should would based about into using used uses use useful returns return e g i if not only also such more per its"
    " their his her you we they please like need want list name names id number string object json input output"
    " request response asks ask asking location place city country state region date time-of call called calls"
)
_SAYING_LITTLE = _FILLERS | LOOK_UP_VERBS
# Words that may stand for one another.
_SYNONYMS = tuple(
    stems(group)
    for group in (
        "weather temperature forecast rain raining rainy sunny snow snowing windy humid humidity hot cold umbrella",
        "search google browse", "time clock", "email mail", "price cost quote", "stock share",
        "calculate calculator calculation math arithmetic evaluate solve", "multiply times product",
        "add plus sum", "subtract minus difference", "divide divided", "create make schedule add arrange new",
        "read open load", "grep find", "write save create",
        "set turn adjust change switch toggle dim brighten raise lower",
        "edit modify change replace update editor",
        "bash shell terminal command", "docs doc documentation manual", "web news", "question query",
        "event meeting appointment calendar", "delete remove cancel erase", "picture image photo", "light lamp",
        "send deliver", "buy purchase", "book reserve", "convert exchange", "restaurant dinner lunch",
        "flight fly", "directions route navigate", "reminder remind", "translate translation translator",
        "currency exchange money", "web internet online", "news headline", "user customer client", "start begin",
        "track status", "package parcel shipment", "thermostat temperature",
    )
)  # fmt: skip
_AFTER = r"(?i)(?:\b(?:then|after that|afterwards|finally|next)|然后|接着|再)[\s,，]*(?:[^\W_]+ ){0,2}\Z"
_AFTER_CHARACTERS = 200  # before a tool's words that are searched for that
# "Open a ticket" wants a new one.
_CREATION = r"(?:open|file|raise|log|start|report) (?:an?|new) "
_LANGUAGES = {
    "spanish": r"\b(?:hola|cómo|qué|gracias|por favor|dónde|cuándo|buen[oa]s|quiero|necesito|puedes?)\b",
    "french": r"\b(?:bonjour|merci|comment|s'il|est-ce|où|voudrais|pouvez|je)\b",
    "german": r"\b(?:hallo|danke|bitte|wie|ich|können|möchte|nicht)\b",
    "italian": r"\b(?:ciao|grazie|come stai|vorrei|dove|perché|buongiorno)\b",
    "portuguese": r"\b(?:olá|obrigad[oa]|você|não|onde|quero)\b",
    "japanese": "[\u3040-\u30ff]",
    "korean": "[\uac00-\ud7af]",
    "chinese": "[\u4e00-\u9fff]",
}
_HANDING_OVER = r"(?:transfer|hand_?off|delegate|escalate)_(?:back_)?to_|.+_handoff\Z"
_AGENTS = stems("agent assistant specialist team department expert bot transfer handoff delegate escalate back")
# By the verb of an order to look something up: the verbs of tools that do not carry it out.
_CONTRARY = {
    "list": stems("read"), "find": stems("read"), "search": stems("read"), "read": stems("list search"),
}  # fmt: skip
_CHINESE_FILLERS = frozenset(
    "查询 获取 当前 指定 返回 用户 信息 今天 现在 一个 可以 使用 这个 什么 怎么 给定 根据 提供 进行 城市 工具".split()
)
_HAN = "[\u3400-\u4dbf\u4e00-\u9fff]+"


class _ParameterWords(typing.NamedTuple):
    """What the parameters of a tool say."""

    names: frozenset[str]  # stems
    members: frozenset[str]  # stems of their fixed values
    takes_sums: bool


class _ToolWords:
    """What a tool says of itself, read once for all clauses of a prompt; its parameters when a clause needs them."""

    def __init__(self, tool: OfferedTool, budget: Budget) -> None:
        # MCP clients write the server's name and two underscores before the tool's own.
        name = name_words(tool.name.rpartition("__")[2] or tool.name)
        description = tool.description[:_MAX_DESCRIPTION]
        self.tool = tool
        self.own = tuple(stem(word) for word in name.split())  # stems of its name
        #: Stems of its description that say something.
        self.described = frozenset(stem(word) for word in hint_words(description)) - _SAYING_LITTLE
        #: Pairs of Chinese characters of its description.
        self.han = frozenset() if description.isascii() else _han_pairs(description) - _CHINESE_FILLERS
        #: Stems of what words of other scripts in its description are in English.
        self.glossary = frozenset(stem(word) for word in glossary_words(description)) - _SAYING_LITTLE
        self._budget = budget
        self._parameters: _ParameterWords | None = None

    @property
    def parameters(self) -> _ParameterWords:
        """What its parameters say."""
        if self._parameters is None:
            found = parameters_of(self.tool.parameters, self._budget)
            plain = [part for one in found for part in (one.schema, one.schema.get("items", {}))]
            members = [member for part in plain for member in part.get("enum", ())[:_MAX_MEMBERS]]
            self._budget.spend(len(members) // 5)
            self._parameters = _ParameterWords(
                frozenset(stem(word) for one in found for word in name_words(one.name).split()),
                frozenset(stem(member.casefold()) for member in members if isinstance(member, str)),
                any(hint_class(one.name) == "sum" for one in found),
            )
        return self._parameters


class _Evidence(typing.NamedTuple):
    """What speaks for a tool in a clause."""

    tool: OfferedTool
    position: int  # in the prompt
    direct: frozenset[str]  # words of the tool's name that the clause has
    matched: frozenset[str]  # all words of the clause that speak for the tool
    missed: int  # words of the name that the clause does not have
    spelt: bool  # the clause has the whole name
    acts: bool = False  # the order is the tool's own verb
    known: frozenset[str] = frozenset()  # words of the clause that the tool's description or parameters have
    is_named: bool = True  # the clause has a word of the name, or one that stands for it


def asked_tools(prompt: str, tools: typing.Sequence[OfferedTool], budget: Budget) -> list[AskedTool]:
    """Return the tools that a prompt asks for, in the order of their words there."""
    found: dict[str, _Evidence] = {}
    offered = []
    for tool in tools:
        budget.spend(100 + len(tool.name) // 5)
        offered.append(_ToolWords(tool, budget))
    for clause in clauses(prompt, budget):
        evidence = []
        for words in offered:
            # Each tool has the clause searched some times; a search costs a microsecond for some thirty characters.
            budget.spend(30 + len(clause.words) // 5 + len(words.tool.name) // 5 + len(clause.text) // 10)
            given = _evidence(clause, words)
            if given is not None:
                evidence.append(given)
        has_sum = bool(evidence) and any(hint.kind == "sum" for hint in clause.literals)
        sums = {one.tool.name for one in offered if one.parameters.takes_sums} if has_sum else set()
        if any(given.tool.name in sums for given in evidence):
            # A calculator takes the whole sum. Tools for its single steps are called only where there is no calculator.
            evidence = [
                given for given in evidence if given.tool.name in sums or given.spelt or given.position > clause.start
            ]
        for at, given in enumerate(evidence):
            budget.spend(1 + len(evidence) // 4)
            # When the same words of descriptions speak for two tools, the one that is offered first will do.
            is_repeated = not given.direct and any(other.matched == given.matched for other in evidence[:at])
            if not is_repeated and not any(_is_better(other, given) for other in evidence):
                found.setdefault(given.tool.name, given)
    ordered = sorted(found.values(), key=lambda given: given.position)
    handing = [given for given in ordered if re.match(_HANDING_OVER, given.tool.name)]
    return [
        AskedTool(
            given.tool,
            given.position,
            given.spelt and given.tool.name in prompt,
            _comes_after(prompt, given.position),
            given.is_named,
            given.acts or not given.missed,
        )
        for given in ordered
        if given not in handing[1:]  # the talk can be handed over to one agent only
    ]


def _comes_after(prompt: str, position: int) -> bool:
    """Whether "then", and no more than two words, stand before a place of the prompt."""
    return re.compile(_AFTER).search(prompt, max(0, position - _AFTER_CHARACTERS), position) is not None


def _is_better(one: _Evidence, other: _Evidence) -> bool:
    """Say whether the words that speak for the other tool speak for this one, and name it better."""
    if one.spelt or other.spelt:
        return one.spelt > other.spelt and other.matched <= one.matched
    if not other.matched <= one.matched | one.direct | one.known:
        return False
    return (one.acts, len(one.direct), -one.missed) > (other.acts, len(other.direct), -other.missed)


# ---- evidence


def _evidence(clause: Clause, words: _ToolWords) -> _Evidence | None:
    tool, name = words.tool, words.own
    spelt = _spelt(clause, tool.name)
    if spelt >= 0:
        return _Evidence(tool, clause.start + spelt, frozenset(name), frozenset(name), 0, True)
    if re.match(_HANDING_OVER, tool.name):
        return _handing_over(clause, tool, name)
    verbs = [word for word in name[:1] if word in DOING_VERBS or word in TELLING_VERBS]
    objects = [word for word in name[len(verbs) :] if word not in _SAYING_LITTLE]
    objects = objects or [word for word in name[1:] if word not in _FILLERS]
    if not clause.is_request(frozenset(name) - _SAYING_LITTLE) or _is_contrary(clause, name):
        return None
    hits = {word: _hits(word, clause.words) for word in name if word not in _FILLERS}
    described = _described_words(words, clause)
    acts = clause.verb == name[0] or clause.verb in DOING_VERBS.intersection(name)
    if not (_suffices(clause, words, objects, verbs, hits, described) or (acts and described and not verbs)):
        return None
    matched = frozenset(hit for word in hits for hit in hits[word]) | described
    position = clause.place_of(matched)
    if not matched or clause.is_negated(position):
        return None
    direct = frozenset(word for word in hits if word in hits[word])
    known = (words.described | words.parameters.names).intersection(clause.words)
    return _Evidence(tool, position, direct, matched, len(hits) - len(direct), False, acts, known, any(hits.values()))


def _handing_over(clause: Clause, tool: OfferedTool, name: typing.Sequence[str]) -> _Evidence | None:
    """Return what speaks for handing the talk over: the clause names the subject, or is in the agent's language."""
    subject = [word for word in name if word not in _FILLERS | _AGENTS]
    found = frozenset(hit for word in subject for hit in _hits(word, clause.words))
    if clause.verb in TEXT_VERBS or clause.is_negated(clause.start + len(clause.text)):
        return None
    if not found and not any(re.search(_LANGUAGES.get(word, r"(?!)"), clause.text) for word in subject):
        return None
    position = clause.place_of(found)
    direct = found.intersection(subject)
    return _Evidence(tool, position, direct, found, len(subject) - len(direct), False)


def _is_contrary(clause: Clause, name: typing.Sequence[str]) -> bool:
    """Say whether a clause orders something else than a tool that looks something up can do."""
    said = clause.verb
    if said in name or _hits(name[0], [said]):
        return False
    if name[0] in _CONTRARY.get(said, ()):
        return True
    is_for_me = re.match(r"[a-z]+ (?:me|us)\b", clause.opening) is not None  # "send me the news"
    return said in DOING_VERBS and name[0] in LOOK_UP_VERBS and not is_for_me


def _suffices(
    clause: Clause,
    words: _ToolWords,
    objects: typing.Sequence[str],
    verbs: typing.Sequence[str],
    hits: typing.Mapping[str, typing.AbstractSet[str]],
    described: typing.AbstractSet[str],
) -> bool:
    """Say whether the words that were found are enough to call the tool.

    `hits` has, by word of the tool's name, the words of the clause that stand for it. `described` are the words of the
    clause that the tool's description has.
    """
    kinds = [hint.kind for hint in clause.literals]
    found = [word for word in objects if hits[word]]
    acted = [word for word in verbs if hits[word] and _is_meant(word, clause)]
    if "sum" in kinds and (words.parameters.takes_sums or (acted and verbs[0] in _SUMS)):
        return True
    if verbs and verbs[0] in DOING_VERBS and not (acted and not objects and kinds.count("number") > 1):
        return clause.is_order(frozenset(found)) and _does(clause, verbs[0], objects, found, acted, hits, described)
    if not objects:
        is_named = any(hits.values()) and not words.parameters.members.isdisjoint(clause.words)
        # "Read a.txt" is for a tool that is called `read`.
        is_ordered = clause.verb == words.own[0] and bool(clause.literals)
        return bool(acted) or len(described) >= 2 or bool(described and clause.literals) or is_named or is_ordered
    if len(found) == len(objects) or (acted and verbs[0] in clause.words):
        return True
    if found and (clause.literals or described - {hit for word in found for hit in hits[word]}):
        return True
    return len(described) >= 2 or bool(clause.literals and acted)


def _does(
    clause: Clause,
    verb: str,
    objects: typing.Sequence[str],
    found: typing.Sequence[str],
    acted: typing.Sequence[str],
    hits: typing.Mapping[str, typing.AbstractSet[str]],
    described: typing.AbstractSet[str],
) -> bool:
    """Say whether an order is for a tool that does what `verb` says to the objects of its name."""
    if any(clause.verb in hits[word] for word in found):  # "email Bob"
        return True
    if verb == "creat" and found and re.match(_CREATION, clause.opening):
        return True
    if acted and objects:
        return bool(found) or len(described) >= 2
    if acted:
        return verb in clause.words and bool(clause.literals or described - hits[verb])
    return bool(found) and len(described) >= 2


def _is_meant(verb: str, clause: Clause) -> bool:
    """Say whether a verb of arithmetic is meant as one: the clause has numbers, or begins with the verb."""
    if verb not in _MATHS:
        return True
    return re.search("[0-9]", clause.text) is not None or stem(clause.opening.partition(" ")[0]) == verb


def _spelt(clause: Clause, name: str) -> int:
    """Return where a clause spells the whole name of a tool and does not forbid it, -1 for nowhere."""
    words, own = name_words(name).split(), name.casefold()
    # There may be thousands of tools, and to compile what finds one takes longer than to see that it cannot be there.
    if own not in clause.text and (len(words) < 2 or not all(word in clause.text for word in words)):
        return -1
    rule = re.escape(own)
    if len(words) > 1:
        rule += "|" + r"[\s_-]*".join(re.escape(word) for word in words)
    elif not re.search(r"[\W_\d]", name):
        # A single word may be meant as a word: it counts where it is marked as a name.
        marked = rf"(?<=[{OPENING_MARKS}]){rule}(?=[`\"'\u201c\u201d\u2019\u00bb\u300d])"
        rule = rf"{marked}|{rule}(?=\(| tool\b| function\b|工具|函数)|(?<=\buse ){rule}\b"
        rule += rf"|(?<=\bcall ){rule}\b"
    found = re.search(rf"(?<![a-z0-9_])(?:{rule})(?![a-z0-9_])", clause.text)
    if found is None or clause.is_negated(clause.start + found.start()):
        return -1
    is_exact = (found[0] == name.casefold() and len(words) == 1) or "_" in found[0] or "-" in found[0]
    if not is_exact and not clause.is_request(set(map(stem, words))):
        return -1
    return found.start()


def _hits(word: str, words: typing.Sequence[str]) -> frozenset[str]:
    """Return which words of a clause stand for a word of a tool."""
    if word in words:
        return frozenset([word])
    same = frozenset(other for group in _SYNONYMS if word in group for other in group)
    return same.intersection(words)


def _described_words(words: _ToolWords, clause: Clause) -> frozenset[str]:
    """Return the words of a clause that are in the tool's description and not only names of its parameters."""
    found = (words.described - (words.parameters.names - set(words.own))).intersection(clause.words)
    if words.han:
        found |= words.han & _han_pairs(clause.text)
        found |= words.glossary.intersection(clause.words)
    return found


def _han_pairs(text: str) -> frozenset[str]:
    runs = re.findall(_HAN, text)
    return frozenset(run[at : at + 2] for run in runs for at in range(len(run) - 1))
