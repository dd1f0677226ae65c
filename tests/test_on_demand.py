"""protocol/on_demand.py: the table of what is imported when, held against the modules and the mock's operations."""

from __future__ import annotations

import pytest
from mocks import make_mock

from protocol.on_demand import ON_DEMAND, load
from protocol.openai.api.operations import Reference
from protocol.openai.reference.whole import API_REFERENCE

REFERENCE = Reference(lambda: API_REFERENCE)
FAMILIES = {occasion: occasion[len("mock below ") :] for occasion in ON_DEMAND if occasion.startswith("mock below /")}


@pytest.mark.parametrize("occasion", ON_DEMAND)
def test_gives_what_the_table_names(occasion):
    given = load(occasion)
    assert [getattr(thing, "__name__", name) for thing, (_, name) in zip(given, ON_DEMAND[occasion])] == [
        name for _, name in ON_DEMAND[occasion]
    ]


def test_knows_no_other_occasion():
    with pytest.raises(KeyError):
        load("mock below /nothing")


@pytest.mark.parametrize(("occasion", "root"), FAMILIES.items(), ids=str)
def test_paths_of_the_mock_begin_as_the_description_has_them(occasion, root):
    assert any(key.split(" ")[1].split("/")[1] == root[1:] for key in REFERENCE.keys())


def test_every_operation_of_a_family_finds_it():
    """A family must stand under each root that its operations have, or its first request would not find it."""
    api = make_mock()._own._loaded_api()
    kinds = {kind for occasion in FAMILIES for kind in load(occasion)}
    for kind in kinds:
        for key in kind(api.world).operations():
            root = f"/{key.split(' ')[1].split('/')[1]}"
            assert kind in load(f"mock below {root}"), key
            assert api.families.handler(REFERENCE.operation(key)) is not None
