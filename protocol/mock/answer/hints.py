"""What in a prompt may serve as a value: numbers, quotations, addresses, dates, names.

A prompt is read once, from left to right, into hints. A hint is a value, the kind of literal that it was, and the words
around it: assignment.py tells by them which property the value is for.
"""

from __future__ import annotations

import re
import typing

from protocol.budget import Budget
from protocol.mock.answer.cost import answer_budget, matches

MAX_HINT_TEXT = 10_000  # characters of a prompt that are looked at for hints
MAX_HINTS = 200  # literals of a prompt
_NEAR_PREPOSITION = 3  # words back to the preposition that a list repeats
HINT_NEAR = 6  # words before a literal that may say what it is

_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)[a-z]*"
_DAYS = "monday|tuesday|wednesday|thursday|friday|saturday|sunday|today|tonight|tomorrow|yesterday"
_DAYS += "|今天|明天|后天|昨天|周[一二三四五六日]|星期[一二三四五六日天]"
_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_UPPER = "A-Z\u00c0-\u00d6\u00d8-\u00de\u0391-\u03a9\u0401\u0410-\u042f"  # Latin, Greek, Cyrillic
_CAPITAL = f"[{_UPPER}][^\\W\\d_]*(?:[-'\u2019][{_UPPER}][^\\W\\d_]*)*"
_NUMBER = r"-?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]{1,18})?|-?[0-9]{1,18}(?:\.[0-9]{1,18})?"
_FILES = "txt|csv|tsv|json|jsonl|md|py|js|ts|c|go|rs|html|xml|yaml|yml|toml|ini|log|pdf|png|jpg|jpeg|gif|svg"
_FILES += "|wav|mp3|mp4|doc|docx|xls|xlsx|zip|sql"

_CURRENCIES = {
    "dollar": "USD", "euro": "EUR", "yen": "JPY", "yuan": "CNY", "pound": "GBP", "rupee": "INR", "franc": "CHF",
    "peso": "MXN", "美元": "USD", "人民币": "CNY", "欧元": "EUR", "日元": "JPY", "英镑": "GBP", "港币": "HKD",
}  # fmt: skip

# Opening and closing marks of quotations, as the scripts of the world have them. Some marks open in one language and
# close in another, so that each opening mark has the marks that may close it.
_MARKS = (
    ('"', '"'), ("`", "`"), ("\uff02", "\uff02"), ("\u201c", "\u201d"), ("\u201e", "\u201c\u201d"),
    ("\u201a", "\u2018\u2019"), ("\u00ab", "\u00bb"), ("\u00bb", "\u00ab"), ("\u2039", "\u203a"),
    ("\u203a", "\u2039"), ("\u300c", "\u300d"), ("\u300e", "\u300f"), ("\u300a", "\u300b"), ("\u3008", "\u3009"),
    ("\u301d", "\u301e\u301f"), ("\uff62", "\uff63"),
)  # fmt: skip
# These may be apostrophes, and close what another mark opened: nothing of a word may stand beside them.
_CAUTIOUS_MARKS = (("'", "'"), ("\u2018", "\u2019"), ("\u201d", "\u201d"))
#: The marks that open a quotation.
OPENING_MARKS = "".join(opening for opening, _ in _MARKS + _CAUTIOUS_MARKS)
#: A quotation of one line, with one mark at each end.
QUOTATION = "|".join(
    [f"{opening}[^{opening}{closing}\\n]{{1,200}}[{closing}]" for opening, closing in _MARKS]
    + [rf"(?<![A-Za-z0-9_]){start}[^{start}{end}\n]{{1,200}}{end}(?![A-Za-z0-9_])" for start, end in _CAUTIOUS_MARKS]
)
_CLOSING_MARKS = dict(_MARKS + _CAUTIOUS_MARKS)
_SENTENCE_ENDS = (".", "!", "?", "。", "！", "？", "؟")
_FEWEST_WORDS = 3  # of a quotation that is the prompt itself, where it does not end as a sentence
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t"}

