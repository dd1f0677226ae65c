"""Configuration: sources and their order, values, the environment, mistakes, the shipped file."""

from __future__ import annotations

import pathlib
import re

import pytest
from mocks import mock_settings

from protocol.config import (
    Configuration,
    Route,
    Section,
    describe,
    option,
    options_of,
    parse_integer,
    parse_seconds,
    parse_size,
    parse_text,
)
from protocol.errors import UsageError
from protocol.mock.settings import MockSettings
from protocol.program.kinds import KINDS, PARTS, new_configuration
from protocol.server.settings import ServerSettings

SOURCE = pathlib.Path(__file__).parent.parent


class KeyedSettings(Section):
    """A kind of backend with a secret, as a relay's."""

    api_key: str = option("${SOME_KEY:-}", parse_text, "a secret", secret=True)
    timeout: float = option("120", parse_seconds, "seconds")


def configuration() -> Configuration:
    return Configuration(ServerSettings, {"mock": MockSettings, "keyed": KeyedSettings})


def settings(text="", *assignments, backend=None, environ=None):
    made = configuration()
    made.read_text(text, "config.ini")
    for assignment in assignments:
        made.set_option(assignment)
    return made.settings(backend, environ or {})


def backend_options(made, name):
    return next(backend.options for backend in made.backends if backend.name == name)


def test_defaults_are_the_mock_on_loopback():
    made = settings()
    assert (made.server.host, made.server.port, made.server.workers) == ("127.0.0.1", 8080, 1)
    assert made.routes == (Route("*", ("mock",)),)
    assert backend_options(made, "mock") == mock_settings(text="powered by openai", delay=0.0, first_delay=0.0)


def test_file_beats_defaults_and_option_beats_file():
    text = "[server]\nport = 9000\nmax_head = 8k\n[mock]\ntext = from the file\n"
    made = settings(text, "server.port=9001")
    assert (made.server.port, made.server.max_head) == (9001, 8192)
    assert backend_options(made, "mock").text == "from the file"


def test_comments_blank_values_and_equals_signs_in_values():
    text = "# one\n; two\n[mock]\ntext = a = b # c   ; and a comment\n[server]\ncors_origins =\n"
    made = settings(text)
    assert backend_options(made, "mock").text == "a = b # c"
    assert made.server.cors_origins == ()


def test_keys_and_model_names_are_case_sensitive():
    text = "[routes]\nQwen-* = mock\nqwen-* = keyed\n"
    assert settings(text).routes[:2] == (Route("Qwen-*", ("mock",)), Route("qwen-*", ("keyed",)))
    with pytest.raises(UsageError, match=r"no key 'Port'"):
        settings("[server]\nPort = 1\n")


def test_named_backends_are_more_of_a_kind():
    made = settings("[keyed other]\ntimeout = 5\n[routes]\na* = other, mock\n")
    assert backend_options(made, "other").timeout == 5.0
    assert backend_options(made, "keyed").timeout == 120.0
    assert made.routes[0] == Route("a*", ("other", "mock"))


def test_named_backend_can_be_set_from_the_command_line():
    made = settings("", "keyed.other.timeout=7", "routes.gpt-4.1*=other")
    assert backend_options(made, "other").timeout == 7.0
    assert made.routes[0] == Route("gpt-4.1*", ("other",))


def test_star_comes_last_wherever_it_stands():
    made = settings("[routes]\n* = keyed\ngpt-* = mock\n")
    assert [route.pattern for route in made.routes] == ["gpt-*", "*"]


def test_command_takes_what_no_other_route_names():
    made = settings("[routes]\ngpt-* = mock\n* = mock\n", backend="keyed")
    assert made.routes == (Route("gpt-*", ("mock",)), Route("*", ("keyed",)))


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("plain", {}, "plain"),
        ("${WORD}", {"WORD": "set"}, "set"),
        ("${WORD:-else}", {}, "else"),
        ("${WORD:-else}", {"WORD": ""}, "else"),
        ("${WORD:-}", {}, ""),
        ("a${WORD}b${WORD}", {"WORD": "-"}, "a-b-"),
        ("$$5 and $${WORD}", {"WORD": "x"}, "$5 and ${WORD}"),
        ("${WORD}", {"WORD": "${OTHER} $$"}, "${OTHER} $$"),
    ],
)
def test_environment_enters_only_where_it_is_named(text, environ, expected):
    assert backend_options(settings(f"[mock]\ntext = {text}\n", environ=environ), "mock").text == expected


def test_environment_by_itself_changes_nothing():
    environ = {"PORT": "1", "SERVER_PORT": "1", "OAISERVE_SERVER_PORT": "1", "TEXT": "x"}
    assert settings(environ=environ) == settings()


def by_environment(environ, text="", *assignments):
    made = configuration()
    made.read_text(text, "config.ini")
    made.read_environment(environ)
    for assignment in assignments:
        made.set_option(assignment)
    return made.settings("keyed", {})


