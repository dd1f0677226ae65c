"""Vectors, ranking and the text of files."""

from __future__ import annotations

import base64
import io
import struct
import zipfile

import pytest
from steps import assert_grows_in_proportion

from protocol.errors import ApiError
from protocol.mock.text.document import text_of
from protocol.mock.text.ranking import check_chunking, chunks_of, rank, terms_of
from protocol.mock.text.vectors import encode_vector, lexical_words, token_words, unit_vector
from protocol.openai.answers import split_words


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b))


# ---- vectors


@pytest.mark.parametrize("dimension", [1, 2, 64, 1536, 4096])
@pytest.mark.parametrize("text", ["", "...", "a", "\ud800", "你好", "word " * 500, "many different words in a row"])
def test_vectors_have_length_one(text, dimension):
    vector = unit_vector(lexical_words(text), dimension)
    assert len(vector) == dimension and cosine(vector, vector) == pytest.approx(1, abs=1e-5)


def test_texts_that_share_more_words_are_nearer():
    ask, near, far, none = (
        unit_vector(lexical_words(text), 1536)
        for text in ("the red cat sleeps", "A red cat sleeps.", "the dog barks", "quarterly figures")
    )
    assert cosine(ask, near) > 0.6 > cosine(ask, far) + 0.1 and abs(cosine(ask, none)) < 0.15


def test_tokens_have_vectors_of_their_own():
    first, second, third = (unit_vector(token_words(tokens), 1536) for tokens in ([1, 2, 3], [1, 2, 4], [7, 8, 9]))
    assert cosine(first, second) > 0.5 > abs(cosine(first, third)) + 0.2
    assert not token_words([12]).keys() & lexical_words("12 token 12").keys()


def test_base64_is_of_small_floats_little_endian():
    vector = unit_vector(lexical_words("a few words"), 32)
    assert struct.unpack("<32f", base64.b64decode(encode_vector(vector))) == pytest.approx(vector, abs=1e-7)
    assert encode_vector([1.0, -2.0]) == "AACAPwAAAMA="


# ---- chunks


@pytest.mark.parametrize(
    ("count", "size", "overlap", "expected"),
    [
        (0, 4, 2, []),
        (1, 4, 2, [(0, 1)]),
        (4, 4, 2, [(0, 4)]),
        (5, 4, 2, [(0, 4), (2, 5)]),
        (6, 4, 2, [(0, 4), (2, 6)]),
        (7, 4, 0, [(0, 4), (4, 7)]),
        (8, 4, 0, [(0, 4), (4, 8)]),
        (3, 1, 0, [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_chunks_overlap_and_end_with_the_text(count, size, overlap, expected):
    words = [f"w{number} " for number in range(count)]
    assert list(chunks_of("".join(words), size, overlap)) == ["".join(words[begin:end]) for begin, end in expected]


def test_chunks_without_overlap_are_the_text():
    text = "  Some words,\n\n and 漢字 between  "
    assert "".join(chunks_of(text, 2, 0)) == text and list(chunks_of(" \n ")) == []
    assert all(len(split_words(chunk)) <= 2 for chunk in chunks_of(text, 2, 1))


def test_a_long_text_is_cut_into_the_same_chunks_bit_by_bit():
    text = "word " * 20_000 + "x" * 100_000 + " 漢字" * 20_000
    assert "".join(chunks_of(text, 800, 0)) == text
    words = split_words("word " * 20_000)
    assert list(chunks_of("".join(words), 800, 400))[-1] == "".join(words[len(words) - 800 :])


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (100, 51), (100, -1)])
def test_refuses_chunks_that_overlap_too_much(size, overlap):
    with pytest.raises(ApiError, match="at most half") as refused:
        check_chunking(size, overlap)
    assert refused.value.param == "chunking_strategy.static.chunk_overlap_tokens"


# ---- ranking

LIBRARY = [
    "Our refund policy: customers may return goods within thirty days and are paid back in full.",
    "Shipping takes three to five days. Parcels are tracked. Customs fees are paid by the customer.",
    "The office is open from Monday to Friday; on bank holidays it is closed.",
    "東京は日本の首都です。人口は約千四百万人です。",
    "京都には古いお寺がたくさんあります。",
    "Le café est fermé le dimanche, mais l'hôtel est ouvert.",
    "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย",
    "",
]


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("What is the refund policy?", 0),
        ("How can I get refunds for returned goods", 0),
        ("Who pays custom fees?", 1),
        ("tracking of a parcel", 1),
        ("when is the office closed", 2),
        ("東京の人口", 3),
        ("京都の寺", 4),
        ("CAFE FERME", 5),
        ("เมืองหลวง", 6),
        (["opening hours", "Is the office open on Fridays?"], 2),
    ],
    ids=ascii,
)
def test_the_right_document_is_first(query, best):
    ranked = rank(query, LIBRARY)
    assert ranked[0][1] == best and 1 >= ranked[0][0] > ranked[1][0] >= 0
    assert sorted(index for _, index in ranked) == list(range(len(LIBRARY)))


def test_given_terms_rank_as_their_texts_do():
    assert rank("refund of fees", [terms_of(text) for text in LIBRARY]) == rank("refund of fees", LIBRARY)


