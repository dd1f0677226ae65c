"""tests/check/arrows.py, on_demand.py and plan.py on small trees; `python tests/check` holds the real one to its plan."""

from __future__ import annotations

import textwrap

import pytest
from check.arrows import check_arrows
from check.on_demand import BadTable, loaded_names
from check.plan import BadPlan, Plan, covers, read_plan

PLAN = '''\
"""The house.

    errors -> nothing
        Refusals.
    wire -> errors
        Formats.
    service -> errors, wire
        Doors, and the log.
    relay -> wire, service/log
        A backend.

Pure: wire.
"""
'''

HOUSE = {
    "oaiserve.py": "from protocol.relay.backend import Relay\n",
    "protocol/__init__.py": PLAN,
    "protocol/errors.py": "import typing\n",
    "protocol/wire/__init__.py": '"""Formats."""\n',
    "protocol/wire/sse.py": "from protocol.errors import ApiError\n",
    "protocol/wire/http1/__init__.py": '"""HTTP/1.1."""\n',
    "protocol/wire/http1/readers.py": "import re\n\nfrom protocol.errors import ApiError\n",
    "protocol/service/__init__.py": '"""Doors."""\n',
    "protocol/service/doors.py": "from protocol.errors import ApiError\nfrom protocol.wire.sse import Event\n",
    "protocol/service/log.py": "import time\n",
    "protocol/relay/__init__.py": '"""A backend."""\n',
    "protocol/relay/backend.py": "from protocol.service.log import Log\nfrom protocol.wire.sse import Event\n",
}


def findings(changed: dict[str, str | None]) -> list[str]:
    """Check the house with modules of it changed, added, or (None) taken out."""
    files = {f"protocol/{name}.py": text for name, text in changed.items()}
    return check_arrows({path: text for path, text in {**HOUSE, **files}.items() if text is not None})


def house(*lines: str) -> dict[str, str]:
    """Return a house that has this plan and nothing else."""
    return {"protocol/__init__.py": '"""The house.\n\n' + "".join(f"    {line}\n" for line in lines) + '"""\n'}


def test_a_house_that_keeps_to_its_plan_has_no_findings():
    assert check_arrows(HOUSE) == []


def test_a_forbidden_arrow_is_named_with_file_and_line():
    assert findings({"wire/http1/readers": "import re\nfrom protocol.service.log import Log\n"}) == [
        "protocol/wire/http1/readers.py:2: wire may not import service/log, only errors (plan in protocol/__init__.py)"
    ]


def test_part_of_a_room_may_be_all_that_is_open():
    text = "from protocol.service.log import Log\nfrom protocol.wire.sse import Event\n"
    assert findings({"relay/backend": text + "from protocol.service.doors import Door\n"}) == [
        "protocol/relay/backend.py:3: relay may not import service/doors, only wire, service/log"
        " (plan in protocol/__init__.py)"
    ]


def test_a_room_may_import_itself():
    assert findings({"wire/sse": "from protocol.errors import A\nfrom protocol.wire.http1.readers import B\n"}) == []


def test_a_module_is_named_in_a_string_in_the_table_alone():
    text = HOUSE["protocol/wire/sse.py"]
    assert findings({"wire/sse": text + 'LATER = {"log": "protocol.service.log"}\n'}) == [
        'protocol/wire/sse.py:2: "protocol.service.log": what is loaded later stands in protocol/on_demand.py'
    ]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("import protocol.wire.sse", "`import protocol.wire.sse`: write `from protocol.x import Name`"),
        ("from . import doors", "a relative import: write `from protocol.x import Name`"),
        ("from .doors import Door", "a relative import: write `from protocol.x import Name`"),
        ("from protocol.wire.sse import *", "`import *` hides what comes in: name it"),
        ("from protocol.wire.sse import Event as E", "`Event as E`: a thing has one name, everywhere"),
        ("from protocol.wire.sse import _Event", "_Event is private to protocol.wire.sse"),
        ("from protocol.wire import sse", "there is no protocol/wire.py"),
        ("from protocol.wire.gone import Name", "there is no protocol/wire/gone.py"),
        ("from oaiserve import start", "nobody imports oaiserve: what is needed from there is handed in"),
        ("import oaiserve", "nobody imports oaiserve: what is needed from there is handed in"),
    ],
)
def test_imports_are_written_in_one_form(line: str, sentence: str):
    assert findings({"service/doors": HOUSE["protocol/service/doors.py"] + line + "\n"}) == [
        f"protocol/service/doors.py:3: {sentence}"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "def door():\n    from protocol.wire.sse import Event\n",
        "if True:\n    from protocol.wire.sse import Event\n",
        "try:\n    from protocol.wire.sse import Event\nexcept ImportError:\n    pass\n",
        "class Door:\n    from protocol.wire.sse import Event\n",
    ],
)
def test_an_import_of_ours_stands_at_column_0(text: str):
    assert findings({"service/doors": "from protocol.errors import A\n" + text}) == [
        "protocol/service/doors.py:3: an import of ours stands at the top of the module, at column 0"
    ]