def test_variables_reach_every_key_between_file_and_options():
    text = "[server]\nport = 1\n[keyed My-Own]\n[keyed other]\n"
    environ = {
        "OAISERVE_SERVER_PORT": "9000", "OAISERVE_SERVER_MAX_HEAD": "8k", "OAISERVE_MOCK_TEXT": "hi",
        "OAISERVE_KEYED_TIMEOUT": "1", "OAISERVE_KEYED_MY_OWN_TIMEOUT": "2", "OAISERVE_KEYED_NEW_TIMEOUT": "3",
        "OAISERVE_URL": "http://127.0.0.1:1", "PATH": "/bin",
    }  # fmt: skip
    made = by_environment(environ, text, "server.max_head=9k")
    assert (made.server.port, made.server.max_head, backend_options(made, "mock").text) == (9000, 9216, "hi")
    assert [backend_options(made, name).timeout for name in ("keyed", "My-Own", "new")] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("variable", "meant"),
    [("OAISERVE_SERVER_PROT", "; did you mean OAISERVE_SERVER_PORT?"), ("OAISERVE_X", ""), ("OAISERVE_KEYED_", "")],
)
def test_a_variable_that_stands_for_nothing_is_a_mistake(variable, meant):
    with pytest.raises(UsageError) as caught:
        by_environment({variable: "secret"})
    assert f"the environment's {variable} stands for no key" in str(caught.value) and meant in str(caught.value)
    assert "secret" not in str(caught.value)


def test_all_mistakes_are_told_at_once_a_line_each():
    text = "[server]\nport = x\nlgo = off\n[mock]\ndelay = soon\n[routes]\na* = mokc\nport\n"
    with pytest.raises(UsageError) as caught:
        settings(text, "server.host", "mock.text=${NOPE}")
    lines = str(caught.value).split("\n")
    told = ["line 8: 'port'", "line 3 [server] lgo: there is no key 'lgo' in [server]; did you mean log?", "--set server.host",
            "line 7 [routes] a* = 'mokc': expected names of backends, of mock, keyed; did you mean mock?",
            "line 2 [server] port = 'x'"]  # fmt: skip
    assert all(any(part in line for line in lines) for part in told)
    assert len(lines) == 5


def test_what_no_route_uses_is_not_held_against_anybody():
    text = "[keyed]\ntimeout = ${LIMIT:-soon}\n"
    made = settings(text, environ={"LIMIT": "never"})
    assert [backend.name for backend in made.backends] == ["mock"]
    with pytest.raises(UsageError, match=r"timeout = 'never' \(of \$\{LIMIT:-soon\}\): expected seconds"):
        settings(text, environ={"LIMIT": "never"}, backend="keyed")


def test_where_routes_stand_nothing_takes_what_they_do_not_name():
    assert settings("[routes]\ngpt-* = mock\n").routes == (Route("gpt-*", ("mock",)),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server]\nport = x\n", "config.ini line 2 [server] port = 'x': expected a whole number from 0 to 65535"),
        (
            "[server]\nport = 65536\n",
            "config.ini line 2 [server] port = '65536': expected a whole number from 0 to 65535",
        ),
        ("[server]\nport = ١٢\n", "config.ini line 2 [server] port = '١٢': expected a whole number"),
        (
            "[server]\nidle_timeout = soon\n",
            "config.ini line 2 [server] idle_timeout = 'soon': expected seconds, e.g. 30",
        ),
        ("[server]\nidle_timeout = -1\n", "config.ini line 2 [server] idle_timeout = '-1': expected seconds"),
        ("[mock]\nspeed = fast\n", "config.ini line 2 [mock] speed = 'fast': expected a factor, e.g. 1"),
        ("[server]\nidle_timeout = nan\n", "config.ini line 2 [server] idle_timeout = 'nan': expected seconds"),
        ("[server]\nmax_head = 1T\n", "config.ini line 2 [server] max_head = '1T': expected a size in bytes"),
        ("[server]\nlog = loud\n", "config.ini line 2 [server] log = 'loud': expected text | line | json | off"),
        (
            "[server]\nprot = 1\n",
            "config.ini line 2 [server] prot: there is no key 'prot' in [server]; did you mean port?; it has host, port",
        ),
        (
            "[sever]\nport = 1\n",
            "config.ini line 1 [sever]: there is no section [sever]; did you mean server?; there are server, mock",
        ),
        ("[server two]\nport = 1\n", "there is no section [server two]"),
        ("[mock]\ntext = ${NOPE}\n", "config.ini line 2 [mock] text: the environment variable NOPE is not set"),
        ("[mock]\ntext = 5 $\n", "config.ini line 2 [mock] text: a lone $ is not understood; write $$"),
        (
            "[routes]\ngpt-* = nobody\n",
            "config.ini line 2 [routes] gpt-* = 'nobody': expected names of backends, of mock, keyed",
        ),
        ("[routes]\ngpt-* =\n", "config.ini line 2 [routes] gpt-* = nothing: expected names of backends"),
        ("[server]\nport = 1\nport = 2\n", "config.ini [server] port: stands there twice (line 3); keep one"),
        ("[server]\n[server]\n", "config.ini [server]: stands there twice (line 2); join the two"),
        ("port = 1\n", "config.ini line 1: 'port' … stands before the first [section]"),
        ("[server]\nport\n", "config.ini line 2: 'port' is not understood; expected 'key = value'"),
        ("[keyed mock]\ntimeout = 1\n", "two backends are called 'mock'"),
    ],
)
def test_mistake_is_one_line_that_says_where_and_what(text, message):
    with pytest.raises(UsageError) as caught:
        settings(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("assignment", ["mock", "mock.text", "text=x", "=x", ".text=x", "mock.=x"])
def test_set_refuses_what_is_no_assignment(assignment):
    with pytest.raises(UsageError, match="expected SECTION.KEY=VALUE"):
        settings("", assignment)


def test_secret_never_shows_in_a_mistake_or_in_check():
    made = settings("[keyed]\napi_key = sk-very-secret\n", backend="keyed")
    assert "sk-very-secret" not in describe(made)
    assert "api_key = ********" in describe(made)
    assert backend_options(made, "keyed").api_key == "sk-very-secret"


def test_what_check_prints_is_a_file_that_means_the_same():
    made = settings("[server]\ncors_origins = https://a.example, https://b.example\n[mock]\ntext = 5 $$\n  and more\n")
    assert settings(describe(made)) == made


def test_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UsageError, match="nowhere.ini: cannot be read: No such file"):
        configuration().read_file(str(tmp_path / "nowhere.ini"))
    binary = tmp_path / "binary.ini"
    binary.write_bytes(b"[mock]\ntext = \xff\n")
    with pytest.raises(UsageError, match="it is not UTF-8"):
        configuration().read_file(str(binary))


