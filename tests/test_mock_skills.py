"""Skills of the mock: versions of files, one of which is the default; and the archives that they come in."""

from __future__ import annotations

import io
import zipfile

import mocks
import pytest

from protocol.errors import ApiError
from protocol.wire.archive import ArchiveError, read_archive, write_archive

MANIFEST = b"---\r\nname: basic-math\r\ndescription: 'Adds numbers.'\r\n---\r\nUse it.\r\n"
FILES = [("files[]", "math/SKILL.md", MANIFEST), ("files[]", "math/calc.py", b"print(1)")]


def post(mock, path, *parts):
    return mocks.ask(mock, "POST", f"/v1/skills{path}", *mocks.make_form(*parts))


def unzipped(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(method, **files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("math/", b"")
        for name, content in files.items():
            archive.writestr(f"math/{name}", content)
    return buffer.getvalue()


def refused(call):
    with pytest.raises(ApiError) as caught:
        call()
    return caught.value


# ---- skills


def test_a_skill_is_called_what_its_manifest_says():
    mock = mocks.make_mock()
    skill = post(mock, "", *FILES)
    assert skill == {
        "id": skill["id"],
        "created_at": int(mocks.NOW),
        "default_version": "1",
        "description": "Adds numbers.",
        "latest_version": "1",
        "name": "basic-math",
        "object": "skill",
    }
    (version,) = mocks.ask(mock, "GET", f"/v1/skills/{skill['id']}/versions")["data"]
    assert (version["version"], version["skill_id"], version["name"]) == ("1", skill["id"], "basic-math")


def test_a_skill_s_content_is_an_archive_of_its_files():
    mock = mocks.make_mock()
    skill = post(mock, "", *FILES)
    for path in ("", "/versions/1", "/versions/latest"):
        answer = mocks.respond(mock, "GET", f"/v1/skills/{skill['id']}{path}/content")
        assert unzipped(answer.body) == {"math/SKILL.md": MANIFEST, "math/calc.py": b"print(1)"}
        assert b"content-type: application/zip\r\n" in answer.fields


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_a_skill_may_come_as_an_archive(method):
    mock = mocks.make_mock()
    skill = post(mock, "", ("files", "math.zip", zipped(method, **{"SKILL.md": MANIFEST})))
    assert skill["name"] == "basic-math"
    answer = mocks.respond(mock, "GET", f"/v1/skills/{skill['id']}/content")
    assert unzipped(answer.body) == {"math/SKILL.md": MANIFEST}


def test_a_new_version_is_the_latest_and_the_default_when_it_is_asked_for():
    mock = mocks.make_mock()
    path = f"/{post(mock, '', *FILES)['id']}"
    second = post(mock, f"{path}/versions", ("files[]", "math/SKILL.md", MANIFEST.replace(b"basic", b"more")))
    assert (second["version"], second["name"]) == ("2", "more-math")
    skill = mocks.ask(mock, "GET", f"/v1/skills{path}")
    assert (skill["default_version"], skill["latest_version"], skill["name"]) == ("1", "2", "basic-math")
    post(mock, f"{path}/versions", ("default", "true"), *FILES)
    skill = mocks.ask(mock, "GET", f"/v1/skills{path}")
    assert (skill["default_version"], skill["latest_version"]) == ("3", "3")
    skill = mocks.ask(mock, "POST", f"/v1/skills{path}", {"default_version": "2"})
    assert (skill["default_version"], skill["name"]) == ("2", "more-math")
    content = mocks.respond(mock, "GET", f"/v1/skills{path}/content").body
    assert list(unzipped(content)) == ["math/SKILL.md"]


def test_the_default_version_cannot_be_deleted_but_others_can():
    mock = mocks.make_mock()
    path = f"/{post(mock, '', *FILES)['id']}"
    second = post(mock, f"{path}/versions", *FILES)
    error = refused(lambda: mocks.ask(mock, "DELETE", f"/v1/skills{path}/versions/1"))
    assert (error.status, error.param) == (400, "version")
    gone = mocks.ask(mock, "DELETE", f"/v1/skills{path}/versions/2")
    assert gone == {"id": second["id"], "deleted": True, "object": "skill.version.deleted", "version": "2"}
    assert mocks.ask(mock, "GET", f"/v1/skills{path}")["latest_version"] == "1"
    # A number is never given twice.
    assert post(mock, f"{path}/versions", *FILES)["version"] == "3"


def test_what_is_not_there_is_404():
    mock = mocks.make_mock()
    id = post(mock, "", *FILES)["id"]
    assert refused(lambda: mocks.ask(mock, "GET", f"/v1/skills/{id}/versions/7")).status == 404
    assert refused(lambda: mocks.ask(mock, "POST", f"/v1/skills/{id}", {"default_version": "7"})).status == 404
    assert mocks.ask(mock, "DELETE", f"/v1/skills/{id}") == {"id": id, "deleted": True, "object": "skill.deleted"}
    for path in ("", "/content", "/versions", "/versions/1"):
        assert refused(lambda path=path: mocks.ask(mock, "GET", f"/v1/skills/{id}{path}")).status == 404


def test_a_broken_archive_is_refused():
    error = refused(lambda: post(mocks.make_mock(), "", ("files", "math.zip", b"PK\x03\x04 and no more")))
    assert (error.status, error.param) == (400, "files")


# ---- archives


CONTENTS = [("a/ü.txt", b"hello"), ("b", b""), ("c", bytes(range(256)) * 100)]


def test_what_is_written_is_read_by_us_and_by_others():
    data = write_archive(CONTENTS)
    assert read_archive(data, 100_000) == CONTENTS
    assert unzipped(data) == dict(CONTENTS)
    assert write_archive(CONTENTS) == data


def test_an_archive_that_unpacks_to_too_much_is_refused():
    bomb = zipped(zipfile.ZIP_DEFLATED, bomb=bytes(100_001))
    assert len(bomb) < 1000
    assert len(read_archive(bomb, 100_001)[0][1]) == 100_001
    with pytest.raises(ArchiveError, match="too many bytes"):
        read_archive(bomb, 100_000)


@pytest.mark.parametrize("cut", [0, 3, 30, -30, -5])
def test_an_archive_that_is_cut_short_is_refused(cut):
    with pytest.raises(ArchiveError):
        read_archive(write_archive(CONTENTS)[:cut], 100_000)