def test_a_hidden_import_is_still_an_arrow():
    assert findings({"errors": "def f():\n    from protocol.wire.sse import Event\n"}) == [
        "protocol/errors.py:2: a circle: protocol/wire/sse.py -> protocol/errors.py -> protocol/wire/sse.py",
        "protocol/errors.py:2: an import of ours stands at the top of the module, at column 0",
        "protocol/errors.py:2: errors may not import wire/sse, only nothing (plan in protocol/__init__.py)",
    ]


def test_the_standard_library_may_be_imported_under_a_condition_but_not_in_a_function():
    guarded = "try:\n    import resource\nexcept ImportError:\n    resource = None\nif resource:\n    import zlib\n"
    assert findings({"errors": guarded}) == []
    assert findings({"errors": "def f():\n    import zlib\n"}) == [
        "protocol/errors.py:2: an import stands at the top of the module, not inside a function"
    ]


def test_a_package_holds_its_docstring_alone():
    assert findings({"wire/__init__": '"""Formats."""\n\nfrom protocol.wire.sse import Event\n'}) == [
        "protocol/wire/__init__.py:3: a package holds its docstring alone: who needs one part loads no other"
    ]


@pytest.mark.parametrize("line", ["import asyncio", "from time import monotonic", "import concurrent.futures"])
def test_a_pure_room_knows_no_event_loop_and_no_clock(line: str):
    name = line.split()[1]
    assert findings({"wire/http1/readers": f"{line}\nfrom protocol.errors import A\n"}) == [
        f"protocol/wire/http1/readers.py:1: wire is pure and may not import {name}"
    ]
    assert findings({"service/log": line + "\n"}) == []


def test_a_circle_within_a_room_is_found():
    one = "from protocol.errors import A\nfrom protocol.wire.http1.readers import B\n"
    two = "from protocol.wire.sse import C\n"
    assert findings({"wire/sse": one, "wire/http1/readers": two}) == [
        "protocol/wire/http1/readers.py:1: a circle: protocol/wire/sse.py -> protocol/wire/http1/readers.py"
        " -> protocol/wire/sse.py"
    ]


# What is loaded later

TABLE = """\
ON_DEMAND: dict[str, tuple[tuple[str, str], ...]] = {
    "relay": (("protocol.relay.backend", "Relay"),),
    "read /a": (("protocol.wire.sse", "Event"),),
    "read /b": (
        ("protocol.wire.http1.readers", "Reader"),
        ("protocol.service.log", "Log"),
    ),
}
"""
LOADING = {
    "oaiserve.py": "from protocol.on_demand import load\n\ndef run():\n    (relay,) = load('relay')\n",
    "protocol/__init__.py": PLAN.replace(
        "    wire ->", "    on_demand -> nothing\n        A table.\n    wire ->"
    ).replace("relay -> ", "relay -> on_demand, "),
    "protocol/on_demand.py": TABLE,
    "protocol/wire/sse.py": "from protocol.errors import ApiError\n\nclass Event: ...\n",
    "protocol/wire/http1/readers.py": "def Reader(): ...\n",
    "protocol/service/log.py": "Log: object = None\nOther = 1\n",
    "protocol/relay/backend.py": (
        "from protocol.on_demand import load\n\nRelay = None\n\ndef read(root):\n"
        "    occasion = f'read {root}'\n    return load(occasion)\n"
    ),
}