def test_rare_words_tell_more_than_common_ones():
    documents = ["apple pear", "apple plum", "apple cherry", "banana"]
    assert [index for _, index in rank("apple plum", documents)][0] == 1
    assert rank("apple banana", documents)[0][1] == 3


def test_short_texts_beat_long_ones_with_the_same_words_and_repetition_counts():
    assert rank("cat", ["cat " + "filler " * 50, "cat here"])[0][1] == 1
    assert rank("cat", ["cat dog dog", "cat cat dog"])[0][1] == 1


@pytest.mark.parametrize(
    ("query", "documents", "ranked"),
    [
        ("x", [], []),
        ("", ["a", "b"], [(0.0, 0), (0.0, 1)]),
        ("zebra", ["a", "b"], [(0.0, 0), (0.0, 1)]),
        ("!?", ["", "..."], [(0.0, 0), (0.0, 1)]),
    ],
    ids=["no documents", "no query", "nothing found", "no words"],
)
def test_nothing_to_rank_by_scores_nothing(query, documents, ranked):
    assert rank(query, documents) == ranked


def test_a_question_of_common_words_alone_still_finds():
    assert rank("Who are you?", ["We sell shoes.", "Who are you: a play"])[0][1] == 1


@pytest.mark.parametrize("count", [1, 10_000], ids=["a word", "many"])
def test_scores_stay_below_one(count):
    (score, _), _ = rank("cat", ["cat " * count, "dog"])
    assert 0 < score <= 1


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The Cat's toys", {"the": 1, "cat": 1, "toy": 1}),
        ("snake_case-and 3.5", {"snake": 1, "case": 1, "and": 1, "3": 1, "5": 1}),
        ("parties boxes classes glass bus this", {"party": 1, "box": 1, "class": 1, "glass": 1, "bus": 1, "this": 1}),
        ("ÉTÉ Straße", {"ete": 1, "strasse": 1}),
        ("猫猫a", {"猫": 2, "猫猫": 1, "a": 1}),
        ("ガ한", {"ガ": 1, "한": 1, "ガ한": 1}),
    ],
    ids=ascii,
)
def test_terms(text, terms):
    assert terms_of(text) == (terms, sum(terms.values()))


# ---- the text of files


def office_file(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/") + ".xml", content)
    return file.getvalue()


WORD = """<?xml version="1.0"?><w:body><w:p><w:r><w:t>Hel</w:t></w:r><w:r><w:t>lo &amp; all</w:t></w:r></w:p>\
<w:p>you</w:p></w:body>"""
PAGE = """<!DOCTYPE html><html><head><title>Rates</title><style>p { color: red }</style>
<script type="text/javascript">if (a < b) { "</p>" }</script></head>
<body><!-- not <b>this</b> -->
<h1>Our&nbsp;rates</h1><p>A <b>bo</b>ld word, 1 < 2<br>next</p><script src="x"></script>end</body></html>"""


@pytest.mark.parametrize(
    ("data", "filename", "text"),
    [
        (b"plain \xe2\x82\xac", "a.txt", "plain €"),
        (b"\xef\xbb\xbf# Title\n", "a.md", "# Title\n"),
        ("wide ü".encode("utf-16"), "a.txt", "wide ü"),
        (b'{"a": "<b>"}', "a.json", '{"a": "<b>"}'),
        (b"if a < b: <c>", "a.py", "if a < b: <c>"),
        (PAGE.encode(), "a.html", "Rates\nOur rates\nA bold word, 1 < 2\nnext\nend"),
        (PAGE.encode(), "download", "Rates\nOur rates\nA bold word, 1 < 2\nnext\nend"),
        (office_file(word__document=WORD, other="<p>no</p>"), "a.docx", "Hello & all\nyou"),
        (office_file(ppt__slides__slide1="<a:p>One</a:p>", ppt__slides__slide2="<a:p>Two</a:p>"), "a.pptx", "One\nTwo"),
        (office_file(content="<text:p>Open</text:p>"), "a.odt", "Open"),
        (b"\x00\x01PDF title here\xff\xfe\x00ab", "a.pdf", "PDF title here"),
        (b"text\x00with nul", "a.txt", "with nul"),
        (b"", "a.txt", ""),
        (b"PK\x03\x04 broken", "a.docx", ""),
    ],
    ids=["utf-8", "mark", "utf-16", "json", "source", "html", "html by content", "word", "powerpoint", "open document",
         "binary", "nul", "empty", "broken zip"],
)  # fmt: skip
def test_text_of_files(data, filename, text):
    assert text_of(data, filename, 10**6) == text


@pytest.mark.limit(30)
@pytest.mark.parametrize("part", ["<", "<a", "<!--", "<script>", "&", "<p", "</"])
def test_hostile_markup_takes_steps_in_proportion(part):
    assert_grows_in_proportion(lambda size: text_of((part * size).encode(), "a.html", 10**7), 5000)
    text_of((part * 300_000).encode(), "a.html", 10**7)  # where built-ins took the square, the limit would stop them


def test_a_damaged_office_file_is_no_accident():
    file = office_file(word__document=WORD)
    for end in range(0, len(file), 7):
        assert isinstance(text_of(file[:end], "a.docx", 10**6), str)
    for at in range(len(file)):
        assert isinstance(text_of(file[:at] + b"\xff" + file[at + 1 :], "a.docx", 10**6), str)