# The kinds of literals. Of two rules that match at one place, the first says what the literal is. A quotation mark
# within a word is an apostrophe. A number has at most 18 digits, more than a double keeps.
_RULES = (
    ("sql", r"\b(?:SELECT|select)\s[^;\n]{1,300}?\s(?:FROM|from)\s[^;\n]{1,300}"
            r"|\b(?:INSERT INTO|UPDATE|DELETE FROM|CREATE TABLE|DROP TABLE)\s+\w[^;\n]{1,400}"),
    ("quoted", QUOTATION),
    ("url", r"(?i:https?|ftp|wss?)://[!#-&(-;=?-\[\]-_a-~]+(?<![.,;:?)!\]])"),
    ("email", r"(?<![A-Za-z0-9_.+-])[A-Za-z0-9_+-][A-Za-z0-9_.+-]*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"),
    ("tag", r"(?<![\w&/#])#[A-Za-z][\w-]{0,79}"),
    ("date", r"(?<![A-Za-z0-9_-])\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?)?(?![0-9-])"),
    ("year_first", r"(?<![0-9])(\d{4})(?:年|/)(\d{1,2})(?:月|/)(\d{1,2})日?(?![0-9])"),
    ("month_first", rf"(?<!\w)(?i:({_MONTH})\.? (\d{{1,2}})(?:st|nd|rd|th)?,? (\d{{4}}))(?!\w)"),
    ("day_first", rf"(?<!\w)(?i:(\d{{1,2}})(?:st|nd|rd|th)? (?:of )?({_MONTH})\.?,? (\d{{4}}))(?!\w)"),
    ("time", r"(?<![A-Za-z0-9_:])(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?(?:\s?(?i:[ap]\.?m\b\.?))?"
             r"|(?<![A-Za-z0-9_.])\d{1,2}\s?(?i:[ap]m)\b"),
    ("code", r"(?<![A-Za-z0-9_])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![A-Za-z0-9_])"
             r"|(?<![A-Za-z0-9_.])\d{1,3}(?:\.\d{1,3}){3}(?![A-Za-z0-9_]|\.\d)"
             r"|(?<![A-Za-z0-9_])\+\d[\d ()-]{6,16}\d"
             r"|(?<![A-Za-z0-9_])(?:Africa|America|Asia|Atlantic|Australia|Europe|Pacific|Etc)/[A-Za-z_/+-]+"),
    ("path", rf"(?<![\w./~<-])(?:~?/|\./|[A-Za-z]:\\)[\w./\\-]+|(?<![\w./-])(?:[\w-]+/)+(?!\w)"
             rf"|(?<![\w./-])(?:[\w-]+/)*[\w-]+\.(?i:{_FILES})(?!\w)"),
    ("code", r"(?<![A-Za-z0-9_-])(?=[A-Za-z0-9_-]*\d)[A-Za-z]{1,12}[_-]?\d[A-Za-z0-9_-]*(?![A-Za-z0-9_])"
             r"|(?<![A-Za-z0-9_$])\d{2,}(?:-\d+)+(?![A-Za-z0-9_])"
             r"|(?<![A-Za-z0-9_])[A-Z]{2,6}(?![A-Za-z0-9_]|\s[A-Z]{2,})"),
    ("sum", rf"(?<![A-Za-z0-9_.])[(]{{0,8}}(?:{_NUMBER})[)]{{0,8}}(?:(?:\s*(?:\*\*|[+*×÷^])\s*"
            rf"|\s+[-/%]\s+|(?<=\))\s*[-/%]\s*"
            rf"|/(?=\d)|-(?=\d))[(]{{0,8}}(?:{_NUMBER})[)]{{0,8}})+(?![A-Za-z0-9_])"),
    ("number", rf"(?<![A-Za-z0-9_.])(?:{_NUMBER})(?![A-Za-z0-9_]|\.[0-9])"
               r"|(?<![A-Za-z0-9_.])-?[0-9]{1,9}(?:\.[0-9]{1,9})?(?=(?!st\b|nd\b|rd\b|th\b)"
               r"[A-Za-z]{1,3}\b(?!\.?[0-9]))"),
    ("currency", r"(?<![A-Za-z])(?i:dollar|euro|yen|yuan|pound|rupee|franc|peso)s?(?![A-Za-z])"
                 r"|美元|人民币|欧元|日元|英镑|港币"),
    ("counted", r"(?<!\w)(?i:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|dozen)(?=\s+[a-z])"
                r"|[一二两三四五六七八九十](?=[个張张位人天晚小份本次条间])"),
    ("day", rf"(?<![A-Za-z])(?i:{_DAYS})(?![A-Za-z])"),
    ("name", rf"(?<!\w){_CAPITAL}(?:(?! (?:SELECT|INSERT|UPDATE|DELETE|CREATE|DROP) | \S{{1,80}}\.[A-Za-z])"
             rf"(?: (?:de|da|del|la|le|of|the|van|von|der) | ){_CAPITAL})*"
             rf"(?:, [A-Z]{{2}}(?![A-Za-z]))?"),
)  # fmt: skip
_LITERAL = "|".join(f"(?P<k{at}>{rule})" for at, (_, rule) in enumerate(_RULES))