def loading(path: str = "", old: str = "", new: str = "") -> list[str]:
    """Check the house whose relay and wiring load what they need, after a change of one text."""
    files = {**HOUSE, **LOADING}
    if path:
        assert old in files[path]
        files[path] = files[path].replace(old, new)
    return check_arrows(files)


def test_what_is_loaded_later_counts_as_imported():
    assert loading() == []


def test_what_is_loaded_later_is_held_to_the_plan():
    text = "from protocol.on_demand import load\n"
    assert loading("protocol/__init__.py", "wire, service/log", "wire") == [
        "protocol/relay/backend.py:7: relay may not load service/log, only on_demand, wire"
        " (plan in protocol/__init__.py)"
    ]
    assert loading(
        "protocol/service/doors.py", "from protocol.errors", f"{text}load('relay')\nfrom protocol.errors"
    ) == [
        "protocol/service/doors.py:1: service may not import on_demand, only errors, wire"
        " (plan in protocol/__init__.py)",
        "protocol/service/doors.py:2: service may not load relay/backend, only errors, wire"
        " (plan in protocol/__init__.py)",
    ]


def test_what_is_loaded_later_closes_no_circle():
    plan = LOADING["protocol/__init__.py"].replace("    wire -> errors", "    wire -> errors, on_demand")
    sse = "from protocol.on_demand import load\nfrom protocol.errors import A\nclass Event: ...\nload('read /b')\n"
    readers = "from protocol.wire.sse import Event\ndef Reader(): ...\n"
    table = TABLE.replace('        ("protocol.service.log", "Log"),\n', "")
    changed = {
        "protocol/__init__.py": plan.replace(", service/log", ""),
        "protocol/on_demand.py": table,
        "protocol/wire/sse.py": sse,
        "protocol/wire/http1/readers.py": readers,
    }
    assert check_arrows({**HOUSE, **LOADING, **changed}) == []


@pytest.mark.parametrize(
    ("path", "old", "new", "sentence"),
    [
        ("oaiserve.py", "'relay'", "'rely'", "oaiserve.py:4: protocol/on_demand.py has no occasion 'rely'"),
        (
            "protocol/relay/backend.py",
            "f'read {root}'",
            "f'{root}'",
            "protocol/relay/backend.py:7: which occasion is loaded cannot be read: write its beginning out",
        ),
        (
            "protocol/relay/backend.py",
            "load(occasion)",
            "load(root)",
            "protocol/relay/backend.py:7: which occasion is loaded cannot be read: write its beginning out",
        ),
        (
            "protocol/on_demand.py",
            "relay.backend",
            "relay.back",
            "protocol/on_demand.py:2: there is no protocol/relay/back.py",
        ),
        ("protocol/on_demand.py", '"Log"', '"Logs"', "protocol/on_demand.py:6: protocol/service/log.py has no Logs"),
        ("protocol/on_demand.py", '"read /a"', '"write"', "protocol/on_demand.py:3: nobody loads 'write'"),
    ],
)
def test_the_table_and_who_asks_it_fit_together(path: str, old: str, new: str, sentence: str):
    assert sentence in loading(path, old, new)


def test_what_the_table_names_is_used():
    assert loaded_names(LOADING) == {
        ("protocol/relay/backend.py", "Relay"),
        ("protocol/wire/sse.py", "Event"),
        ("protocol/wire/http1/readers.py", "Reader"),
        ("protocol/service/log.py", "Log"),
    }


@pytest.mark.parametrize(
    "text", ["", "ON_DEMAND: dict = dict()", "ON_DEMAND: dict = {'a': [('b', 'c')]}", "ON_DEMAND: dict = {'a': (b,)}"]
)
def test_a_table_that_is_not_written_out_is_refused(text: str):
    with pytest.raises(BadTable, match=r"^protocol/on_demand\.py:1: expected"):
        check_arrows({"protocol/on_demand.py": text})


# Rooms and their plan


def test_a_room_that_the_plan_lacks_is_found():
    assert findings({"team/keys": "", "team/limits": ""}) == [
        "protocol/team/keys.py:1: the plan in protocol/__init__.py has no room for team"
    ]


