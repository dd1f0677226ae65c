"""Forms with files: tables of bodies, each read whole, byte by byte and split at every place."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from steps import steps_of

from protocol.errors import ApiError
from protocol.openai.model_in_form import ModelRewriter
from protocol.wire.multipart import MultipartReader, PartData, PartEnd, PartHead, boundary_of

TYPE = "multipart/form-data; boundary=b0"


def field(name: bytes, value: bytes) -> bytes:
    return b'--b0\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name, value)


def file(name: bytes, data: bytes) -> bytes:
    head = b'Content-Disposition: form-data; name="%b"; filename="a.wav"\r\nContent-Type: audio/wav' % name
    return b"--b0\r\n%b\r\n\r\n%b\r\n" % (head, data)


END = b"--b0--\r\n"

Part = tuple  # of name, file name, content type, data


def read(*pieces: bytes) -> list[Part]:
    reader = MultipartReader("b0")
    events = [event for piece in pieces for event in reader.feed(piece)] + reader.close()
    parts: list[Part] = []
    current: PartHead | None = None
    data = b""
    for event in events:
        if type(event) is PartHead:
            assert current is None
            current, data = event, b""
        elif type(event) is PartData:
            assert current is not None
            assert event.data
            data += event.data
        else:
            assert type(event) is PartEnd
            parts.append((current.name, current.filename, current.content_type, data))
            current = None
    assert current is None
    return parts


def rewrite(*pieces: bytes, to: str = "new") -> tuple[bytes, str | None]:
    rewriter = ModelRewriter(TYPE, lambda model: to)
    body = b"".join([*map(rewriter.feed, pieces), rewriter.close()])
    return body, rewriter.model


def whole_and_by_bytes(body: bytes) -> list[list[bytes]]:
    return [[body], [body[at : at + 1] for at in range(len(body))]]


def splits(body: bytes) -> list[list[bytes]]:
    return whole_and_by_bytes(body) + [[body[:at], body[at:]] for at in range(len(body) + 1)]


def cases(table: list) -> object:
    return pytest.mark.parametrize("case", [pytest.param(row[1:], id=row[0]) for row in table])


def head_only(head: bytes) -> bytes:
    return b"--b0\r\n" + head + b"\r\n\r\nv\r\n" + END


# (id, body, parts)
FORMS = [
    ("one_field", field(b"a", b"1") + END, [("a", None, "", b"1")]),
    ("empty_field", field(b"a", b"") + END, [("a", None, "", b"")]),
    ("field_and_file", field(b"a", b"1") + file(b"f", b"\0\xff") + END,
     [("a", None, "", b"1"), ("f", "a.wav", "audio/wav", b"\0\xff")]),
    ("same_name_twice", field(b"a[]", b"1") + field(b"a[]", b"2") + END,
     [("a[]", None, "", b"1"), ("a[]", None, "", b"2")]),
    ("no_parts", END, []),
    ("no_line_end_at_the_end", field(b"a", b"1") + b"--b0--", [("a", None, "", b"1")]),
    ("preamble", b"for old\r\nreaders\r\n" + field(b"a", b"1") + END, [("a", None, "", b"1")]),
    ("empty_line_first", b"\r\n" + field(b"a", b"1") + END, [("a", None, "", b"1")]),
    ("epilogue", field(b"a", b"1") + END + b"more\r\n" + field(b"b", b"2"), [("a", None, "", b"1")]),
    ("padding", field(b"a", b"1").replace(b"--b0", b"--b0 \t ") + b"--b0--  \r\n", [("a", None, "", b"1")]),
    ("line_ends_in_data", file(b"f", b"\r\n\r\n\n\r\r\n-\r\n--\r\n--b\r\n--b1\r\n") + END,
     [("f", "a.wav", "audio/wav", b"\r\n\r\n\n\r\r\n-\r\n--\r\n--b\r\n--b1\r\n")]),
    ("boundary_within_a_line", file(b"f", b"x--b0\r\ny --b0--") + END,
     [("f", "a.wav", "audio/wav", b"x--b0\r\ny --b0--")]),
    ("dashes_before_the_boundary", file(b"f", b"\r\n---b0\r\n-") + END,
     [("f", "a.wav", "audio/wav", b"\r\n---b0\r\n-")]),
    ("names_without_quotes", head_only(b"content-disposition:form-data;name=a;filename=f.x"), [("a", "f.x", "", b"v")]),
    ("escaped_file_name", head_only(rb'Content-Disposition: form-data; name="a"; filename="C:\d\"e\\f;g"'),
     [("a", r'C:\d"e\f;g', "", b"v")]),
    ("utf_8_file_name", head_only('Content-Disposition: form-data; name="a"; filename="ü.wav"'.encode()),
     [("a", "ü.wav", "", b"v")]),
    ("extended_file_name", head_only(b"Content-Disposition: form-data; name=a; filename*=utf-8''%C3%BC.wav"),
     [("a", "ü.wav", "", b"v")]),
    ("latin_1_file_name", head_only(b'Content-Disposition: form-data; name="a"; filename="\xfc"'),
     [("a", "�", "", b"v")]),
    ("any_case_and_other_fields", head_only(
        b"X-A: 1\r\nCONTENT-TYPE:  text/plain \r\ncontent-transfer-encoding: Binary\r\n"
        b'Content-DISPOSITION: Form-Data; NAME="A";'
     ), [("A", None, "text/plain", b"v")]),
]  # fmt: skip


@cases(FORMS)
def test_reads_each_part_at_any_split(case: tuple[bytes, list[Part]]) -> None:
    body, parts = case
    for pieces in splits(body):
        assert read(*pieces) == parts


@cases(FORMS)
def test_a_form_that_breaks_off_is_refused(case: tuple[bytes, list[Part]]) -> None:
    body, _ = case
    for end in range(body.index(b"--b0--") + len(b"--b0--")):
        with pytest.raises(ApiError, match="ends without its closing boundary '--b0--'"):
            read(body[:end])


@cases(FORMS)
def test_the_same_model_leaves_every_byte(case: tuple[bytes, list[Part]]) -> None:
    for pieces in splits(case[0]):
        assert rewrite(*pieces, to="") == (case[0], None)


DISPOSITION = b'Content-Disposition: form-data; name="model"'

# (id, body, what the refusal says)
REFUSED = [
    ("bare_line_feeds", (field(b"a", b"1") + END).replace(b"\r\n", b"\n"), "followed by CR LF"),
    ("junk_before_the_first_boundary", b"x" + END, "at the beginning or after CR LF"),
    ("bare_line_feed_before_the_first_boundary", b"x\n" + field(b"model", b"1") + END, "at the beginning or after"),
    ("bare_line_feed_before_a_boundary", file(b"f", b"x\n" + field(b"model", b"1")) + END, "after a bare CR or LF"),
    ("bare_carriage_return_before_one", file(b"f", b"x\r" + field(b"model", b"1")) + END, "after a bare CR or LF"),
    ("bare_line_feed_first_in_data", file(b"f", b"\n--b0\r\n") + END, "after a bare CR or LF"),
    ("boundary_right_after_a_head", file(b"f", field(b"model", b"1")) + END, "an empty line is missing"),
    ("longer_boundary", file(b"f", b"\r\n--b0x") + END, "followed by CR LF or '--', but b'x"),
    ("text_behind_the_closing_boundary", field(b"a", b"1") + b"--b0--x\r\n", "followed by CR LF or '--', but b'--x"),
    ("endless_padding", b"--b0" + b" " * 9999, "followed by CR LF"),
    ("no_head", b"--b0\r\n\r\n\r\nv\r\n" + END, "is not 'name: value'"),
    ("no_disposition", head_only(b"Content-Type: text/plain"), "must have Content-Disposition"),
    ("no_name", head_only(b"Content-Disposition: form-data; filename=x"), "must have Content-Disposition"),
    ("two_names", head_only(DISPOSITION + b"; name=x"), "must have Content-Disposition"),
    ("another_disposition", head_only(b"Content-Disposition: attachment; name=model"), "must have Content-Disposition"),
    ("broken_parameter", head_only(b'Content-Disposition: form-data; name="model'), "must have Content-Disposition"),
    ("two_dispositions", head_only(DISPOSITION + b"\r\n" + DISPOSITION), "'content-disposition' twice"),
    ("extended_name", head_only(b"Content-Disposition: form-data; name=x; name*=utf-8''model"), "name*="),
    ("name_in_pieces", head_only(b"Content-Disposition: form-data; name=x; name*0=mod; name*1=el"), "name*="),
    ("escaped_name", head_only(rb'Content-Disposition: form-data; name="mode\l"'), "no backslash"),
    ("folded_field", head_only(b"Content-Disposition: form-data;\r\n name=model"), "is not 'name: value'"),
    ("space_before_the_colon", head_only(b"Content-Disposition : form-data; name=model"), "is not 'name: value'"),
    ("bare_line_feed_in_a_head", head_only(b"X: y\n" + DISPOSITION), "is not 'name: value'"),
    ("nul_in_a_head", head_only(b"X: \0\r\n" + DISPOSITION), "is not 'name: value'"),
    ("encoded_part", head_only(DISPOSITION + b"\r\nContent-Transfer-Encoding: base64"), "transfer encoding 'base64'"),
    ("long_head", b"--b0\r\nX: " + b"x" * 9000, "more than 8192 bytes"),
    ("too_many_parts", field(b"a", b"1") * 1001 + END, "more than 1000 parts"),
]


@cases(REFUSED)
def test_refuses_what_may_be_read_in_two_ways(case: tuple[bytes, str]) -> None:
    body, reason = case
    for pieces in whole_and_by_bytes(body):
        for run in (read, rewrite):
            with pytest.raises(ApiError) as refusal:
                run(*pieces)
            assert refusal.value.status == 400
            assert reason in refusal.value.message


def test_limits_of_the_reader_are_its_callers() -> None:
    body = field(b"a", b"1") * 2 + END
    assert len(MultipartReader("b0", max_parts=2).feed(body)) == 6
    with pytest.raises(ApiError, match="more than 1 parts"):
        MultipartReader("b0", max_parts=1).feed(body)
    head_bytes = len(DISPOSITION) + 4
    assert MultipartReader("b0", max_head_bytes=head_bytes).feed(field(b"model", b"1") + END)
    with pytest.raises(ApiError, match=f"more than {head_bytes - 1} bytes"):
        MultipartReader("b0", max_head_bytes=head_bytes - 1).feed(field(b"model", b"1") + END)


@pytest.mark.parametrize("bad", [b"x" + END, head_only(b"X: y"), head_only(b"Content-Disposition: attachment")])
def test_stays_refused(bad: bytes) -> None:
    for consumer in (MultipartReader("b0"), ModelRewriter(TYPE, str)):
        with pytest.raises(ApiError):
            consumer.feed(bad)
        with pytest.raises(ApiError):
            consumer.feed(field(b"a", b"1"))
        with pytest.raises(ApiError):
            consumer.close()


# ---- the model ----------------------------------------------------------------------------------------------------

ADDED = b'content-disposition: form-data; name="model"\r\n\r\nnew\r\n'

# (id, body, body with the model "new", the model that was named)
REWRITTEN = [
    ("alone", field(b"model", b"whisper-1") + END, field(b"model", b"new") + END, "whisper-1"),
    ("before_a_file", field(b"model", b"a") + file(b"f", b"model") + END,
     field(b"model", b"new") + file(b"f", b"model") + END, "a"),
    ("after_a_file", file(b"f", b"\r\n\r\n") + field(b"model", b"a") + field(b"n", b"1") + END,
     file(b"f", b"\r\n\r\n") + field(b"model", b"new") + field(b"n", b"1") + END, "a"),
    ("empty", field(b"model", b"") + END, field(b"model", b"new") + END, ""),
    ("utf_8", field(b"model", "通义".encode()) + END, field(b"model", b"new") + END, "通义"),
    ("line_ends_in_it", field(b"model", b"a\r\n\n") + END, field(b"model", b"new") + END, "a\r\n\n"),
    ("sent_as_a_file", file(b"model", b"a") + END, file(b"model", b"new") + END, "a"),
    ("no_line_end_at_the_end", field(b"model", b"a") + b"--b0--", field(b"model", b"new") + b"--b0--", "a"),
    ("other_names_stay", field(b"mode", b"a") + field(b"model", b"b") + field(b"models", b"c") + END,
     field(b"mode", b"a") + field(b"model", b"new") + field(b"models", b"c") + END, "b"),
    ("in_the_data_of_a_file", file(b"f", field(b"model", b"a").replace(b"b0", b"b1")) + field(b"model", b"b") + END,
     file(b"f", field(b"model", b"a").replace(b"b0", b"b1")) + field(b"model", b"new") + END, "b"),
    ("added_after_the_last_part", field(b"n", b"1") + END, field(b"n", b"1") + b"--b0\r\n" + ADDED + END, None),
    ("added_to_a_form_without_parts", END, b"--b0\r\n" + ADDED + END, None),
    ("added_behind_a_preamble", b"x\r\n" + END, b"x\r\n--b0\r\n" + ADDED + END, None),
    ("added_before_an_epilogue", field(b"n", b"1") + END + b"x",
     field(b"n", b"1") + b"--b0\r\n" + ADDED + END + b"x", None),
]  # fmt: skip


@cases(REWRITTEN)
def test_replaces_nothing_but_the_model_at_any_split(case: tuple[bytes, bytes, str | None]) -> None:
    body, expected, model = case
    for pieces in splits(body):
        assert rewrite(*pieces) == (expected, model)
    assert ("model", b"new") in [(part[0], part[3]) for part in read(expected)]


@pytest.mark.parametrize(("body", "asked"), [(field(b"model", b"a") + END, "a"), (field(b"n", b"1") + END, "")])
def test_rename_is_asked_once_with_the_model_that_came(body: bytes, asked: str) -> None:
    names: list[str] = []
    rewriter = ModelRewriter(TYPE, lambda model: names.append(model) or model)
    assert rewriter.feed(body) + rewriter.close() == body
    assert names == [asked]


def test_the_model_is_known_as_soon_as_the_part_has_ended() -> None:
    rewriter = ModelRewriter(TYPE, lambda model: "longer-than-before")
    rewriter.feed(field(b"model", b"a"))
    assert rewriter.model is None
    rewriter.feed(b"--b0\r\n")
    assert rewriter.model == "a"


@pytest.mark.parametrize(
    "body, reason",
    [
        (field(b"model", b"x" * 1025), "more than 1024 bytes"),
        (field(b"model", b"\xff"), "must be UTF-8"),
        (field(b"model", b"a") + field(b"model", b"b"), "more than one part named 'model'"),
    ],
)
def test_refuses_a_model_that_no_one_has(body: bytes, reason: str) -> None:
    for pieces in whole_and_by_bytes(body + END):
        with pytest.raises(ApiError, match=reason):
            rewrite(*pieces)
    assert rewrite(field(b"model", b"x" * 1024) + END)[1] == "x" * 1024


@pytest.mark.parametrize("seed", range(40))
def test_agrees_with_what_was_written_on_generated_forms(seed: int) -> None:
    rolls = random.Random(seed)
    bits = [b"\r", b"\n", b"\r\n", b"-", b"--", b"\r\n--", b"\r\n--b", b"b0", b"x--b0", b"text", bytes(99)]
    parts = []
    for number in range(rolls.randrange(5)):
        data = b"x" + b"".join(rolls.choices(bits, k=rolls.randrange(60)))
        while any(end + b"--b0" in data for end in (b"\r", b"\n")):
            data = data.replace(b"\r--b0", b"--b0").replace(b"\n--b0", b"--b0")
        parts.append((f"part{number}", "a.wav", "audio/wav", data))
    parts.insert(rolls.randrange(len(parts) + 1), ("model", None, "", b"a"))
    body = b"".join(
        field(name.encode(), data) if filename is None else file(name.encode(), data)
        for name, filename, _, data in parts
    )
    body += END
    renamed = [part if part[0] != "model" else ("model", None, "", b"new") for part in parts]
    for _ in range(20):
        pieces, at = [], 0
        while at < len(body):
            size = rolls.choice([1, 2, 3, 7, 40, 500])
            pieces.append(body[at : at + size])
            at += size
        assert read(*pieces) == parts
        assert read(rewrite(*pieces)[0]) == renamed


# ---- what it costs ------------------------------------------------------------------------------------------------


def test_a_large_file_is_handed_on_as_it_comes() -> None:
    rewriter = ModelRewriter(TYPE, lambda model: model)
    rewriter.feed(file(b"f", b"")[:-2])
    piece = b"\r\n--b" * 10_000
    tracemalloc.start()
    try:
        came = sent = 0
        for _ in range(200):
            came += len(piece)
            sent += len(rewriter.feed(piece))
            assert came - sent <= len(b"\r\n--b0")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(piece)


def test_a_piece_of_line_ends_costs_no_step_a_line_however_many_came_before() -> None:
    reader = MultipartReader("b0")
    reader.feed(file(b"f", b"")[:-2])
    piece = b"\r\n" * 32_768
    assert max(steps_of(lambda: reader.feed(piece)) for _ in range(160)) < 100


# ---- the boundary ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type, boundary",
    [
        ("multipart/form-data; boundary=b0", "b0"),
        ("Multipart/Form-Data ;\tBOUNDARY=b0 ; charset=utf-8", "b0"),
        ("multipart/form-data;charset=utf-8;boundary=b0;", "b0"),
        ('multipart/form-data; boundary="b0"', "b0"),
        ('multipart/form-data; boundary="a bc=\'()+_,-./:=?"', "a bc='()+_,-./:=?"),
        ("multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTr", "----WebKitFormBoundary7MA4YWxkTr"),
        ("multipart/form-data; boundary=----=_Part_1_2/3.4", "----=_Part_1_2/3.4"),
        ('multipart/form-data; charset="a;boundary=x"; boundary=b0', "b0"),
        ("multipart/form-data; boundary=" + "b" * 70, "b" * 70),
    ],
)
def test_boundary_plain_and_quoted(content_type: str, boundary: str) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type, reason",
    [
        ("", "must be multipart/form-data"),
        ("application/json", "must be multipart/form-data"),
        ("multipart/mixed; boundary=b0", "must be multipart/form-data"),
        ("multipart/form-data", "must name one boundary"),
        ("multipart/form-data; charset=utf-8", "must name one boundary"),
        ("multipart/form-data; boundary=", "must name one boundary"),
        ('multipart/form-data; boundary=""', "must name one boundary"),
        ('multipart/form-data; boundary="b "', "must name one boundary"),
        ('multipart/form-data; boundary="b\\"0"', "must name one boundary"),
        ("multipart/form-data; boundary=b\xfc", "must name one boundary"),
        ("multipart/form-data; boundary=" + "b" * 71, "must name one boundary"),
        ("multipart/form-data; boundary=b0; boundary=b1", "must name one boundary"),
        ("multipart/form-data; boundary=b0; boundary*=utf-8''b1", "must name one boundary"),
        ("multipart/form-data; boundary=b0, multipart/form-data; boundary=b1", "malformed parameters"),
        ('multipart/form-data; boundary="b0', "malformed parameters"),
        ("multipart/form-data; boundary", "malformed parameters"),
        ("multipart/form-data boundary=b0", "must be multipart/form-data"),
    ],
)
def test_refuses_a_type_without_one_clear_boundary(content_type: str, reason: str) -> None:
    with pytest.raises(ApiError, match=reason) as refusal:
        boundary_of(content_type)
    assert refusal.value.status == 400