# Places and persons in Chinese, which has no capitals: they are known by the words around them.
_HAN_PLACE = rf"(?:在|到|去|从|至|往|飞|查询|查|一下|请问|告诉我|看看|搜索|(?<![{_HAN}])|和|与)"
_HAN_PLACE += rf"([{_HAN}]{{2,5}}?)(?=市|的|今天|明天|后天|现在|当前|今日|未来|天气|气温|温度|几点|时间|和|与|到|飞|"
_HAN_PLACE += rf"有|会|下雨|住|玩|待|(?![{_HAN}]))"
_HAN_PERSON = rf"(?:给|名叫|名字[是叫]|我叫|我是|联系|姓名[:：是]?)\s*([{_HAN}]{{2,3}}?)(?=[发打写说]|的|(?![{_HAN}]))"
_KANA = "\u3041-\u3096\u30a1-\u30fa\u30fc"
_KATAKANA = "\u30a1-\u30fa\u30fc"
_HANGUL = "\uac00-\ud7a3"
_ARABIC = "\u0620-\u064a"
# The same in Japanese, Korean and Arabic: before a particle, before what is asked of a place, behind a preposition.
_FOREIGN_PLACE = (
    rf"(?<![{_HAN}{_KANA}])([{_HAN}{_KATAKANA}]{{2,12}}?)(?=(?:市|都|県)?(?:の|は|で|に|へ|から|まで)(?!す))"
)
_FOREIGN_PLACE += rf"|(?<![{_HANGUL}])([{_HANGUL}]{{2,8}}?)(?=(?:의|에서|에)?\s(?:(?:오늘|내일|현재|지금)\s)?"
_FOREIGN_PLACE += r"(?:날씨|기온|온도|시간|호텔|맛집|몇))"
_FOREIGN_PLACE += rf"|(?<![{_ARABIC}])(?:في|إلى|الى|من)\s([{_ARABIC}]{{2,20}})"
_FOREIGN_COMMON = (
    "今日|明日|昨日|天気|気温|私|彼|何|件名|名前|本文|今|時間|東西|오늘|내일|지금|현재|هذا|هذه|فضلك|اليوم|الغد"
)
_HAN_COMMON = (
    "今天|明天|后天|现在|天气|什么|怎么|你好|谢谢|请|帮|我|你|他|她|它|们|这|那|哪|多少|几"
    "|查|一|搜|计算|翻译|发送|写|给|用|返回|输出|包含|字段"
)

