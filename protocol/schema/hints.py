"""Find in a prompt what may serve as a value: numbers, quotations, addresses, dates, names; and to which property.

Theory of operation. A prompt is read once, from left to right, into hints: a value, what kind of literal it was, and
the words around it. Before values are made for a schema, `assign_hints` gives each hint an owner where its surroundings
name a property ("3 nights", "age: 36", "from London" for an origin); an owned hint serves its owner alone. All others
are free, for the first property that takes such a kind. What a property takes is told by its name's words, or else
by its description's. Nothing here is certain to fit: whoever makes values checks them, and hints are only tried.
"""

from __future__ import annotations

import math
import re
import typing

from protocol.schema.document import json_kind
from protocol.schema.scalar import name_words, singular

MAX_HINT_TEXT = 10_000  # characters of a prompt that are looked at for hints
MAX_HINTS = 200  # literals of a prompt
_HINT_MAX_NAMES = 300  # properties that hints are assigned to
_HINT_MAX_TEXT = 200  # characters of a quotation, a label's value, a question that is searched for
_HINT_NEAR_PREPOSITION = 3  # words back to the preposition that a list repeats
_HINT_NEAR = 6  # words before a literal that may say what it is

_HINT_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_HINT_MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)[a-z]*"
_HINT_DAYS = "monday|tuesday|wednesday|thursday|friday|saturday|sunday|today|tonight|tomorrow|yesterday"
_HINT_DAYS += "|今天|明天|后天|昨天|周[一二三四五六日]|星期[一二三四五六日天]"
_HINT_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_HINT_CAPITAL = "[A-Z\u00c0-\u00d6\u00d8-\u00de][^\\W\\d_]*(?:[-'\u2019][A-Z\u00c0-\u00de][^\\W\\d_]*)*"
_HINT_NUMBER = r"-?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]{1,18})?|-?[0-9]{1,18}(?:\.[0-9]{1,18})?"
_HINT_FILES = "txt|csv|tsv|json|jsonl|md|py|js|ts|c|go|rs|html|xml|yaml|yml|toml|ini|log|pdf|png|jpg|jpeg|gif|svg"
_HINT_FILES += "|wav|mp3|mp4|doc|docx|xls|xlsx|zip|sql"

_HINT_CURRENCIES = {
    "dollar": "USD", "euro": "EUR", "yen": "JPY", "yuan": "CNY", "pound": "GBP", "rupee": "INR", "franc": "CHF",
    "peso": "MXN", "美元": "USD", "人民币": "CNY", "欧元": "EUR", "日元": "JPY", "英镑": "GBP", "港币": "HKD",
}  # fmt: skip