def test_byte_order_mark_is_taken_off(tmp_path):
    path = tmp_path / "config.ini"
    path.write_bytes(b"\xef\xbb\xbf[server]\nport = 1\n")
    made = configuration()
    made.read_file(str(path))
    assert made.settings(None, {}).server.port == 1


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("1", 1), ("64k", 65536), ("10M", 10 * 1024**2), ("1G", 1024**3)])
def test_sizes_take_units(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "k", "1K", "1m", "1.5k", "1 k", "-1", "0x10", "1_000"])
def test_sizes_refuse_anything_else(text):
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(text)


def test_integers_are_plain_digits_within_bounds():
    parse = parse_integer(1, 10)
    assert (parse("1"), parse("10")) == (1, 10)
    for text in ("0", "11", "+1", "1_0", " 1", "1.0", ""):
        with pytest.raises(ValueError, match="expected a whole number from 1 to 10"):
            parse(text)


def test_shipped_file_says_what_the_program_does_without_it():
    shipped = new_configuration()
    shipped.read_file(str(SOURCE / "config.ini"))
    assert shipped.settings(None, {}) == new_configuration().settings(None, {})


def test_shipped_file_documents_every_key():
    text = (SOURCE / "config.ini").read_text(encoding="utf-8")
    sections = {"server": ServerSettings, **{name: kind.settings for name, kind in KINDS.items()}}
    for name, cls in sections.items():
        body = text.split(f"\n[{name}]\n")[1].split("\n[")[0]
        for key, member in options_of(cls).items():
            line = next(line for line in body.splitlines() if line.split("=")[0].strip() == key)
            assert line.split(";", 1)[1].strip() == member.doc


def test_shipped_file_shows_each_kind_of_part_with_its_defaults():
    text = (SOURCE / "config.ini").read_text(encoding="utf-8")
    for kind, cls in PARTS.items():
        shown = re.search(rf"^; \[{kind} \w+\]\n((?:; \w+ = .*\n)+)", text, re.MULTILINE)[1]
        expected = [(key, member.default, member.doc) for key, member in options_of(cls).items()]
        assert re.findall(r"^; (\w+) = (.*?) *; (.*)$", shown, re.MULTILINE) == expected


def test_parts_are_named_and_found_by_name():
    made = new_configuration()
    made.read_text("[pace slow]\nfirst = 0.3 normal 20%\n[mock]\npace = slow\n", "config.ini")
    made.set_option("pace.fast.slots=4")
    settings = made.settings(None, {})
    assert settings.part("pace", "slow").first == "0.3 normal 20%" and settings.part("pace", "fast").slots == 4
    assert "[pace fast]" in describe(settings) and "first = 0.3 normal 20%" in describe(settings)
    with pytest.raises(
        UsageError,
        match=r"^pace = 'other': there is no section \[pace other\]; there are \[pace slow\], \[pace fast\]$",
    ):
        settings.part("pace", "other")
    with pytest.raises(UsageError, match=r"no section \[pace\]; did you mean pace NAME\?; there are"):
        made.set_option("pace.first=1")
        made.settings(None, {})


def test_a_pace_and_delays_exclude_each_other():
    with pytest.raises(UsageError, match="stands instead of delay"):
        settings("", "mock.pace=slow", "mock.delay=1")
