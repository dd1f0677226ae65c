"""Tell which of the tools that are offered a prompt plainly asks for, by its words alone.

Theory of operation. A prompt is cut into clauses. A clause that spells a tool's name asks for it. Any other clause must
be a request (a question, an order, a few words such as "weather in Oslo") and no call for a text of its own ("write a
poem about rain"). Then the words of the tool's name count: the objects ("weather") for a tool that looks something up,
the action too ("send ... email") for one that does something; the words of its description stand in where its name
says little. An order to do one thing ("create a file") asks for no tool that does another ("read_file"). A tool that
hands the talk over ("transfer_to_billing_agent") is asked for by its subject, order or not. Of two tools that the same
words speak for, the one that they name better is meant.
"""

from __future__ import annotations

import itertools
import re
import typing

from protocol.mock.answer.assignment import hint_class
from protocol.mock.answer.hints import Hint, glossary_words, hint_words, read_hints, stem
from protocol.mock.answer.scalar import name_words

MAX_ASKED_CLAUSES = 64  # of a prompt: the first and the last ones, for long texts have their question at either end

_NOWHERE = -1  # the place of a word that a clause only means
_MAX_DESCRIPTION = 1000  # characters
_MAX_PARAMETERS = 100


class OfferedTool(typing.NamedTuple):
    """A tool that a request offers; `parameters` is the JSON Schema of its arguments, None for none."""

    name: str
    description: str = ""
    parameters: typing.Any = None
    kind: str = "function"  # or "custom": its input is free text


class AskedTool(typing.NamedTuple):
    """A tool that a prompt asks for, and where in the prompt its words begin."""

    tool: OfferedTool
    position: int
    waits: bool = False  # for the results of what is asked before: "..., then email it"


def _stems(words: str) -> frozenset[str]:
    return frozenset(stem(word) for word in words.split())