# In this order: the first that matches at a place says what the literal is. A quotation mark within a word is an
# apostrophe. 18 digits: more would not survive a double anyhow. Clauses are cut at what no rule matches.
_HINT_RULES = (
    ("sql", r"\b(?:SELECT|select)\s[^;\n]{1,300}?\s(?:FROM|from)\s[^;\n]{1,300}"
            r"|\b(?:INSERT INTO|UPDATE|DELETE FROM|CREATE TABLE|DROP TABLE)\s+\w[^;\n]{1,400}"),
    ("quoted", r'"([^"\n]{1,200})"|(?<![A-Za-z0-9_])\'([^\'\n]{1,200})\'(?![A-Za-z0-9_])|`([^`\n]{1,200})`'
               r"|[\u201c\u00ab\u300c\u300e\u300a]([^\u201d\u00bb\u300d\u300f\u300b\n]{1,200})"
               r"[\u201d\u00bb\u300d\u300f\u300b]"),
    ("url", r"(?i:https?|ftp|wss?)://[!#-&(-;=?-\[\]-_a-~]+(?<![.,;:?)!\]])"),
    ("email", r"(?<![A-Za-z0-9_.+-])[A-Za-z0-9_+-][A-Za-z0-9_.+-]*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"),
    ("tag", r"(?<![\w&/#])#[A-Za-z][\w-]{0,79}"),
    ("date", r"(?<![A-Za-z0-9_-])\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?)?(?![0-9-])"),
    ("year_first", r"(?<![0-9])(\d{4})(?:年|/)(\d{1,2})(?:月|/)(\d{1,2})日?(?![0-9])"),
    ("month_first", rf"(?<!\w)(?i:({_HINT_MONTH})\.? (\d{{1,2}})(?:st|nd|rd|th)?,? (\d{{4}}))(?!\w)"),
    ("day_first", rf"(?<!\w)(?i:(\d{{1,2}})(?:st|nd|rd|th)? (?:of )?({_HINT_MONTH})\.?,? (\d{{4}}))(?!\w)"),
    ("time", r"(?<![A-Za-z0-9_:])(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?(?:\s?(?i:[ap]\.?m\b\.?))?"
             r"|(?<![A-Za-z0-9_.])\d{1,2}\s?(?i:[ap]m)\b"),
    ("code", r"(?<![A-Za-z0-9_])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![A-Za-z0-9_])"
             r"|(?<![A-Za-z0-9_.])\d{1,3}(?:\.\d{1,3}){3}(?![A-Za-z0-9_]|\.\d)"
             r"|(?<![A-Za-z0-9_])\+\d[\d ()-]{6,16}\d"
             r"|(?<![A-Za-z0-9_])(?:Africa|America|Asia|Atlantic|Australia|Europe|Pacific|Etc)/[A-Za-z_/+-]+"),
    ("path", rf"(?<![\w./~-])(?:~?/|\./|[A-Za-z]:\\)[\w./\\-]+|(?<![\w./-])(?:[\w-]+/)+(?!\w)"
             rf"|(?<![\w./-])(?:[\w-]+/)*[\w-]+\.(?i:{_HINT_FILES})(?!\w)"),
    ("code", r"(?<![A-Za-z0-9_-])(?=[A-Za-z0-9_-]*\d)[A-Za-z]{1,12}[_-]?\d[A-Za-z0-9_-]*(?![A-Za-z0-9_])"
             r"|(?<![A-Za-z0-9_$])\d{2,}(?:-\d+)+(?![A-Za-z0-9_])"
             r"|(?<![A-Za-z0-9_])[A-Z]{2,6}(?![A-Za-z0-9_]|\s[A-Z]{2,})"),
    ("sum", rf"(?<![A-Za-z0-9_.])[(]{{0,8}}(?:{_HINT_NUMBER})[)]{{0,8}}(?:(?:\s*(?:\*\*|[+*×÷^])\s*"
            rf"|\s+[-/%]\s+|(?<=\))\s*[-/%]\s*"
            rf"|/(?=\d)|-(?=\d))[(]{{0,8}}(?:{_HINT_NUMBER})[)]{{0,8}})+(?![A-Za-z0-9_])"),
    ("number", rf"(?<![A-Za-z0-9_.])(?:{_HINT_NUMBER})(?![A-Za-z0-9_]|\.[0-9])"
               r"|(?<![A-Za-z0-9_.])-?[0-9]{1,9}(?:\.[0-9]{1,9})?(?=(?!st\b|nd\b|rd\b|th\b)"
               r"[A-Za-z]{1,3}\b(?!\.?[0-9]))"),
    ("currency", r"(?<![A-Za-z])(?i:dollar|euro|yen|yuan|pound|rupee|franc|peso)s?(?![A-Za-z])|美元|人民币|欧元|日元|英镑|港币"),
    ("counted", r"(?<!\w)(?i:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|dozen)(?=\s+[a-z])"
                r"|[一二两三四五六七八九十](?=[个張张位人天晚小份本次条间])"),
    ("day", rf"(?<![A-Za-z])(?i:{_HINT_DAYS})(?![A-Za-z])"),
    ("name", rf"(?<!\w){_HINT_CAPITAL}(?:(?! (?:SELECT|INSERT|UPDATE|DELETE|CREATE|DROP) | \S{{1,80}}\.[A-Za-z])"
             rf"(?: (?:de|da|del|la|le|of|the|van|von|der) | ){_HINT_CAPITAL})*"
             rf"(?:, [A-Z]{{2}}(?![A-Za-z]))?"),
)  # fmt: skip
_HINT_LITERAL = "|".join(f"(?P<k{at}>{rule})" for at, (_, rule) in enumerate(_HINT_RULES))

# A place or a person in Chinese, which has no capitals: between words that stand around such names.
_HINT_HAN_PLACE = rf"(?:在|到|去|从|至|往|飞|查询|查|一下|请问|告诉我|看看|搜索|(?<![{_HINT_HAN}])|和|与)"
_HINT_HAN_PLACE += rf"([{_HINT_HAN}]{{2,5}}?)(?=市|的|今天|明天|后天|现在|当前|今日|未来|天气|气温|温度|几点|时间|和|与|到|飞|"
_HINT_HAN_PLACE += rf"有|会|下雨|住|玩|待|(?![{_HINT_HAN}]))"
_HINT_HAN_PERSON = rf"(?:给|名叫|名字[是叫]|我叫|我是|联系|姓名[:：是]?)\s*([{_HINT_HAN}]{{2,3}}?)(?=[发打写说]|的|(?![{_HINT_HAN}]))"
_HINT_HAN_COMMON = "今天|明天|后天|现在|天气|什么|怎么|你好|谢谢|请|帮|我|你|他|她|它|们|这|那|哪|多少|几|查|一|搜|计算|翻译|发送|写|给|用|返回|输出|包含|字段"

# Lower-case places: "weather in paris". Only these prepositions, and none of these words.
_HINT_PLACE = r"(?<!\w)(?:in|at|near|for|from|to)\s+(?:the\s+)?"
_HINT_PLACE += r"((?:new|los|san|las|hong|rio|cape|tel|kuala|buenos) [a-z]{3,}|[a-z]{3,})"
_HINT_TRAVEL = r"(?i)\b(?:from|flights?|fly|flying|travel|trip|train|bus|drive|tickets?)\b"
_HINT_NO_PLACE = frozenset(
    "the this that these those here there my your our their his her its all any each both some more many much few one"
    " two three me you him them celsius fahrenheit kelvin degrees english french german spanish chinese japanese order"
    " detail details short general advance addition fact case total json today tomorrow now least most home work"
    " morning afternoon evening night future past world next last same way end start beginning middle user following"
    " make get give find show tell use see know have has had with and but not what which who how when where why".split()
)