# Places in small letters: "weather in paris". They follow one of these prepositions, and are none of these words.
_PLACE = r"(?<!\w)(?:in|at|near|for|from|to)\s+(?:the\s+)?"
_PLACE += r"((?:new|los|san|las|hong|rio|cape|tel|kuala|buenos) [a-z]{3,}|[a-z]{3,})"
_TRAVEL = r"(?i)\b(?:from|flights?|fly|flying|travel|trip|train|bus|drive|tickets?)\b"
_NO_PLACE = frozenset(
    "the this that these those here there my your our their his her its all any each both some more many much few one"
    " two three me you him them celsius fahrenheit kelvin degrees english french german spanish chinese japanese order"
    " detail details short general advance addition fact case total json today tomorrow now least most home work"
    " morning afternoon evening night future past world next last same way end start beginning middle user following"
    " make get give find show tell use see know have has had with and but not what which who how when where why".split()
)

_NUMBER_WORDS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "twenty": 20, "dozen": 12, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7,
    "八": 8, "九": 9, "十": 10,
}  # fmt: skip

# Words that begin a sentence with a capital and are no names; "I" and its forms are none anywhere.
_NO_NAME = frozenset(
    "a an the i i'm i've i'd i'll it it's this that these those what what's which who who's whose how how's when where"
    " where's why is are was were am do does did can could will would should shall may might must have has had if in on"
    " at for from to of by with and or but so then also please thanks thank hello hi hey dear yes no not ok okay great"
    " here here's there"
    " good my our your his her their we you they he she let's let get give find show tell look search check send book"
    " create make add set turn call use run list fetch schedule remind play order buy delete remove update open read"
    " write calculate compute convert translate extract return answer respond reply summarize summarise generate"
    " classify analyze analyse weather temperature forecast time date name city user first second next now today"
    " explain describe compare plan draw compose mail email ask begin start stop cancel pay transfer multiply divide"
    " subtract sum count sort print save load download upload invite reserve rent ship track post publish need want"
    " pydantic typescript zod python json api url ai ok html xml csv pdf sql id faq".split()
)
_NO_CODE = frozenset("JSON API URL AI OK SQL HTML XML CSV PDF ID FAQ TODO HTTP HTTPS NOT AND OR THE AM PM TV".split())


# English words, which schemas and tools are written in, by words of other scripts that mean them.
_GLOSSARY = {
    "天气": "weather", "气温": "temperature weather", "温度": "temperature", "下雨": "rain weather",
    "预报": "forecast", "摄氏": "celsius", "华氏": "fahrenheit", "搜索": "search", "搜": "search", "网页": "web page",
    "上网": "web search", "查找": "find search", "计算": "calculate", "算一": "calculate", "多少钱": "price",
    "价格": "price", "股价": "stock price", "股票": "stock", "时间": "time", "几点": "time", "日期": "date",
    "翻译": "translate", "邮件": "email", "发送": "send", "发邮": "send", "发一": "send", "发给": "send",
    "短信": "sms message", "消息": "message", "预订": "book reserve", "订一": "book", "航班": "flight",
    "机票": "flight ticket", "酒店": "hotel", "餐厅": "restaurant", "日历": "calendar", "会议": "meeting",
    "提醒": "reminder remind", "闹钟": "alarm", "新闻": "news", "地图": "map", "路线": "route",
    "汇率": "exchange rate", "换算": "convert", "人民币": "currency", "主题": "subject", "标题": "title",
    "内容": "body content text", "转换": "convert", "兑换": "exchange convert", "订单": "order", "用户": "user",
    "文件": "file", "读取": "read", "删除": "delete", "创建": "create", "新建": "create", "添加": "add",
    "更新": "update", "图片": "image", "音乐": "music", "播放": "play", "打开": "turn on open", "关闭": "turn off",
    "灯": "light", "数据库": "database", "英语": "english", "英文": "english", "中文": "chinese", "法语": "french",
    "日语": "japanese", "高": "high", "低": "low", "紧急": "urgent", "红色": "red", "蓝色": "blue", "绿色": "green",
    "天気": "weather", "気温": "temperature weather", "検索": "search", "翻訳": "translate", "メール": "email",
    "送って": "send", "送信": "send", "予約": "book reserve", "ニュース": "news", "何時": "time", "英語": "english",
    "日本語": "japanese", "ファイル": "file", "件名": "subject", "本文": "body",
    "날씨": "weather", "기온": "temperature weather", "검색": "search", "번역": "translate", "메일": "email",
    "보내": "send", "계산": "calculate", "뉴스": "news", "몇 시": "time", "예약": "book reserve", "영어": "english",
    "파일": "file",
    "погод": "weather", "температур": "temperature weather", "найди": "search find", "поищи": "search",
    "переведи": "translate", "письмо": "email", "отправь": "send", "посчитай": "calculate", "вычисли": "calculate",
    "новост": "news", "который час": "time", "английск": "english", "файл": "file",
    "الطقس": "weather", "ابحث": "search", "ترجم": "translate", "أرسل": "send", "بريد": "email", "احسب": "calculate",
    "أخبار": "news", "الإنجليزية": "english", "ملف": "file",
}  # fmt: skip