# Verbs of tool names that say no more than that something is looked up.
_GENERIC = _stems(
    "get fetch find retrieve read list show check query lookup look up tell display see view give return load is"
    " describe access pull run do call use execute invoke perform handle make extract identify"
)
# Verbs that change the world: such a tool wants its verb in the prompt.
_DOING_VERBS = (
    "send book create delete remove update add set turn schedule order buy purchase cancel play post write save put"
    " open close start stop move copy rename insert append reserve pay transfer submit publish upload edit modify"
    " change enable disable remind invite assign share reply generate draw render block ban refund ship toggle switch"
    " dim brighten lock unlock raise lower increase decrease replace adjust"
    " subscribe unsubscribe install deploy restart reset register login sign"
)
_DOING = _stems(_DOING_VERBS)
# Verbs that are enough on their own: there is no other word for what the tool does.
_SOFT = _stems(
    "search translate calculate compute convert estimate multiply divide subtract sum compare analyze analyse classify"
    " summarize count sort browse google track solve evaluate roll flip plot exchange"
)
_MATHS = _stems("calculate compute evaluate solve multiply divide subtract sum estimate")
_SUMS = _MATHS | {"add"}
_FILLERS = _stems(
    "the a an of for to in on at by with from and or current currently latest recent new today info information data"
    " details detail result results value tool function api item text string user my your me it all any one given"
    " specific specified provided certain this that these those which what who when where how as is are be can will"
    " should would based about into using used uses use useful returns return e g i if not only also such more per its"
    " their his her you we they please like need want list name names id number string object json input output"
    " request response asks ask asking location place city country state region date time-of call called calls"
)
# Words that may stand for one another.
_SYNONYMS = tuple(
    _stems(group)
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

_QUESTION_WORDS = frozenset(
    "what what's whats how how's which when where where's who who's is are will does did has have was were".split()
)
_OPENERS = frozenset(
    "please hey hi hello ok okay so and then also now just first next finally well after that afterwards assistant"
    " kindly quickly great thanks yes".split()
)
_POLITE = (
    r"(?:(?:can|could|would|will) you(?: please)?|i(?: woul|'|\u2019)d like(?: you)?(?: to)?"
    r"|i(?: really)? (?:want|need)(?: you)?(?: to)?"
    r"|let'?s|let us|help me(?: to)?|go ahead and|you (?:should|must|need to)"
    r"|make sure to|try to|i have to|we need to)\b\s*"
)
# Orders begin with these, or with a verb of the tool's name.
_ORDERS = _GENERIC | _DOING | _SOFT
_ORDERS |= _stems("use give need plan arrange remind email mail google")
# A text is wanted then, or an opinion, and no tool, unless the tool's own name has the word.
_TEXT_VERBS = _stems(
    "write compose draft explain discuss imagine rewrite paraphrase brainstorm define invent pretend sing rhyme"
    " summarize summarise proofread elaborate argue recite"
)
_TEXT_NOUNS = _stems(
    "poem poetry story essay song haiku joke limerick novel lyrics article blog paragraph slogan riddle sonnet"
    " metaphor synonym etymology meaning definition history"
)
_NO_REQUEST = (
    r"(?:why|how come|what does \S+(?: \S+){0,3} mean|what is an?|what's an?|what are (?!the\b)"
    r"|who (?:invented|discovered|wrote|made)|define|do you"
    r" (?:like|know|think|love|have|understand)|are you|how are you|who are you|what can you|have you|did you|what do"
    r" you|is it true|how (?:does|did|was|were)|tell me (?:a|about|something|the (?:story|difference))"
    r"|what(?:'s| is) the"
    r" (?:difference|meaning|definition|history|origin|purpose|point)"
    r"|i (?:like|love|hate|think|believe|had|was|am|have been)"
    r"|talk about|describe)\b"
)
_FIRST_PLACE = r"(?:in|on|at|from|within|inside|under) (?:the )?\S+(?: file| folder| directory)?,? (?=([a-z]+)\b)"
_AFTER = r"(?i)(?:\b(?:then|after that|afterwards|finally|next)|然后|接着|再)[\s,，]*(?:[^\W_]+ ){0,2}\Z"
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
_PHRASES = (("find out", "search"), ("look up", "query"))
_HANDING_OVER = r"(?:transfer|hand_?off|delegate|escalate)_(?:back_)?to_|.+_handoff\Z"
_AGENTS = _stems("agent assistant specialist team department expert bot transfer handoff delegate escalate back")
# Orders to look something up that another tool for looking up does not carry out.
_CONTRARY = {
    "list": _stems("read"), "find": _stems("read"), "search": _stems("read"), "read": _stems("list search"),
}  # fmt: skip
_HOW_TO = r"how (?:do|can|should|would|could|might|to|shall)\b"
_STATEMENT = frozenset("i we he she they it you is was are were am had has have not thank thanks".split())
_NEGATIONS = frozenset("not don't dont don never without no avoid \u2019t".split())

_CHINESE_REQUEST = "[？?吗呢]|什么|怎么|多少|几[点个度天]|哪|谁|如何|请|帮|查|告诉|搜|计算|算一"
_CHINESE_REQUEST += "|发[送一给邮]|订|翻译|给我|看看|我要|我想|打开|关闭|播放|创建|添加|删除"
_CHINESE_TEXT = "写|诗|故事|笑话|作文|文章|解释|介绍一下|什么是|是什么意思|为什么|喜欢"
_CHINESE_NEGATION = "不要|别|不用|无需|不需要"
_CHINESE_FILLERS = frozenset(
    "查询 获取 当前 指定 返回 用户 信息 今天 现在 一个 可以 使用 这个 什么 怎么 给定 根据 提供 进行 城市 工具".split()
)
_QUOTATION = r"\"[^\"]*\"|`[^`]*`|\u201c[^\u201d]*\u201d|(?<!\w)'[^']*'(?!\w)"
_HAN = "[\u3400-\u4dbf\u4e00-\u9fff]+"


class _Clause(typing.NamedTuple):
    text: str  # in small letters
    start: int
    words: tuple[str, ...]  # stems in order, those of the glossary last
    places: tuple[int, ...]  # where each begins in the prompt, or _NOWHERE
    literals: tuple[Hint, ...]
    opening: str  # without "please", "can you" and the like
    is_polite: bool


class _ToolWords(typing.NamedTuple):
    """What a tool says of itself, read once for all clauses of a prompt."""

    tool: OfferedTool
    own: tuple[str, ...]  # stems of its name
    described: frozenset[str]  # stems of its description that say something
    parameters: frozenset[str]  # stems of its parameters' names
    members: frozenset[str]  # stems of the fixed values of its parameters
    han: frozenset[str]  # pairs of Chinese characters of its description
    glossary: frozenset[str]  # stems of what the Chinese words of its description are in English
    takes_sums: bool


class _Evidence(typing.NamedTuple):
    """What speaks for a tool: words of its name that were found, all words found, how well the name is covered."""

    tool: OfferedTool
    position: int
    direct: frozenset[str]
    matched: frozenset[str]
    missed: int
    spelt: bool
    acts: bool = False  # the order is the tool's own verb
    known: frozenset[str] = frozenset()  # words of the clause that the tool's description or parameters have


def asked_tools(prompt: str, tools: typing.Sequence[OfferedTool]) -> list[AskedTool]:
    """Return the tools that a prompt plainly asks for, in the order in which it does."""
    found: dict[str, _Evidence] = {}
    offered = [_tool_words(tool) for tool in tools]
    sums = {one.tool.name for one in offered if one.takes_sums}
    for clause in _clauses(prompt):
        evidence = [given for given in (_evidence(clause, words) for words in offered) if given is not None]
        if any(given.tool.name in sums for given in evidence) and any(hint.kind == "sum" for hint in clause.literals):
            # A calculator takes the whole sum; tools for its single steps are for where there is none.
            evidence = [
                given for given in evidence if given.tool.name in sums or given.spelt or given.position > clause.start
            ]
        for at, given in enumerate(evidence):
            # Of two that the same words speak for equally, the one that is offered first will do.
            is_told = not given.direct and any(other.matched == given.matched for other in evidence[:at])
            if not is_told and not any(_is_better(other, given) for other in evidence):
                found.setdefault(given.tool.name, given)
    ordered = sorted(found.values(), key=lambda given: given.position)
    handing = [given for given in ordered if re.match(_HANDING_OVER, given.tool.name)]
    return [
        AskedTool(given.tool, given.position, re.search(_AFTER, prompt[: given.position]) is not None)
        for given in ordered
        if given not in handing[1:]  # the talk goes to one only
    ]


def _is_better(one: _Evidence, other: _Evidence) -> bool:
    """Say whether the words that speak for the other tool speak for this one more plainly."""
    if one.spelt or other.spelt:
        return one.spelt > other.spelt and other.matched <= one.matched
    if not other.matched <= one.matched | one.direct | one.known:
        return False
    return (one.acts, len(one.direct), -one.missed) > (other.acts, len(other.direct), -other.missed)


# ---- clauses


def _clauses(prompt: str) -> typing.Iterator[_Clause]:
    verbs = _DOING_VERBS.replace(" ", "|")
    separator = rf"(?:, and|,| and) (?=(?:e?mail|tell|get|find|search|calculate|convert|translate|{verbs})\b)|"
    separator += r"[!;\n。！；]+|[?？]+|\.(?=\s|\Z)|,? (?:and )?then (?=[a-z])|[，,]\s*(?:然后|并且?|再|接着)"
    ends = [*(match.end() for match in re.finditer(separator, prompt)), len(prompt)]
    spans = [(start, end) for start, end in zip([0, *ends], ends) if prompt[start:end].strip()]
    half = MAX_ASKED_CLAUSES // 2
    for start, end in spans if len(spans) <= MAX_ASKED_CLAUSES else spans[:half] + spans[-half:]:
        yield _clause(prompt[start:end], start)


def _clause(text: str, start: int) -> _Clause:
    plain = text.casefold().replace("\u2019", "'")
    spoken = re.sub(_QUOTATION, lambda found: " " * len(found[0]), plain)
    found = [(stem(match[0]), start + match.start()) for match in re.finditer(r"[^\W_]+(?:'[a-z]+)?", spoken)]
    found = [(stem(word[:-2]) if word.endswith("'s") else word, place) for word, place in found]
    literals = tuple(hint for hint in read_hints(text).literals if hint.kind not in ("day", "counted"))
    extra = [*glossary_words(plain), *_words_of_literals(literals)]
    extra += [word for phrase, word in _PHRASES if phrase in plain]
    found += [(stem(word), _NOWHERE) for word in extra]
    opening = plain.strip(" \t,，.:-(\"'")
    is_polite = False
    while opening:
        polite = re.match(_POLITE, opening)
        first = re.match(r"[a-z]+\b[\s,:!-]*", opening)
        place = re.match(_FIRST_PLACE, opening)
        if polite:
            opening, is_polite = opening[polite.end() :], True
        elif first and re.match("[a-z]+", opening)[0] in _OPENERS:  # type: ignore[index]
            opening = opening[first.end() :]
        elif place and stem(place[1]) in _ORDERS:
            opening = opening[place.end() :]
        else:
            break
    words, places = tuple(word for word, _ in found), tuple(place for _, place in found)
    return _Clause(plain, start, words, places, literals, opening, is_polite)


def _words_of_literals(literals: typing.Sequence[Hint]) -> list[str]:
    """Return what literals are, as words: an address is an email, a sum is to be calculated."""
    words: list[str] = []
    for hint in literals:
        if hint.kind in ("email", "url", "path", "sql"):
            words += {"email": ["email"], "url": ["url"], "path": ["file"], "sql": ["sql", "query", "run"]}[hint.kind]
        elif hint.kind == "sum":
            signs = {"+": "add", "*": "multiply", "×": "multiply", "/": "divide", "÷": "divide", "-": "subtract"}
            words += ["calculate", *(word for sign, word in signs.items() if sign in str(hint.value)[1:])]
    if len({hint.value for hint in literals if hint.kind == "currency"}) > 1:
        words += ["convert", "currency"]
    return words


def _is_request(clause: _Clause, tool_words: typing.AbstractSet[str]) -> bool:
    """Say whether a clause asks for something to be done or told, by its form."""
    if re.match(_NO_REQUEST, clause.opening):
        return False
    if re.match(_HOW_TO, clause.opening) and not clause.literals:
        return False
    own = tool_words | {"text"}
    if any(word in _TEXT_NOUNS and word not in own for word in clause.words):
        return False
    first = re.match(r"[a-z']+", clause.opening)
    verb = stem(first[0]) if first else ""
    if verb in _TEXT_VERBS and verb not in own:
        return False
    if re.search(_CHINESE_TEXT, clause.text):
        return False
    if clause.is_polite or clause.text.rstrip().endswith(("?", "？")) or (first and first[0] in _QUESTION_WORDS):
        return True
    if verb in _ORDERS or (verb and verb in tool_words):
        return True
    if re.search(_CHINESE_REQUEST, clause.text):
        return True
    if any(hint.kind == "sql" for hint in clause.literals):
        return True
    # A few words and no sentence: "weather in Oslo".
    return len(clause.words) <= 8 and bool(clause.literals) and _STATEMENT.isdisjoint(clause.words)


def _is_order(clause: _Clause, tool_words: typing.AbstractSet[str]) -> bool:
    """Say whether a request wants something done, and is not only a question."""
    first = re.match(r"[a-z']+", clause.opening)
    if clause.is_polite or (first and (stem(first[0]) in _ORDERS or stem(first[0]) in tool_words)):
        return True
    if re.search(_CHINESE_REQUEST, clause.text):
        return True
    return not first or (first[0] not in _QUESTION_WORDS and not re.match(_HOW_TO, clause.opening))


# ---- evidence


def _evidence(clause: _Clause, words: _ToolWords) -> _Evidence | None:
    tool, name = words.tool, words.own
    spelt = _spelt(clause, tool.name)
    if spelt >= 0:
        return _Evidence(tool, clause.start + spelt, frozenset(name), frozenset(name), 0, True)
    if re.match(_HANDING_OVER, tool.name):
        return _handing_over(clause, tool, name)
    told = _FILLERS | _GENERIC
    verbs = [word for word in name[:1] if word in _DOING | _SOFT]
    objects = [word for word in name[len(verbs) :] if word not in told]
    objects = objects or [word for word in name[1:] if word not in _FILLERS]
    if not _is_request(clause, frozenset(name) - told) or _is_contrary(clause, name):
        return None
    hits = {word: _hits(word, clause.words) for word in name if word not in _FILLERS}
    described = _described_words(words, clause)
    acts = _said_verb(clause) == name[0] or _said_verb(clause) in _DOING.intersection(name)
    if not (_suffices(clause, words, objects, verbs, hits, described) or (acts and described and not verbs)):
        return None
    matched = frozenset(hit for word in hits for hit in hits[word]) | described
    position = _position(clause, matched)
    if not matched or _is_negated(clause, position):
        return None
    direct = frozenset(word for word in hits if word in hits[word])
    known = (words.described | words.parameters).intersection(clause.words)
    return _Evidence(tool, position, direct, matched, len(hits) - len(direct), False, acts, known)


def _position(clause: _Clause, words: typing.AbstractSet[str]) -> int:
    """Return where the first of some words of a clause stands; where none has a place, where the clause begins."""
    places = [place for word, place in zip(clause.words, clause.places) if word in words and place != _NOWHERE]
    return min(places, default=clause.start)


def _handing_over(clause: _Clause, tool: OfferedTool, name: typing.Sequence[str]) -> _Evidence | None:
    """Return what speaks for handing the talk over: its subject is named, or the prompt is in its language."""
    subject = [word for word in name if word not in _FILLERS | _AGENTS]
    found = frozenset(hit for word in subject for hit in _hits(word, clause.words))
    if _said_verb(clause) in _TEXT_VERBS or _is_negated(clause, clause.start + len(clause.text)):
        return None
    if not found and not any(re.search(_LANGUAGES.get(word, r"(?!)"), clause.text) for word in subject):
        return None
    position = _position(clause, found)
    direct = found.intersection(subject)
    return _Evidence(tool, position, direct, found, len(subject) - len(direct), False)


def _said_verb(clause: _Clause) -> str:
    """Return the stem of the word that a clause begins with: of an order, its verb."""
    first = re.match(r"[a-z']+", clause.opening)
    return stem(first[0]) if first else ""


def _is_contrary(clause: _Clause, name: typing.Sequence[str]) -> bool:
    """Say whether an order is to do something else than what a tool that looks something up does."""
    said = _said_verb(clause)
    if said in name or _hits(name[0], [said]):
        return False
    if name[0] in _CONTRARY.get(said, ()):
        return True
    is_for_me = re.match(r"[a-z]+ (?:me|us)\b", clause.opening) is not None  # "send me the news"
    return said in _DOING and name[0] in _GENERIC and not is_for_me


def _suffices(
    clause: _Clause,
    words: _ToolWords,
    objects: typing.Sequence[str],
    verbs: typing.Sequence[str],
    hits: typing.Mapping[str, typing.AbstractSet[str]],
    described: typing.AbstractSet[str],
) -> bool:
    """Say whether the words that were found are enough to call the tool."""
    kinds = [hint.kind for hint in clause.literals]
    found = [word for word in objects if hits[word]]
    acted = [word for word in verbs if hits[word] and _is_meant(word, clause)]
    if "sum" in kinds and (words.takes_sums or (acted and verbs[0] in _SUMS)):
        return True
    if verbs and verbs[0] in _DOING and not (acted and not objects and kinds.count("number") > 1):
        return _is_order(clause, frozenset(found)) and _does(clause, verbs[0], objects, found, acted, hits, described)
    if not objects:
        is_named = any(hits.values()) and not words.members.isdisjoint(clause.words)
        return bool(acted) or len(described) >= 2 or bool(described and clause.literals) or is_named
    if len(found) == len(objects) or (acted and verbs[0] in clause.words):
        return True
    if found and (clause.literals or described - {hit for word in found for hit in hits[word]}):
        return True
    return len(described) >= 2 or bool(clause.literals and acted)


def _does(
    clause: _Clause,
    verb: str,
    objects: typing.Sequence[str],
    found: typing.Sequence[str],
    acted: typing.Sequence[str],
    hits: typing.Mapping[str, typing.AbstractSet[str]],
    described: typing.AbstractSet[str],
) -> bool:
    """Say whether an order is for a tool that does what `verb` says to what the objects say."""
    if any(_said_verb(clause) in hits[word] for word in found):  # "email Bob"
        return True
    if verb == "creat" and found and re.match(_CREATION, clause.opening):
        return True
    if acted and objects:
        return bool(found) or len(described) >= 2
    if acted:
        return verb in clause.words and bool(clause.literals or described - hits[verb])
    return bool(found) and len(described) >= 2


def _is_meant(verb: str, clause: _Clause) -> bool:
    """Say whether a verb of arithmetic is one here: there are numbers, or the order begins with it."""
    if verb not in _MATHS:
        return True
    return re.search("[0-9]", clause.text) is not None or stem(clause.opening.partition(" ")[0]) == verb


def _spelt(clause: _Clause, name: str) -> int:
    """Return where a clause spells the whole name of a tool and does not say to leave it, -1 for nowhere."""
    words = name_words(name).split()
    rule = re.escape(name.casefold())
    if len(words) > 1:
        rule += "|" + r"[\s_-]*".join(re.escape(word) for word in words)
    elif not re.search(r"[\W_\d]", name):
        # One plain word may be any word: it has to be marked as a name.
        rule = rf"(?<=[`\"']){rule}(?=[`\"'])|{rule}(?=\(| tool\b| function\b|工具|函数)|(?<=\buse ){rule}\b"
        rule += rf"|(?<=\bcall ){rule}\b"
    found = re.search(rf"(?<![a-z0-9_])(?:{rule})(?![a-z0-9_])", clause.text)
    if found is None or _is_negated(clause, clause.start + found.start()):
        return -1
    is_exact = found[0] == name.casefold() and len(words) == 1 or "_" in found[0] or "-" in found[0]
    if not is_exact and (re.match(_NO_REQUEST, clause.opening) or not _is_request(clause, set(map(stem, words)))):
        return -1
    return found.start()


def _is_negated(clause: _Clause, position: int) -> bool:
    before = clause.text[: position - clause.start]
    words = re.findall(r"[^\W_]+(?:'[a-z]+)?", before)[-5:]
    return not _NEGATIONS.isdisjoint(words) or re.search(_CHINESE_NEGATION, clause.text) is not None


def _hits(word: str, words: typing.Sequence[str]) -> frozenset[str]:
    """Return which words of a clause stand for a word of a tool."""
    if word in words:
        return frozenset([word])
    same = frozenset(other for group in _SYNONYMS if word in group for other in group)
    return same.intersection(words)


def _described_words(words: _ToolWords, clause: _Clause) -> frozenset[str]:
    """Return the words of a clause that the tool's description has, too, its parameters' own names left out."""
    found = (words.described - (words.parameters - set(words.own))).intersection(clause.words)
    if words.han:
        found |= words.han & _han_pairs(clause.text)
        found |= words.glossary.intersection(clause.words)
    return found


def _tool_words(tool: OfferedTool) -> _ToolWords:
    # The server stands before two underscores, as MCP clients write it.
    name = name_words(tool.name.rpartition("__")[2] or tool.name)
    description = tool.description[:_MAX_DESCRIPTION]
    told = _FILLERS | _GENERIC
    properties = tool.parameters.get("properties") if isinstance(tool.parameters, dict) else None
    properties = dict(itertools.islice(properties.items(), _MAX_PARAMETERS)) if type(properties) is dict else {}
    enums = [schema.get("enum") for schema in properties.values() if isinstance(schema, dict)]
    members = [member for enum in enums if isinstance(enum, list) for member in enum[:_MAX_PARAMETERS]]
    return _ToolWords(
        tool, tuple(stem(word) for word in name.split()),
        frozenset(stem(word) for word in hint_words(description)) - told,
        frozenset(stem(word) for parameter in properties for word in name_words(parameter).split()),
        frozenset(stem(member.casefold()) for member in members if isinstance(member, str)),
        frozenset() if description.isascii() else _han_pairs(description) - _CHINESE_FILLERS,
        frozenset(stem(word) for word in glossary_words(description)) - told,
        any(hint_class(parameter) == "sum" for parameter in properties),
    )  # fmt: skip


def _han_pairs(text: str) -> frozenset[str]:
    runs = re.findall(_HAN, text)
    return frozenset(run[at : at + 2] for run in runs for at in range(len(run) - 1))