_HINT_NUMBER_WORDS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "twenty": 20, "dozen": 12, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7,
    "八": 8, "九": 9, "十": 10,
}  # fmt: skip

# Capitalised at the beginning of a sentence, yet no names; I and its forms are none anywhere.
_HINT_NO_NAME = frozenset(
    "a an the i i'm i've i'd i'll it it's this that these those what what's which who who's whose how how's when where"
    " where's why is are was were am do does did can could will would should shall may might must have has had if in on"
    " at for from to of by with and or but so then also please thanks thank hello hi hey dear yes no not ok okay great"
    " good my our your his her their we you they he she let's let get give find show tell look search check send book"
    " create make add set turn call use run list fetch schedule remind play order buy delete remove update open read"
    " write calculate compute convert translate extract return answer respond reply summarize summarise generate"
    " classify analyze analyse weather temperature forecast time date name city user first second next now today"
    " explain describe compare plan draw compose mail email ask begin start stop cancel pay transfer multiply divide"
    " subtract sum count sort print save load download upload invite reserve rent ship track post publish need want"
    " json api url ai ok html xml csv pdf sql id faq".split()
)
_HINT_NO_CODE = frozenset(
    "JSON API URL AI OK SQL HTML XML CSV PDF ID FAQ TODO HTTP HTTPS NOT AND OR THE AM PM TV".split()
)