class Hint(typing.NamedTuple):
    """A literal of a prompt: its value, its kind (the name of a rule), the words around it, and its owner.

    The owner is the property that the hint is for, "" for any property.
    """

    value: object
    kind: str
    before: tuple[str, ...] = ()  # stems, the nearest first, of the same clause
    after: tuple[str, ...] = ()
    joined: str = ""  # "," or "and", which joins it to the literal before it in a list
    owner: str = ""


class Hints(typing.NamedTuple):
    """What a prompt suggests: literals, each used once where it fits, and all its words, which choose from enums."""

    literals: tuple[Hint, ...] = ()
    words: tuple[str, ...] = ()
    text: str = ""

    @property
    def values(self) -> tuple[object, ...]:
        """The values of the quotations and numbers alone."""
        return tuple(hint.value for hint in self.literals if hint.kind in ("quoted", "number"))


# ---- words


def hint_words(text: str) -> list[str]:
    """Return the words of a text, in order, without regard to case."""
    return re.findall(r"[^\W_]+", text.casefold())


def stem(word: str) -> str:
    """Return a word without its commonest English endings, so that "prices" and "price" are the same."""
    if not word.isascii() or len(word) < 4:
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("s") and not word.endswith(("ss", "us", "is", "news")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            word = word[: -len(ending)]
            if word[-1] == word[-2] and word[-1] not in "lsdz":
                word = word[:-1]
            break
    return word[:-1] if word.endswith("e") and len(word) > 4 else word


def glossary_words(text: str) -> list[str]:
    """Return the English words for words of other scripts in a text that usual tools are about."""
    if text.isascii():
        return []
    text = text.casefold()
    return [word for chinese, english in _GLOSSARY.items() if chinese in text for word in english.split()]


# ---- reading


def hint_text(prompt: str) -> str:
    """Return what is read of a prompt: its beginning and its end where it is longer than MAX_HINT_TEXT.

    Marks around all of it make no quotation of it.
    """
    prompt = _unquoted(prompt)
    half = MAX_HINT_TEXT // 2
    return prompt if len(prompt) <= MAX_HINT_TEXT else f"{prompt[: half - 1]}\n{prompt[-half:]}"


def _unquoted(prompt: str) -> str:
    said = prompt.strip()
    for mark in ('"' * 3, "'" * 3, *said[:1]):
        closing = _CLOSING_MARKS.get(mark, mark)
        within = said[len(mark) : -len(mark)]
        if mark not in OPENING_MARKS and len(mark) < 3:
            continue
        if not said.startswith(mark) or not within or said[-len(mark) :] not in (closing, *closing):
            continue
        # A program that quotes what its user wrote escapes the marks in it: they open and close nothing.
        is_escaped = f"\\{mark}" in within
        bare = _ESCAPED.sub("", within) if is_escaped else within
        is_one = not any(char in bare for char in (mark, *closing))
        if is_one and (within.rstrip().endswith(_SENTENCE_ENDS) or len(within.split()) >= _FEWEST_WORDS):
            return _ESCAPED.sub(_without_escape, within) if is_escaped else within
    return prompt


def _without_escape(escape: re.Match[str]) -> str:
    return _ESCAPES.get(escape[1], escape[1])


def read_hints(prompt: str, budget: Budget | None = None) -> Hints:
    """Find the hints of a prompt, of which at most MAX_HINT_TEXT characters are read."""
    budget = budget or answer_budget()
    text = hint_text(prompt)
    found: list[tuple[int, int, str, object]] = []
    for match in matches(_LITERAL, text, budget):
        kind = _RULES[int(match.lastgroup[1:])][0] if match.lastgroup else ""
        found.extend(_literals_of(kind, match, text))
        if len(found) >= MAX_HINTS:
            break
    found.extend(_unmarked_names(text, found, budget))
    found.sort(key=lambda item: item[:1])
    literals: list[Hint] = []
    end = 0
    for start, stop, kind, value in found[:MAX_HINTS]:
        budget.spend(10)
        between = text[end:start].strip()
        joined = _joined(between, literals[-1].before) if literals else ""
        literals.append(Hint(value, kind, _words_before(text, start), _words_after(text, stop), joined))
        end = max(end, stop)
    budget.spend(len(text) // 10)
    words = hint_words(text) + glossary_words(text)
    return Hints(tuple(literals), tuple(words), text)


def _joined(between: str, before: typing.Sequence[str]) -> str:
    """Return what joins a literal to the one before, "" for nothing. "In Oslo and in Rome" is a list, too."""
    listed = re.fullmatch(r"([,，])?\s*(and|or|&|和|与|及|、)?(?:\s+(in|at|for|from|to|with|on))?", between)
    if listed is None or (listed[3] and listed[3] not in before[:_NEAR_PREPOSITION]):
        return ""
    return "and" if listed[2] else "," if listed[1] and not listed[3] else ""


def _literals_of(kind: str, match: re.Match[str], text: str) -> typing.Iterator[tuple[int, int, str, object]]:
    """Yield (start, end, kind, value) for what a rule matched: one literal, none, or a sum and its numbers."""
    start, end, said = match.start(), match.end(), match[0]
    if kind == "quoted":
        yield start, end, kind, said[1:-1]
    elif kind in ("year_first", "month_first", "day_first"):
        groups = [group for group in match.groups()[:] if group is not None and group != said]
        yield start, end, "date", _iso_date(kind, groups)
    elif kind == "sum":
        yield start, end, "sum", _balanced(said)
        for number in re.finditer(rf"(?<![0-9)])-?(?:{_NUMBER[2:]})|(?:{_NUMBER[2:]})", said):
            yield start + number.start(), start + number.end(), "number", _number_of(number[0])
    elif kind == "number":
        yield start, end, kind, _number_of(said)
    elif kind == "currency":
        yield start, end, kind, _CURRENCIES[said.lower().rstrip("s")]
    elif kind == "counted":
        yield start, end, kind, _NUMBER_WORDS[said.lower()]
    elif kind == "code":
        if said not in _NO_CODE:
            yield start, end, kind, said
    elif kind == "name":
        yield from _proper_name(start, said, text)
    else:
        yield start, end, kind, said


def _number_of(said: str) -> float:
    digits = said.replace(",", "")
    return float(digits) if "." in digits else int(digits)


def _balanced(said: str) -> str:
    """Return a sum without the brackets at its ends that have no partner."""
    while said.startswith("(") and said.count("(") > said.count(")"):
        said = said[1:]
    while said.endswith(")") and said.count(")") > said.count("("):
        said = said[:-1]
    return said


def _iso_date(kind: str, groups: typing.Sequence[str]) -> str:
    order = {"year_first": (0, 1, 2), "month_first": (2, 0, 1), "day_first": (2, 1, 0)}[kind]
    year, month, day = (groups[at] for at in order)
    if not month.isdigit():
        month = str(next(at for at, name in enumerate(_MONTHS, 1) if name.startswith(month.lower()[:3])))
    return f"{int(year):04}-{int(month):02}-{int(day):02}"


def _proper_name(start: int, said: str, text: str) -> typing.Iterator[tuple[int, int, str, object]]:
    """Yield a name without words that have their capital only because they begin a sentence."""
    begins = (
        re.search(rf"(?:\A|[.!?:;。！？：；؟\n])[\s{OPENING_MARKS}(*-]*\Z", text[max(0, start - 20) : start])
        is not None
    )
    while said:
        first, _, rest = said.partition(" ")
        small = first.rstrip(",").lower().replace("\u2019", "'")
        if not (small in _NO_NAME or (small.startswith(_MONTHS) and begins)):
            break
        start += len(said) - len(rest) if rest else len(said)
        said = rest
        begins = False
    while said and said.rpartition(" ")[2] != "City" and said.rpartition(" ")[2].lower() in _NO_NAME:
        said = said.rpartition(" ")[0]
    if not said or (begins and " " not in said and not _is_subject(text[start + len(said) :])):
        return
    if said.casefold() in _MONTHS:
        yield start, start + len(said), "day", said
        return
    yield start, start + len(said), "name", said


def _is_subject(rest: str) -> bool:
    """Say whether a sentence's first word is a name, by what follows it."""
    return re.match(r"(?:'s|\u2019s|,| is| was| are| has| lives| works| &)(?!\w)| and [A-Z]|\s*\Z", rest) is not None


def _unmarked_names(
    text: str, found: typing.Sequence[tuple[int, int, str, object]], budget: Budget
) -> typing.Iterator[tuple[int, int, str, object]]:
    """Yield names that no capital marks: those in scripts without capitals, and places in small letters.

    Places in small letters are looked for where no name was found at all.

    Of each kind there are MAX_HINTS at most: no more are ever kept, and what comes first is.
    """
    taken = bytearray(len(text))  # by character: 1 within what was found
    for start, end, _, _ in found:
        taken[start:end] = bytes([1]) * (end - start)
    if not text.isascii():
        rules = [("person", _HAN_PERSON, _HAN_COMMON), ("place", _HAN_PLACE, _HAN_COMMON)]
        is_chinese = re.search(f"[{_KANA}{_HANGUL}{_ARABIC}]", text) is None
        for kind, rule, common in rules if is_chinese else [("place", _FOREIGN_PLACE, _FOREIGN_COMMON)]:
            count = 0
            for match in matches(f"(?={rule})", text, budget):  # they may overlap: the first may be no name
                start, end = match.span(match.lastindex or 0)
                if 1 in taken[start:end] or re.search(common, text[start:end]):
                    continue
                taken[start:end] = bytes([1]) * (end - start)
                yield start, end, kind, text[start:end]
                count += 1
                if count == MAX_HINTS:
                    break
    if not any(kind == "name" for _, _, kind, _ in found):
        travels = re.search(_TRAVEL, text) is not None  # in any other text, "to" stands before a verb
        count = 0
        for match in matches(_PLACE, text, budget):
            start, end = match.span(1)
            if match[0].startswith("to") and not travels:
                continue
            if match[1] not in _NO_PLACE and 1 not in taken[start:end]:
                named = match[0][: start - match.start()].rstrip().endswith("the")
                yield start, end, "place", match[1] if named else match[1].title()
                count += 1
                if count == MAX_HINTS:
                    break


_TOKEN = rf"[=:#$€£¥%,，]|[{_HAN}]|(?:(?![{_HAN}])[^\W_])+(?:'[a-z]+)?"


def _words_before(text: str, start: int) -> tuple[str, ...]:
    clause = re.split(r"[;!?。；！？\n]|\.\s", text[max(0, start - 60) : start])[-1]
    if start > 60 and len(clause) == 60:
        clause = clause.partition(" ")[2]  # its first word may be cut
    return tuple([stem(word) for word in re.findall(_TOKEN, clause.casefold())][-HINT_NEAR:][::-1])


def _words_after(text: str, end: int) -> tuple[str, ...]:
    clause = re.split(r"[.,;!?。，；！？\n]", text[end : end + 40])[0]
    return tuple(stem(word) for word in re.findall(_TOKEN, clause.casefold())[:2])