def test_a_room_that_only_the_plan_has_is_found():
    assert findings({"errors": None, "wire/sse": "", "wire/http1/readers": "", "service/doors": ""}) == [
        "protocol/__init__.py:1: the plan has a room errors, and there is no such file or folder",
        "protocol/__init__.py:1: the plan lets service import errors, and nothing there does",
        "protocol/__init__.py:1: the plan lets service import wire, and nothing there does",
        "protocol/__init__.py:1: the plan lets wire import errors, and nothing there does",
    ]


def test_a_room_may_be_drawn_with_everything_above_it_and_with_nothing_below():
    plan = HOUSE["protocol/__init__.py"].replace(
        "    relay ->", "    program -> everything\n        All.\n    relay ->"
    )
    program = "from protocol.wire.sse import Event\nfrom protocol.service.doors import Door\n"
    assert findings({"__init__": plan, "program/main": program}) == []
    assert findings({"__init__": plan, "program/main": program + "from protocol.relay.backend import Relay\n"}) == [
        "protocol/program/main.py:3: program may not import relay/backend, only errors, wire, service "
        "(plan in protocol/__init__.py)"
    ]


def test_an_arrow_that_the_code_no_longer_has_leaves_the_plan():
    assert findings({"relay/backend": "from protocol.wire.sse import Event\n"}) == [
        "protocol/__init__.py:1: the plan lets relay import service/log, and nothing there does"
    ]


def test_the_house_must_have_a_plan():
    assert check_arrows({"protocol/__init__.py": '"""The parts."""\n'}) == [
        "protocol/__init__.py:1: the docstring draws no plan (tests/check/plan.py says how)"
    ]


def test_a_package_may_have_a_plan_of_its_own():
    inner = '"""Formats.\n\n    sse -> nothing\n    http1 -> nothing\n"""\n'
    assert findings({"wire/__init__": inner}) == []
    assert findings({"wire/__init__": inner, "wire/http1/readers": "from protocol.wire.sse import Event\n"}) == [
        "protocol/wire/http1/readers.py:1: http1 may not import sse, only nothing (plan in protocol/wire/__init__.py)"
    ]
    assert findings({"wire/__init__": '"""Formats.\n\n    sse -> nothing\n"""\n'}) == [
        "protocol/wire/http1/__init__.py:1: the plan in protocol/wire/__init__.py has no room for http1"
    ]


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["a -> b", "b -> nothing"], "a -> b: only what stands above a in the plan may be named"),
        (["a -> a"], "a -> a: only what stands above a in the plan may be named"),
        (["a -> nothing", "a -> nothing"], "a stands in the plan twice"),
        (["a -> nothing", "b -> a and c"], "b -> a and c: expected rooms with ', ' between them, or the word nothing"),
    ],
)
def test_a_plan_that_cannot_hold_is_refused(lines: list[str], sentence: str):
    assert check_arrows(house(*lines)) == [f"protocol/__init__.py:1: {sentence}"]


def test_reads_a_plan():
    drawn = """\
        Rooms:

            errors -> nothing
                What a -> b means here is prose.
            wire -> errors
            mapping/deep -> errors,
                wire
                Everything else.

        Pure: wire,
        mapping/deep. And so on.
        """
    arrows = {"errors": (), "wire": ("errors",), "mapping/deep": ("errors", "wire")}
    assert read_plan(textwrap.dedent(drawn)) == Plan(arrows, ("wire", "mapping/deep"))
    assert read_plan("No rooms here.") is None
    with pytest.raises(BadPlan, match="Pure: wire is no room of the plan"):
        read_plan("    errors -> nothing\n\nPure: wire.")


def test_the_innermost_room_counts():
    plan = Plan({"dashscope/mapping": (), "dashscope": ("dashscope/mapping",)}, ())
    assert plan.room_of("dashscope/mapping/chat") == "dashscope/mapping"
    assert plan.room_of("dashscope/backend") == "dashscope"
    assert plan.room_of("dashscope_more") is None
    assert covers("wire", "wire") and covers("wire", "wire/sse") and not covers("wire", "wires")