# What a property holds, by a word of its name; the last word that tells counts.
_HINT_CLASSES = {
    word: kind
    for kind, words in (
        ("place", "city town location place country region state address destination origin venue province county"
                  " hotel where departure arrival area near room 城市 地点 位置 地区 国家"),
        ("person", "name person user customer author recipient attendee passenger guest contact friend participant"
                   " employee artist patient client member student teacher owner assignee receiver speaker host to"
                   " 姓名 名字 收件人"),
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
        ("choice", "unit format mode type kind category status style level color colour gender priority sort order_by"
                   " sentiment role 单位"),
    )
    for word in words.split()
}  # fmt: skip
# Which kinds of literals a class takes, the likeliest first.
_HINT_TAKES = {
    "place": ("name", "quoted", "place", "code"),
    "person": ("name", "quoted", "person", "email"),
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

# A preposition right before a literal, and the words of names that it points to.
_HINT_PREPOSITIONS = {
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
# The word after a number, and further words of names that it speaks for; its own form always does.
_HINT_UNITS = {
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
    "room": "rooms", "星": "rating", "天": "days duration", "晚": "nights", "人": "people guests", "位": "people guests",
    "岁": "age", "元": "price amount budget", "小时": "hours duration", "分钟": "minutes duration", "张": "quantity count",
    "个": "quantity count", "度": "temperature", "米": "distance height",
}  # fmt: skip
_HINT_SAID = (
    r"(?i)\b(?:email|e-mail|mail|tell|notify|inform|message|text|remind) [\w@.+-]+ that (\S.*)",
    r"(?i)\btranslate (?!this\b|the following)(\S.*?) (?:in)?to\b",
    r"把(\S+?)(?:翻译|译成|译为)",
    r"(?i)\b(?:saying(?: that)?|says?(?: that)?|that reads|tell (?:him|her|them)(?: that)?|to say)\s*[:,]?\s+(\S.*)",
    r"(?i)\bremind (?:me|us|him|her|them) (?:to|that|about) (\S.*?)(?= (?:at|on|by|in|tomorrow|today)\b|[.!?]?\s*\Z)",
    r"(?:\A|[.!?\n])[^,;:\n]{0,100}(?:：|:\s)\s*(\S.*)",
)
_HINT_RUN = (
    r"(?i)\b(?:run|execute|type|call)\s+(?:the\s+)?(?:command\s+)?(\S[^\n]*?)"
    r"(?=\s+(?:in|on|with|using)\s+(?:the |a |your )?(?:\w+ )?(?:shell|terminal|bash|console|command line)"
    r"|[.!?]?\s*\Z|\n)",
)
_HINT_ASKED = (
    r"(?i)\b(?:search(?:ing)?|look(?:ing)?(?: up)?|google|find|query|browse)\b[^.?!\n]{0,60}?"
    r"\b(?:for|about|on|up)\s+(\S[^\n]*)",
    r"(?i)\b(?:search|google|information on|news (?:about|on))\s+(?!(?:the|our|your) (?:web|internet|docs|documents?"
    r"|documentation|database|files|knowledge base)\b)(\S[^\n]*)",
    r"(?:搜索|查找|查询|搜一下|查一下|关于)\s*([^，。？！\n]+)",
    r"\A\s*(\S[^\n]*)\s*\Z",
)
_HINT_SPOKEN = {"said": _HINT_SAID, "phrase": _HINT_ASKED, "run": _HINT_RUN}
# Words between a name and its value.
_HINT_FILLERS = frozenset(
    "of is are was be the a an as at named called equal equals set to being will should must value about around only"
    " exactly , ， = : # 是 为 叫 即 my our for in".split()
)
_HINT_COUNTS = frozenset("max limit count results page size top k offset".split())
# Stems of what only says that a property is a flag.
_HINT_FLAG_WORDS = frozenset("is has includ with use enabl should can be".split())
_HINT_OPPOSITES = {"on": "off", "open": "close", "lock": "unlock", "enabl": "disabl", "activ": "inactiv"}
_HINT_ARTICLES = frozenset("the a an my our his her user city mr mrs dr $ € £ ¥".split())
# Stems.
_HINT_NEGATIONS = frozenset(
    "no not without don't dont never exclud disabl skip off fals 不 无".split()
)

# Chinese words that stand for the English ones that schemas and tools are written in.
_HINT_GLOSSARY = {
    "天气": "weather", "气温": "temperature weather", "温度": "temperature", "下雨": "rain weather", "预报": "forecast",
    "摄氏": "celsius", "华氏": "fahrenheit", "搜索": "search", "搜": "search", "网页": "web page", "上网": "web search",
    "查找": "find search", "计算": "calculate", "算一": "calculate", "多少钱": "price", "价格": "price", "股价":
    "stock price", "股票": "stock", "时间": "time", "几点": "time", "日期": "date", "翻译": "translate", "邮件": "email",
    "发送": "send", "发邮": "send", "发一": "send", "发给": "send", "短信": "sms message", "消息": "message", "预订":
    "book reserve", "订一": "book", "航班": "flight", "机票": "flight ticket", "酒店": "hotel", "餐厅": "restaurant",
    "日历": "calendar", "会议": "meeting", "提醒": "reminder remind", "闹钟": "alarm", "新闻": "news", "地图": "map",
    "路线": "route", "汇率": "exchange rate", "换算": "convert", "人民币": "currency",
    "主题": "subject", "标题": "title", "内容": "body content text", "转换": "convert", "兑换": "exchange convert", "订单":
    "order", "用户": "user", "文件": "file", "读取": "read", "删除": "delete", "创建": "create", "新建": "create", "添加":
    "add", "更新": "update", "图片": "image", "音乐": "music", "播放": "play", "打开": "turn on open", "关闭": "turn off",
    "灯": "light", "数据库": "database", "英语": "english", "英文": "english", "中文": "chinese", "法语": "french", "日语":
    "japanese", "高": "high", "低": "low", "紧急": "urgent", "红色": "red", "蓝色": "blue", "绿色": "green",
}  # fmt: skip


class Hint(typing.NamedTuple):
    """A literal of a prompt: its value, its kind (a rule's name), the words around it, the property that it serves."""

    value: object
    kind: str
    before: tuple[str, ...] = ()  # stems, the nearest first, of the same clause
    after: tuple[str, ...] = ()
    joined: str = ""  # to the literal before it, as in a list: by "," or by "and"
    owner: str = ""


class Hints(typing.NamedTuple):
    """What a prompt suggests: literals to use where they fit, once each, and all its words, which pick enum members."""

    literals: tuple[Hint, ...] = ()
    words: tuple[str, ...] = ()
    text: str = ""

    @property
    def values(self) -> tuple[object, ...]:
        """The values of the quotations and numbers alone."""
        return tuple(hint.value for hint in self.literals if hint.kind in ("quoted", "number"))


class HintTarget(typing.NamedTuple):
    """A property that hints may serve: its name, its words' stems, its class, and whether numbers and strings fit."""

    name: str
    words: tuple[str, ...]
    kind: str
    takes_numbers: bool
    takes_strings: bool
    is_list: bool


# ---- words


def hint_words(text: str) -> list[str]:
    """Return the words of a text, in order, without regard to case."""
    return re.findall(r"[^\W_]+", text.casefold())


def stem(word: str) -> str:
    """Return a word without its commonest English endings: prices and price, booking and book are the same."""
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
    """Return the English words for the Chinese ones in a text, as far as the glossary of usual tools knows them."""
    if text.isascii():
        return []
    return [word for chinese, english in _HINT_GLOSSARY.items() if chinese in text for word in english.split()]


# ---- reading


def hint_text(prompt: str) -> str:
    """Return what is looked at of a prompt: its beginning and its end where it is longer than MAX_HINT_TEXT."""
    half = MAX_HINT_TEXT // 2
    return prompt if len(prompt) <= MAX_HINT_TEXT else f"{prompt[: half - 1]}\n{prompt[-half:]}"


def read_hints(prompt: str) -> Hints:
    """Find the hints of a prompt, of which at most MAX_HINT_TEXT characters are read."""
    text = hint_text(prompt)
    found: list[tuple[int, int, str, object]] = []
    for match in re.finditer(_HINT_LITERAL, text):
        kind = _HINT_RULES[int(match.lastgroup[1:])][0] if match.lastgroup else ""
        found.extend(_literals_of(kind, match, text))
        if len(found) >= MAX_HINTS:
            break
    found.extend(_unmarked_names(text, found))
    found.sort(key=lambda item: item[:1])
    literals: list[Hint] = []
    end = 0
    for start, stop, kind, value in found[:MAX_HINTS]:
        between = text[end:start].strip()
        joined = _joined(between, literals[-1].before) if literals else ""
        literals.append(Hint(value, kind, _words_before(text, start), _words_after(text, stop), joined))
        end = max(end, stop)
    words = hint_words(text) + glossary_words(text)
    return Hints(tuple(literals), tuple(words), text)


def _joined(between: str, before: typing.Sequence[str]) -> str:
    """Return what joins a literal to the one before: "in Oslo and in Rome" is a list, as "in Oslo and Rome" is."""
    listed = re.fullmatch(r"([,，])?\s*(and|or|&|和|与|及|、)?(?:\s+(in|at|for|from|to|with|on))?", between)
    if listed is None or (listed[3] and listed[3] not in before[:_HINT_NEAR_PREPOSITION]):
        return ""
    return "and" if listed[2] else "," if listed[1] and not listed[3] else ""


def _literals_of(
    kind: str, match: re.Match[str], text: str
) -> typing.Iterator[tuple[int, int, str, object]]:
    """Yield (start, end, kind, value) for what a rule matched: one literal, none, or a sum and its numbers."""
    start, end, said = match.start(), match.end(), match[0]
    if kind == "quoted":
        yield start, end, kind, said[1:-1]
    elif kind in ("year_first", "month_first", "day_first"):
        groups = [group for group in match.groups()[:] if group is not None and group != said]
        yield start, end, "date", _iso_date(kind, groups)
    elif kind == "sum":
        yield start, end, "sum", _balanced(said)
        for number in re.finditer(rf"(?<![0-9)])-?(?:{_HINT_NUMBER[2:]})|(?:{_HINT_NUMBER[2:]})", said):
            yield start + number.start(), start + number.end(), "number", _number_of(number[0])
    elif kind == "number":
        yield start, end, kind, _number_of(said)
    elif kind == "currency":
        yield start, end, kind, _HINT_CURRENCIES[said.lower().rstrip("s")]
    elif kind == "counted":
        yield start, end, kind, _HINT_NUMBER_WORDS[said.lower()]
    elif kind == "code":
        if said not in _HINT_NO_CODE:
            yield start, end, kind, said
    elif kind == "name":
        yield from _proper_name(start, said, text)
    else:
        yield start, end, kind, said


def _number_of(said: str) -> float:
    plain = said.replace(",", "")
    return float(plain) if "." in plain else int(plain)


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
        month = str(next(at for at, name in enumerate(_HINT_MONTHS, 1) if name.startswith(month.lower()[:3])))
    return f"{int(year):04}-{int(month):02}-{int(day):02}"


def _proper_name(start: int, said: str, text: str) -> typing.Iterator[tuple[int, int, str, object]]:
    """Yield a name, without the capital that only begins a sentence."""
    begins = re.search(r"(?:\A|[.!?:;。！？：；\n])[\s\"'(*-]*\Z", text[max(0, start - 20) : start]) is not None
    while said:
        first, _, rest = said.partition(" ")
        plain = first.rstrip(",").lower().replace("\u2019", "'")
        if not (plain in _HINT_NO_NAME or plain.startswith(_HINT_MONTHS) and begins):
            break
        start += len(said) - len(rest) if rest else len(said)
        said = rest
        begins = False
    while said and said.rpartition(" ")[2] != "City" and said.rpartition(" ")[2].lower() in _HINT_NO_NAME:
        said = said.rpartition(" ")[0]
    if not said or (begins and " " not in said and not _is_subject(text[start + len(said) :])):
        return
    if said.casefold() in _HINT_MONTHS:
        yield start, start + len(said), "day", said
        return
    yield start, start + len(said), "name", said


def _is_subject(rest: str) -> bool:
    """Say whether a sentence's first word is a name, by what follows it."""
    return re.match(r"(?:'s|\u2019s|,| is| was| are| has| lives| works| &)(?!\w)| and [A-Z]|\s*\Z", rest) is not None


def _unmarked_names(
    text: str, found: typing.Sequence[tuple[int, int, str, object]]
) -> typing.Iterator[tuple[int, int, str, object]]:
    """Yield names that no capital marks: Chinese ones, and places in lower case where no name was found at all."""
    taken = [(start, end) for start, end, _, _ in found]
    if not text.isascii():
        for kind, rule in (("person", _HINT_HAN_PERSON), ("place", _HINT_HAN_PLACE)):
            for match in re.finditer(f"(?={rule})", text):  # they may overlap where the first is none
                place = match.span(1)
                if re.search(_HINT_HAN_COMMON, match[1]) or any(a < place[1] and place[0] < b for a, b in taken):
                    continue
                taken.append(place)
                yield (*place, kind, match[1])
    if not any(kind == "name" for _, _, kind, _ in found):
        travels = re.search(_HINT_TRAVEL, text) is not None  # otherwise "to" begins a verb
        for match in re.finditer(_HINT_PLACE, text):
            place = match.span(1)
            if match[0].startswith("to") and not travels:
                continue
            if match[1] not in _HINT_NO_PLACE and not any(a < place[1] and place[0] < b for a, b in taken):
                named = match[0][: match.start(1) - match.start()].rstrip().endswith("the")
                yield (*place, "place", match[1] if named else match[1].title())


_HINT_TOKEN = rf"[=:#$€£¥%,，]|[{_HINT_HAN}]|(?:(?![{_HINT_HAN}])[^\W_])+(?:'[a-z]+)?"


def _words_before(text: str, start: int) -> tuple[str, ...]:
    clause = re.split(r"[;!?。；！？\n]|\.\s", text[max(0, start - 60) : start])[-1]
    if start > 60 and len(clause) == 60:
        clause = clause.partition(" ")[2]  # its first word may be cut
    return tuple([stem(word) for word in re.findall(_HINT_TOKEN, clause.casefold())][-_HINT_NEAR:][::-1])


def _words_after(text: str, end: int) -> tuple[str, ...]:
    clause = re.split(r"[.,;!?。，；！？\n]", text[end : end + 40])[0]
    return tuple(stem(word) for word in re.findall(_HINT_TOKEN, clause.casefold())[:2])


# ---- what a property takes


def hint_class(name: str, description: object = "") -> str:
    """Return the class of what a property holds, "" for one that tells nothing."""
    words = name_words(name).split()
    for word in reversed(words):
        kind = _HINT_CLASSES.get(word) or _HINT_CLASSES.get(singular(word))
        if kind:
            return kind
    for word in hint_words(description[:100]) if isinstance(description, str) else ():
        kind = _HINT_CLASSES.get(word)
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
        any(part.get("type") == "array" for part in (known, *_branches_of(known))),
    )


def _stated_kinds(schema: typing.Mapping[str, typing.Any]) -> set[str]:
    """Return the types that a schema or its branches, or an array's items, state; nothing where any may hold."""
    kinds: set[str] = set()
    for part in [schema, *_branches_of(schema)]:
        items = part.get("items")
        if isinstance(items, dict):
            part = items
        stated = part.get("type")
        kinds.update(one for one in (stated if isinstance(stated, list) else [stated]) if isinstance(one, str))
        if "$ref" in part:
            return set()
        kinds.update("string" if isinstance(value, str) else json_kind(value) for value in _list_in(part, "enum"))
    return kinds


def _branches_of(schema: typing.Mapping[str, typing.Any]) -> list[dict[str, typing.Any]]:
    # No schema has been checked yet: a client may send anything.
    return [branch for word in ("anyOf", "oneOf") for branch in _list_in(schema, word) if isinstance(branch, dict)]


def _list_in(schema: typing.Mapping[str, typing.Any], keyword: str) -> list[typing.Any]:
    value = schema.get(keyword)
    return value if isinstance(value, list) else []


# ---- to which property a literal belongs


def assign_hints(
    hints: Hints, targets: typing.Sequence[HintTarget], fixed: typing.AbstractSet[str]
) -> tuple[Hint, ...]:
    """Give each hint the property that its surroundings name; `fixed` are the enum members, which are no free strings.

    Labelled values ("title: Tea for two") of these properties come first.
    """
    targets = targets[:_HINT_MAX_NAMES]
    if not hints.text or not targets:
        return tuple(hint for hint in hints.literals if not _is_fixed_text(hint, fixed))
    known = frozenset(stem(word) for word in hints.words)
    labelled = [hint for target in targets for hint in _labelled(hints.text, target, known)]
    given = [(hint.owner, hint.value) for hint in labelled]
    counts: dict[str, int] = {}
    for owner, _ in given:
        counts[owner] = counts.get(owner, 0) + 1
    assigned: list[tuple[float, Hint]] = []
    last = Hint(None, "")
    quotations = sum(hint.kind == "quoted" for hint in hints.literals)
    for at, hint in enumerate(hints.literals):
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
    return (*labelled, *_plainest(assigned, targets))


def _plainest(
    assigned: typing.Sequence[tuple[float, Hint]], targets: typing.Sequence[HintTarget]
) -> typing.Iterator[Hint]:
    """Yield the hints; a property that is no list keeps only those that name it most plainly, the others are free."""
    lists = {target.name for target in targets if target.is_list}
    best: dict[str, float] = {}
    for score, hint in assigned:
        best[hint.owner] = max(score, best.get(hint.owner, 0.0))
    for score, hint in assigned:
        yield hint if score >= best[hint.owner] or hint.owner in lists else hint._replace(owner="")


def _is_fixed_text(hint: Hint, fixed: typing.AbstractSet[str]) -> bool:
    return isinstance(hint.value, str) and hint.kind != "quoted" and hint.value.casefold() in fixed


def _owner(
    hint: Hint, targets: typing.Sequence[HintTarget], counts: typing.Mapping[str, int]
) -> tuple[float, str]:
    best, owner = 0.9, ""
    for target in targets:
        score = hint_tie(hint, target)
        # Of equals, the one that has the least: "Tokyo, Japan" is a city and a country.
        if score > best or (score == best and owner and counts.get(target.name, 0) < counts.get(owner, 0)):
            best, owner = score, target.name
    return best, owner


def _list_owner(hint: Hint, at: int, hints: typing.Sequence[Hint], targets: typing.Sequence[HintTarget]) -> str:
    """Return the array that takes a literal out of a list of such, "" for none."""
    near = [other for other in (hint, *hints[at + 1 : at + 2]) if other.joined and other.kind == hint.kind]
    return next((target.name for target in targets if near and target.is_list and may_take(hint, target)), "")


def _body_of(targets: typing.Sequence[HintTarget]) -> str:
    """Return the property that the only quotation is for, where a message has a subject, too; "" otherwise."""
    named = {target.words[-1]: target.name for target in targets if target.words}
    bodies = [named[word] for word in ("body", "messag", "content", "text") if word in named]
    return bodies[0] if bodies and ("subject" in named or "titl" in named or "title" in named) else ""


def hint_tie(hint: Hint, target: HintTarget) -> float:
    """Say how plainly the words around a literal name a property: 0 for not at all, 1 and more for plainly."""
    if not may_take(hint, target):
        return 0.0
    score = 0.0
    if hint.before and hint.before[0] in target.words and hint.before[0] not in _HINT_PREPOSITIONS:
        score = 3.0
    elif hint.before:
        score = _named_before(hint.before, target)
    if hint.kind in ("number", "counted", "sum"):
        return max(score, _unit_score(hint, target))
    if hint.after and hint.after[0] in target.words and hint.after[0] not in _HINT_PREPOSITIONS:
        score = max(score, 1.1)
    if hint.kind == "quoted" and target.kind in ("date", "time"):
        return score
    preposition = _preposition(hint.before)
    points_to = [stem(word) for word in _HINT_PREPOSITIONS.get(preposition, "").split()]
    for word in target.words:
        if word in points_to:
            score = max(score, 1.5 + (word == preposition))  # its own word goes before its relatives
    return score


def may_take(hint: Hint, target: HintTarget) -> bool:
    """Say whether a property takes literals of this kind at all."""
    if isinstance(hint.value, str):
        return target.takes_strings and (hint.kind in ("enum", *_HINT_TAKES[target.kind]))
    return target.takes_numbers or (target.takes_strings and target.kind == "code" and hint.kind == "number")


def stand_in(one: Hint, other: Hint) -> bool:
    """Say whether some property would take either of two literals of different kinds: an address, say, or a name."""
    if one.kind == other.kind or "quoted" in (one.kind, other.kind):
        return False  # a quotation may be anything
    return any(one.kind in kinds and other.kind in kinds for name, kinds in _HINT_TAKES.items() if name)


def _named_before(before: typing.Sequence[str], target: HintTarget) -> float:
    near = [word for word in before[:_HINT_NEAR] if word not in _HINT_FILLERS]
    run = 0
    while run < len(near) and near[run] in target.words:
        run += 1
    return 2.0 + 0.5 * run if run else 0.0


def _unit_score(hint: Hint, target: HintTarget) -> float:
    score = 0.0
    for place, word in enumerate(hint.after[:1] if hint.after[:1] == ("of",) else hint.after[:2]):  # "3 of SKU-1"
        if word in target.words and word not in ("to", "in", "of", "from"):
            score = max(score, 2.8 - place)
        if place == 0 and set(map(stem, _HINT_UNITS.get(word, "").split())) & set(target.words):
            score = max(score, 1.6)
    points_to = _HINT_PREPOSITIONS.get(hint.before[0] if hint.before else "", "").split()
    if set(map(stem, points_to)) & set(target.words):
        score = max(score, 1.3)
    return score


def _preposition(before: typing.Sequence[str]) -> str:
    for word in before:
        if not word.isdigit() and word not in _HINT_ARTICLES:
            return word
    return ""


def _labelled(text: str, target: HintTarget, known: typing.AbstractSet[str]) -> list[Hint]:
    """Find what is written as `name: value` or `name=value`, quoted or up to the next separator."""
    if not target.takes_strings or not target.words or not all(word in known for word in target.words):
        return []
    name = r"[\s_-]*".join(re.escape(word) for word in name_words(target.name).split())
    value = r"(?:\"([^\"\n]{1,200})\"|'([^'\n]{1,200})'|([^\s\"'<{\[][^,;\n，；。]{0,199}))"
    found = re.search(rf"(?i)(?<![^\W_]){name}[\"']?\s*(?:[:：=]|(?<=\w)\s+is\s+(?=[\"']))\s*{value}", text)
    if found is None:
        return []
    end = r"\.(?:\s|\Z)|\s+and\s+\w+\s*[:=]|\s+\w+\s*[=]|[?!](?:\s|\Z)"
    said = found[1] or found[2] or re.split(end, found[3])[0].strip()
    return [Hint(said, "label", owner=target.name)] if said else []


# ---- choosing


def text_hints(hints: typing.Sequence[Hint], name: str, description: object, text: str) -> tuple[list[str], list[str]]:
    """Return the strings that belong to the property `name`, and those that are free and of a kind that it takes."""
    kind = hint_class(name, description)
    takes = _HINT_TAKES[kind]
    owned = [str(hint.value) for hint in hints if hint.owner and hint.owner in (name, singular(name))]
    owned += [str(hint.value) for hint in hints if hint.owner and singular(hint.owner) == name != hint.owner]
    free: list[str] = []
    for wanted in takes:
        if wanted == "said" and name_words(name).endswith(("subject", "title")):
            continue
        if wanted in _HINT_SPOKEN:
            free.extend(_spoken(text, wanted))
        free.extend(str(hint.value) for hint in hints if hint.kind == wanted and not hint.owner)
    return owned, free


def number_hints(hints: typing.Sequence[Hint], name: str, whole: bool) -> tuple[list[float], list[float]]:
    """Return the numbers that belong to the property `name`, and the free ones."""
    owned: list[float] = []
    free: list[float] = []
    counts = not _HINT_COUNTS.isdisjoint(name_words(name).split())  # and so is no year
    for hint in hints:
        value = hint.value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or (whole and value != int(value)):
            continue
        if hint.owner and (name in (hint.owner, singular(hint.owner)) or singular(name) == hint.owner):
            owned.append(value)
        elif not hint.owner and hint.kind == "number" and not (counts and 1900 <= value < 2100):
            free.append(value)
    return owned, free


def hint_rows(
    hints: typing.Sequence[Hint], name: str, properties: typing.Mapping[str, typing.Any]
) -> list[tuple[Hint, ...]]:
    """Return the hints of each object of the list `name`: "Ana is 31, Bo is 25" are two rows, each begun by a name.

    Nothing where the prompt has less than two such names. What a row begins with is what the first property takes that
    stands for a thing (a person, a place, a code); a number right before each ("3 of SKU-1, 2 of SKU-2") is of its row.
    """
    targets = [hint_target(part, schema) for part, schema in properties.items()]
    key = next((one for one in targets if one.takes_strings and one.kind in ("person", "place", "code")), None)
    if key is None:
        return []
    wanted = _HINT_TAKES[key.kind]
    free = [at for at, hint in enumerate(hints) if hint.owner in ("", name, *properties)]
    keys = [at for at in free if isinstance(hints[at].value, str) and hints[at].kind in wanted[:1]]
    if len(keys) < 2:
        return []
    counted = all(at and hints[at - 1].kind in ("number", "counted") for at in keys)
    starts = [at - counted for at in keys]
    return [tuple(hints[start:end]) for start, end in zip(starts, [*starts[1:], len(hints)])]


def flag_hints(hints: Hints, name: str) -> list[bool]:
    """Return whether a prompt says yes or no to a property, or nothing where it does not speak of it."""
    about = [stem(word) for word in name_words(name).split()]
    about = [word for word in about if word not in _HINT_FLAG_WORDS]
    words = [stem(word) for word in re.findall(r"[^\W_]+(?:'t)?|[=:]", hints.text.casefold())]
    opposite = _HINT_OPPOSITES.get(stem(name_words(name).rpartition(" ")[2]))
    if opposite in words:
        return [False]
    for at, word in enumerate(words if about else ()):
        if word != about[-1]:
            continue
        said = 3 if words[at + 1 : at + 2] in (["="], [":"], ["is"]) else 1
        return [_HINT_NEGATIONS.isdisjoint(words[max(0, at - 3) : at] + words[at + 1 : at + 1 + said])]
    return []


def mentioned_values(hints: Hints, values: typing.Sequence[object], target: HintTarget) -> list[object]:
    """Return which of an enum's members a prompt mentions, the one likeliest meant first."""
    words = [stem(word) for word in hints.words]
    known = frozenset(words)
    found: list[tuple[float, int, int, object]] = []
    for value in values:
        if isinstance(value, str):
            own = [stem(word) for word in hint_words(value)]
            if own and all(word in known for word in own):
                at = words.index(own[0])
                before = tuple(words[max(0, at - _HINT_NEAR) : at][::-1])
                tie = hint_tie(Hint(value, "enum", before, tuple(words[at + len(own) : at + len(own) + 1])), target)
                found.append((-tie, -len(own), at, value))
            elif not value.isascii() and value and value in hints.text:
                found.append((0, -1, hints.text.index(value), value))
        elif any(hint.value == value for hint in hints.literals if not isinstance(value, bool)):
            found.append((0, 0, 0, value))
    found.sort(key=lambda item: item[:3])
    return [item[3] for item in found]


def _spoken(text: str, wanted: str) -> list[str]:
    """Return what a prompt wants said ("saying ...", ": ..."), or asks about ("search for ...", else all of it)."""
    found = next((found for found in (re.search(rule, text) for rule in _HINT_SPOKEN[wanted]) if found), None)
    if found is None or len(found[1]) > _HINT_MAX_TEXT:
        return []
    if wanted == "said":
        return [re.split(r"[,;]\s+\w+\s*[:=]", found[1])[0].strip()]
    return [re.split(r"[?!.]\s+(?=[A-Z])", found[1])[0].strip().rstrip(".?!。？！")]
