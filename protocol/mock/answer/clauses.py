"""The clauses of a prompt: where they begin, which words they have, and whether they ask for something.

Only the form of a clause counts here. Which tool it asks for is told by asked.py.
"""

from __future__ import annotations

import re
import typing

from protocol.budget import Budget, spend_turn
from protocol.mock.answer.cost import matches
from protocol.mock.answer.hints import QUOTATION, Hint, glossary_words, read_hints, stem

MAX_ASKED_CLAUSES = 64  # of a prompt: the first and the last ones, for long texts have their question at either end

#: The place of a word that a clause means and does not say.
NOWHERE = -1


def stems(words: str) -> frozenset[str]:
    """Return the stems of some words."""
    return frozenset(stem(word) for word in words.split())


#: Stems of verbs of tool names that say no more than that something is looked up.
LOOK_UP_VERBS = stems(
    "get fetch find retrieve read list show check query lookup look up tell display see view give return load is"
    " describe access pull run do call use execute invoke perform handle make extract identify"
)
# Verbs that change the world: the prompt must have the verb of such a tool.
_DOING_WORDS = (
    "send book create delete remove update add set turn schedule order buy purchase cancel play post write save put"
    " open close start stop move copy rename insert append reserve pay transfer submit publish upload edit modify"
    " change enable disable remind invite assign share reply generate draw render block ban refund ship toggle switch"
    " dim brighten lock unlock raise lower increase decrease replace adjust"
    " subscribe unsubscribe install deploy restart reset register login sign"
)
#: Stems of these verbs.
DOING_VERBS = stems(_DOING_WORDS)
#: Stems of verbs that are enough on their own: there is no other word for what the tool does.
TELLING_VERBS = stems(
    "search translate calculate compute convert estimate multiply divide subtract sum compare analyze analyse classify"
    " summarize count sort browse google track solve evaluate roll flip plot exchange"
)

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
_ORDERS = LOOK_UP_VERBS | DOING_VERBS | TELLING_VERBS | stems("use give need plan arrange remind email mail google")
#: Stems. A clause with one of these wants a text or an opinion and no tool, unless the tool's own name has the word.
TEXT_VERBS = stems(
    "write compose draft explain discuss imagine rewrite paraphrase brainstorm define invent pretend sing rhyme"
    " summarize summarise proofread elaborate argue recite"
)
_TEXT_NOUNS = stems(
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
_RUNS = (
    r"(?:run|execute) (?:the )?(?:command )?(?:[`\"'\u201c\u300c]|(?:ls|pwd|cat|echo|git|npm|npx|pip|python3?|node|make"
    r"|pytest|grep|find|mkdir|touch|curl|docker|uname|whoami|go|cargo|uv)\b)"
)
_PHRASES = (("find out", "search"), ("look up", "query"))
_HOW_TO = r"how (?:do|can|should|would|could|might|to|shall)\b"
_STATEMENT = frozenset("i we he she they it you is was are were am had has have not thank thanks".split())
_NEGATIONS = frozenset("not don't dont don never without no avoid \u2019t".split())
_OTHER_REQUEST = (
    "[？?吗呢]|什么|怎么|多少|几[点个度天]|哪|谁|如何|请|帮|查|告诉|搜|计算|算一"
    "|教えて|ください|下さい|して(?:$|。)|調べ|探し|送って|見せて|알려|해\\s?줘|주세요|찾아|보내|어때|검색"
    "|покажи|скажи|найди|поищи|отправь|переведи|посчитай|вычисли|узнай|расскажи мне о погоде"
    "|أخبرني|ابحث|أرسل|ترجم|احسب|أرني"
    "|发[送一给邮]|订|翻译|给我|看看|我要|我想|打开|关闭|播放|创建|添加|删除"
)
_CHINESE_TEXT = "写|诗|故事|笑话|作文|文章|解释|介绍一下|什么是|是什么意思|为什么|喜欢"
_CHINESE_NEGATION = "不要|别|不用|无需|不需要"


class Clause(typing.NamedTuple):
    """A clause of a prompt, where it begins at `start`."""

    text: str  # in small letters
    start: int
    words: tuple[str, ...]  # stems of the words that it says, in order, then of those that it means
    places: tuple[int, ...]  # where each word begins in the prompt, or NOWHERE
    literals: tuple[Hint, ...]
    opening: str  # the text without "please", "can you" and the like at its beginning
    is_polite: bool
    verb: str  # the stem of the first word of the opening, "" for none; of an order, that is the verb
    asks: bool  # whether it begins as a question does

    def place_of(self, words: typing.AbstractSet[str]) -> int:
        """Return where the first of some words stands in the prompt; the clause's beginning when none has a place."""
        places = [place for word, place in zip(self.words, self.places) if word in words and place != NOWHERE]
        return min(places, default=self.start)

    def is_request(self, tool_words: typing.AbstractSet[str]) -> bool:
        """Whether the clause, by its form, wants something done or told. `tool_words` are stems of a tool's name."""
        if re.match(_NO_REQUEST, self.opening):
            return False
        if re.match(_HOW_TO, self.opening) and not self.literals:
            return False
        own = tool_words | {"text"}
        if any(word in _TEXT_NOUNS and word not in own for word in self.words):
            return False
        if self.verb in TEXT_VERBS and self.verb not in own:
            return False
        if re.search(_CHINESE_TEXT, self.text):
            return False
        if self.is_polite or self.text.rstrip().endswith(("?", "？", "؟")) or self.asks:
            return True
        if self.verb in _ORDERS or (self.verb and self.verb in tool_words):
            return True
        if re.search(_OTHER_REQUEST, self.text):
            return True
        if any(hint.kind == "sql" for hint in self.literals):
            return True
        # A few words and no sentence: "weather in Oslo".
        return len(self.words) <= 8 and bool(self.literals) and _STATEMENT.isdisjoint(self.words)

    def is_order(self, tool_words: typing.AbstractSet[str]) -> bool:
        """Whether a request wants something done, and does not only ask a question."""
        if self.is_polite or not self.verb or self.verb in _ORDERS or self.verb in tool_words:
            return True
        if re.search(_OTHER_REQUEST, self.text):
            return True
        return not self.asks and not re.match(_HOW_TO, self.opening)

    def is_negated(self, position: int) -> bool:
        """Whether something right before a place of the prompt says not to do it: "don't search for it"."""
        before = self.text[: position - self.start]
        spend_turn(len(before) // 10)
        words = re.findall(r"[^\W_]+(?:'[a-z]+)?", before)[-5:]
        return not _NEGATIONS.isdisjoint(words) or re.search(_CHINESE_NEGATION, self.text) is not None


def clauses(prompt: str, budget: Budget) -> typing.Iterator[Clause]:
    """Yield the clauses of a prompt, MAX_ASKED_CLAUSES of them at most."""
    verbs = _DOING_WORDS.replace(" ", "|")
    separator = rf"(?:, and|,| and) (?=(?:e?mail|tell|get|find|search|calculate|convert|translate|{verbs})\b)|"
    separator += r"[!;\n。！；]+|[?？؟]+|\.(?=\s|\Z)|,? (?:and )?then (?=[a-z])|[，,]\s*(?:然后|并且?|再|接着)"
    ends = [*(match.end() for match in matches(separator, prompt, budget)), len(prompt)]
    spans = [(start, end) for start, end in zip([0, *ends], ends) if prompt[start:end].strip()]
    half = MAX_ASKED_CLAUSES // 2
    for start, end in spans if len(spans) <= MAX_ASKED_CLAUSES else spans[:half] + spans[-half:]:
        budget.spend(50 + (end - start) // 5)
        yield _clause(prompt[start:end], start, budget)


def _clause(text: str, start: int, budget: Budget) -> Clause:
    small = text.casefold().replace("\u2019", "'")
    spoken = re.sub(QUOTATION, lambda found: " " * len(found[0]), small)
    found = [(stem(match[0]), start + match.start()) for match in re.finditer(r"[^\W_]+(?:'[a-z]+)?", spoken)]
    found = [(stem(word[:-2]) if word.endswith("'s") else word, place) for word, place in found]
    literals = tuple(hint for hint in read_hints(text, budget).literals if hint.kind not in ("day", "counted"))
    extra = [*glossary_words(small), *_words_of_literals(literals)]
    extra += [word for phrase, word in _PHRASES if phrase in small]
    found += [(stem(word), NOWHERE) for word in extra]
    opening = small.strip(" \t,，.:-(\"'")
    is_polite = False
    while opening:
        budget.spend(5 + len(opening) // 500)
        polite = re.match(_POLITE, opening)
        first = re.match(r"([a-z]+)\b[\s,:!-]*", opening)
        place = re.match(_FIRST_PLACE, opening)
        if polite:
            opening, is_polite = opening[polite.end() :], True
        elif first and first[1] in _OPENERS:
            opening = opening[first.end() :]
        elif place and stem(place[1]) in _ORDERS:
            opening = opening[place.end() :]
        else:
            break
    found += [(stem(word), NOWHERE) for word in _words_of_command(opening)]
    words, places = tuple(word for word, _ in found), tuple(place for _, place in found)
    first = re.match(r"[a-z']*", opening)
    said = first[0] if first else ""
    return Clause(small, start, words, places, literals, opening, is_polite, stem(said), said in _QUESTION_WORDS)


def _words_of_command(opening: str) -> list[str]:
    """Return the words that an order to run something literally stands for: "run `ls`", "run git status"."""
    return ["command", "shell", "exec", "execute"] if re.match(_RUNS, opening) else []


def _words_of_literals(literals: typing.Sequence[Hint]) -> list[str]:
    """Return the words that literals stand for: an address means "email", a sum means "calculate"."""
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
