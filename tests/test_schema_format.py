"""The formats of JSON Schema strings: what each admits, and that its examples are of it."""

from __future__ import annotations

import pytest

from protocol.mock.json_schema.format import format_examples, format_holds, format_is_known

# (format, texts of it, texts that are not)
FORMATS = [
    ("date", ["2024-02-29", "1999-12-31"], ["2023-02-29", "2024-13-01", "2024-00-10", "2024-1-1", "x"]),
    ("time", ["09:30:00Z", "23:59:60.5+02:00", "09:30:00", "09:30"], ["24:00:00Z", "9:30", "09:30:00 Z"]),
    ("date-time", ["2024-01-15T09:30:00Z", "2024-01-15t09:30:00.1-05:00"], ["2024-01-15", "2024-02-30T09:30:00Z"]),
    ("duration", ["P1D", "PT36H", "P3Y6M4DT12H30M5S", "P4W", "PT0.5S"], ["P", "PT", "1D", "P1S"]),
    ("email", ["user@example.com", "a.b+c@x"], ["user", "@x.com", "a b@x.com", ".a@x.com", "a@", "a@x_y"]),
    ("hostname", ["example.com", "a", "xn--4ca"], ["", "-a.com", "a..b", "a_b", "x" * 64]),
    ("ipv4", ["0.0.0.0", "255.255.255.255"], ["256.0.0.1", "1.2.3", "01.2.3.4", "1.2.3.4.5"]),
    ("ipv6", ["::", "::1", "2001:db8::8:800:200c:417a", "::ffff:1.2.3.4"], ["1::2::3", "12345::", "1:2:3", "g::"]),
    ("ipv4network", ["10.0.0.0/8"], ["10.0.0.0", "10.0.0.0/33"]),
    ("uri", ["https://example.com/a?b=c#d", "mailto:a@b", "urn:x:y"], ["/a", "http://a b", "http://\u00e9", ""]),
    ("uri-reference", ["/a", "a#b", "", "http://x"], ["a b", "<x>"]),
    ("iri", ["http://\u00e9"], ["/\u00e9"]),
    ("uri-template", ["/items/{id}", "/a"], ["/items/{id", "/items/}"]),
    ("uuid", ["3f2b8c1e-5d47-4a90-9e61-6b0c14d2a7f5"], ["3f2b8c1e5d474a909e616b0c14d2a7f5", "x"]),
    ("json-pointer", ["", "/a/0", "/a~1b"], ["a", "/a~2"]),
    ("relative-json-pointer", ["0#", "1/a"], ["/a", "01/a"]),
    ("regex", ["^a+$"], ["(", "a**"]),
    ("base64", ["", "QQ==", "QUI=", "QUJD"], ["QQ=", "Q", "QUJD!"]),
    ("json-string", ["{}", "1"], ["{", ""]),
    ("no-such-format", ["", "anything"], []),
]


@pytest.mark.parametrize(("name", "texts", "others"), FORMATS, ids=[row[0] for row in FORMATS])
def test_admits_what_the_format_is_defined_to_be(name, texts, others):
    assert [text for text in texts if not format_holds(name, text)] == []
    assert [text for text in others if format_holds(name, text)] == []


NAMES = (
    "date-time date time duration email idn-email name-email hostname idn-hostname ipv4 ipv6 ipvanyaddress ipv4network "
    "ipv6network ipvanynetwork ipvanyinterface cidrv4 cidrv6 uri url multi-host-uri uri-reference uri-template iri "
    "iri-reference uuid uuid1 uuid3 uuid4 uuid5 uuid6 uuid7 uuid8 json-pointer relative-json-pointer regex json-string "
    "byte base64 base64url"
).split()


@pytest.mark.parametrize("name", NAMES)
def test_every_format_has_examples_of_it_that_differ(name):
    assert format_is_known(name)
    for turn in range(40):
        for low in (0, 20, 100):
            assert [text for text in format_examples(name, turn, low) if not format_holds(name, text)] == []
    assert len({format_examples(name, turn, 0)[0] for turn in range(20)}) == 20


@pytest.mark.parametrize("name", ["email", "uri", "hostname", "uri-reference", "base64"])
def test_stretches_a_format_that_has_room(name):
    assert max(len(text) for text in format_examples(name, 0, 90)) >= 90


def test_an_unknown_format_has_no_example():
    assert not format_is_known("no-such-format")
    assert format_examples("no-such-format", 0, 0) == ()
