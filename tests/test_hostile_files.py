"""Pictures, recordings and archives of strangers: work in proportion to their bytes, in turns that are short."""

from __future__ import annotations

import asyncio
import random
import struct
import zipfile

import mocks
import pytest
from hostile_files import HOSTILE_ARCHIVES, HOSTILE_PICTURES, HOSTILE_SOUNDS, archive_of, deflated
from steps import steps_of, steps_of_turns
from test_media_sound import RECORDINGS

from protocol.budget import spend_turn
from protocol.errors import ApiError
from protocol.mock.media.picture import picture_file, read_picture_head
from protocol.mock.media.recording import sound_seconds
from protocol.mock.media.sound import SPEECH_FORMATS, SpokenSound
from protocol.mock.text.document import text_of
from protocol.wire.archive import ArchiveError, read_archive, write_archive

# A turn has 5,000 steps of protocol/budget.py; steps here are calls, of which a round of a parser makes some.
MOST_CALLS_A_TURN = 60_000
MOST_UNPACKED = 1_000_000


def unpack(data):
    """Return the files of an archive, None where it is refused."""
    try:
        return read_archive(data, MOST_UNPACKED, most_files=500, spend=spend_turn)
    except ArchiveError:
        return None


# ---- what says the most of itself

SOUNDS = pytest.mark.parametrize("make", HOSTILE_SOUNDS.values(), ids=HOSTILE_SOUNDS)
PICTURES = pytest.mark.parametrize("make", HOSTILE_PICTURES.values(), ids=HOSTILE_PICTURES)
ARCHIVES = pytest.mark.parametrize("make", HOSTILE_ARCHIVES.values(), ids=HOSTILE_ARCHIVES)


@SOUNDS
def test_a_recording_costs_steps_in_proportion(make):
    for size in (1000, 30_000):
        data = make(size)
        assert steps_of(lambda data=data: sound_seconds(data)) <= 5 * size + 500


@SOUNDS
def test_others_are_answered_while_a_recording_is_read(make):
    data = make(300_000)
    turns = steps_of_turns(lambda: sound_seconds(data))
    assert max(turns) < MOST_CALLS_A_TURN and (sum(turns) < MOST_CALLS_A_TURN or len(turns) > 1)


def test_no_more_than_a_million_parts_are_looked_at():
    sound = b"fmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16) + b"data\0\0\0\0" + bytes(16000)
    chunks = HOSTILE_SOUNDS["wav of empty chunks"]
    assert sound_seconds(chunks(8 * 990_000) + sound) == 1
    assert sound_seconds(chunks(8 * 1_010_000) + sound) is None


def test_a_recording_of_more_than_a_million_frames_counts_for_a_million():
    data = HOSTILE_SOUNDS["aac of the shortest frames"](7 * 1_001_000)
    assert sound_seconds(data) == 1_000_000 * 1024 / 44_100


@PICTURES
def test_a_picture_s_head_costs_a_bounded_number_of_steps(make):
    for size in (1000, 100_000, 10_000_000):
        data = make(size)
        assert steps_of(lambda data=data: read_picture_head(data)) <= min(5 * size + 100, 60_000)
        assert read_picture_head(data) is None


def test_fill_bytes_and_metadata_before_the_size_of_a_jpeg_are_passed_over():
    data = picture_file("otter", 96, 64, picture_format="jpeg")
    metadata = (b"\xff\xe2\xff\xff" + bytes(0xFFFD)) * 300
    for fill in (1, 2, 65_535, 65_536, 65_537, 200_000):
        assert read_picture_head(data[:2] + metadata + b"\xff" * fill + data[2:]) == ("jpeg", 96, 64)


@ARCHIVES
def test_an_archive_costs_steps_in_proportion_and_memory_within_its_bound(make):
    for size in (1000, 300_000):
        data = make(size)
        assert steps_of(lambda data=data: unpack(data)) <= len(data) // 2 + MOST_UNPACKED // 1000 + 500
        assert sum(len(content) for _, content in unpack(data) or ()) <= MOST_UNPACKED


def test_one_file_that_is_named_again_is_refused_and_bytes_between_files_are_not():
    assert unpack(archive_of(1, b"content", method=0)) == [("SKILL.md", b"content")]
    for method in (0, 8):
        assert len(read_archive(archive_of(2, b"\3\0", method=method), MOST_UNPACKED)) == 2
        with pytest.raises(ArchiveError, match="more bytes than the archive"):
            read_archive(archive_of(1000, b"\3\0".ljust(9000, b"\0"), method=method), 100 * MOST_UNPACKED)
    with pytest.raises(ArchiveError, match="more than 2 files"):
        read_archive(archive_of(3, b"", method=0), MOST_UNPACKED, most_files=2)


def test_a_packed_file_that_has_no_end_is_refused():
    packed = deflated(bytes(range(256)) * 9)
    assert unpack(archive_of(1, packed)) == [("SKILL.md", bytes(range(256)) * 9)]
    for end in range(1, len(packed)):
        with pytest.raises(ArchiveError):
            read_archive(archive_of(1, packed[:end]), MOST_UNPACKED)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 1_048_576, 1_048_577, 3_500_000])
@pytest.mark.parametrize("content", [b"\0", b"some words, "], ids=["nothing but zeros", "words"])
def test_a_packed_file_is_unpacked_to_the_last_byte_whatever_pieces_it_comes_in(size, content):
    data = (content * (size // len(content) + 1))[:size]
    assert read_archive(archive_of(1, deflated(data)), size) == [("SKILL.md", data)]
    if size:
        with pytest.raises(ArchiveError, match="too many bytes"):
            read_archive(archive_of(1, deflated(data)), size - 1)


def test_an_archive_is_unpacked_and_written_in_short_turns():
    files = [("a", bytes(20_000_000)), ("b", b"b" * 9)]
    bomb = archive_of(1, deflated(files[0][1]))
    for work in (
        lambda: read_archive(bomb, 20_000_000, spend=spend_turn),
        lambda: write_archive(files, spend=spend_turn),
    ):
        turns = steps_of_turns(work)
        assert len(turns) > 3 and max(turns) < 100


def test_only_what_is_wanted_is_unpacked():
    data = write_archive([("a", b"1"), ("b", b"2" * MOST_UNPACKED)])
    assert read_archive(data, 1, wanted=lambda path: path == "a") == [("a", b"1")]


def test_paths_that_no_archive_can_hold_are_refused():
    assert read_archive(write_archive([("é" * 32767, b"")]), 0) == [("é" * 32767, b"")]
    with pytest.raises(ArchiveError, match="at most 65535 bytes, but this one has 65536"):
        write_archive([("é" * 32768, b"")])
    with pytest.raises(ArchiveError, match="at most 65535 files, but these are 65536"):
        write_archive([("", b"")] * 65536)


# ---- skills


def make_skill(*parts):
    return mocks.ask(mocks.make_mock(), "POST", "/v1/skills", *mocks.make_form(*parts))


def refusal(*parts):
    with pytest.raises(ApiError) as caught:
        make_skill(*parts)
    return caught.value.status, caught.value.code


@ARCHIVES
def test_a_skill_of_a_hostile_archive_is_made_or_refused(make):
    try:
        assert make_skill(("files", "a.zip", make(50_000)))["object"] == "skill"
    except ApiError as exc:
        assert (exc.status, exc.code) == (400, "invalid_archive")


def test_a_skill_has_a_bounded_number_of_files_whose_paths_can_be_told():
    many = [("files[]", f"{number}", b"") for number in range(501)]
    assert make_skill(*many[:500])["name"] == "skill"
    assert refusal(*many) == (400, "too_many_files")
    assert refusal(("files", "a.zip", archive_of(501, b"", method=0))) == (400, "invalid_archive")
    assert refusal(("files", "a.zip", archive_of(1, b"", method=0, name=b"\xff" * 30_000))) == (400, "invalid_archive")


@pytest.mark.parametrize(
    "front_matter",
    [
        b"name: a" + b" " * 60_000 + b"b\ndescription: x\n",
        b"name: a" + b" \t" * 30_000 + b"b\n" + b"description: y\n",
        b"x\n" * 30_000,
        b"---" + b" " * 60_000 + b"x\n",
        (b"\n---" + b" " * 9 + b"x") * 5000,
        b"name:" * 12_000 + b"\n",
    ],
    ids=["spaces", "white space", "lines", "an edge that is none", "edges that are none", "names"],
)
def test_front_matter_costs_steps_in_proportion(front_matter):
    manifest = b"---\n" + front_matter + b"\n---\n" + b"words\n---\n" * 100_000
    mock = mocks.make_mock()
    mocks.ask(mock, "POST", "/v1/skills", *mocks.make_form(("files[]", "SKILL.md", b"")))
    form = mocks.make_form(("files[]", "SKILL.md", manifest))
    request = mocks.make_request("POST", "/v1/skills", *form)
    assert steps_of(lambda: mock.endpoint(request).answer(request)) < 150_000


@pytest.mark.parametrize(
    ("manifest", "name", "description"),
    [
        (b"---\nname: a\ndescription: b\n---\n", "a", "b"),
        (b"\xef\xbb\xbf---  \r\nname:\t'a' \r\ndescription: \"b: c\"\t\r\n---\t\r\n", "a", "b: c"),
        (b"---\nname: a\n---", "a", ""),
        (b"---\nname: a\nname:\n---\n", "a", ""),
        (b"---\nname: ''\n---\n", "", ""),
        (b"---\n name: a\nnames: b\n---\n", "skill", ""),
        (b"---\nname: a\n", "skill", ""),
        (b"----\nname: a\n---\n", "skill", ""),
        (b"\n---\nname: a\n---\n", "skill", ""),
        (b"---\nname: " + b"x" * 70_000 + b"\n---\n", "skill", ""),
        (b"---\nname: \xff\n---\n", "\ufffd", ""),
    ],
    ids=["plain", "mark, tabs and quotes", "no last line end", "empty", "empty on purpose", "other names", "no end",
         "four hyphens", "not at the beginning", "endless", "not utf-8"],
)  # fmt: skip
def test_front_matter_tells_a_skill_s_name(manifest, name, description):
    skill = make_skill(("files[]", "SKILL.md", manifest))
    assert (skill["name"], skill["description"]) == (name, description)


# ---- mutations of valid files


def mutations(data, count, seed):
    """Yield a file with some bytes changed, cut out or repeated."""
    chance = random.Random(seed)
    for _ in range(count):
        mutated = bytearray(data)
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(len(mutated) + 1)
            what = chance.randrange(4)
            if what == 0:
                mutated[at : at + 1] = bytes((chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256))),))
            elif what == 1:
                del mutated[at : at + chance.randint(1, 40)]
            elif what == 2:
                mutated[at:at] = mutated[at : at + chance.randint(1, 40)] * chance.randint(1, 5)
            else:
                mutated[at : at + 4] = chance.choice((bytes(4), b"\xff" * 4, b"\0\0\0\1", b"\x7f\xff\xff\xff"))
        yield bytes(mutated)


SOUND_FILES = {name: data[:3000] for name, data, _ in RECORDINGS if data} | {
    name: SpokenSound(3, name).file()[:3000] for name in SPEECH_FORMATS
}
PICTURE_FILES = {name: picture_file("otter", 40, 30, picture_format=name) for name in ("png", "jpeg", "webp")}
PICTURE_FILES["gif"] = b"GIF89a\x28\0\x1e\0" + bytes(20)
PICTURE_FILES["webp, extended"] = b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x27\0\0\x1d\0\0" + bytes(9)
PICTURE_FILES["webp, lossy"] = b"RIFF\x20\0\0\0WEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a\x28\0\x1e\0" + bytes(9)


@pytest.mark.parametrize("name", SOUND_FILES)
def test_mutated_recordings_cost_steps_in_proportion(name):
    for data in mutations(SOUND_FILES[name], 60, name):
        seconds = []
        assert steps_of(lambda data=data, seconds=seconds: seconds.append(sound_seconds(data))) <= 5 * len(data) + 500
        assert seconds[0] is None or seconds[0] >= 0


@pytest.mark.parametrize("name", PICTURE_FILES)
def test_mutated_pictures_cost_steps_in_proportion(name):
    assert read_picture_head(PICTURE_FILES[name])[1:] == (40, 30)
    for data in mutations(PICTURE_FILES[name], 200, name):
        assert steps_of(lambda data=data: read_picture_head(data)) <= 5 * len(data) + 100


@pytest.mark.parametrize("name", ["written here", "deflated", "of another program"])
def test_mutated_archives_cost_steps_in_proportion(name, tmp_path):
    files = [("a/SKILL.md", b"---\nname: a\n---\n"), ("a/b", b"words " * 100)]
    if name == "deflated":
        valid = archive_of(1, deflated(b"words " * 1000), unpacked=6000)
    else:
        valid = write_archive(files)
    if name == "of another program":
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file, content in files:
                archive.writestr(file, content)
        valid = path.read_bytes()
    assert unpack(valid)
    for data in mutations(valid, 300, name):
        assert steps_of(lambda data=data: unpack(data)) <= len(data) + 500


# ---- the text of files

HOSTILE_TEXTS = {
    "beginnings of tags": "<",
    "tags without an end": "<a",
    "beginnings of comments": "<!--",
    "ends of comments": "-->",
    "beginnings of comments and tags": "<!--<p>",
    "scripts without an end": "<script>",
    "ampersands": "&",
    "characters by number": "&#65;",
    "characters by name": "&amp;",
    "empty tags": "<p>",
    "one word": "a",
    "words": "a ",
    "hyphens": "-",
    "white space": " \u00a0",
    "lines": "\n",
}


@pytest.mark.parametrize("name", ["a.html", "a.txt", "a.docx"])
@pytest.mark.parametrize("part", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS)
def test_reading_a_text_takes_short_turns_and_steps_in_proportion(part, name):
    text = part * (150_000 // len(part))
    data = text.encode()
    if name == "a.docx":
        data = archive_of(1, deflated(data), name=b"word/document.xml")
    turns = steps_of_turns(lambda: text_of(data, name, 10**7))
    assert sum(turns) <= 12 * len(text) and max(turns) < MOST_CALLS_A_TURN


@pytest.mark.parametrize("data", [b"\x80" * 9_000_000, b"\x80" + b"a" * 9_000_000, b"\x80abcdef" * 200_000],
                         ids=["nothing readable", "one run", "short runs"])  # fmt: skip
def test_reading_what_is_no_text_takes_short_turns(data):
    turns = steps_of_turns(lambda: text_of(data, "a.pdf", 10**8))
    assert len(turns) > 3 and max(turns) < MOST_CALLS_A_TURN


@pytest.mark.parametrize("size", [64_990, 65_000, 65_001, 65_010, 131_000, 1_000_000])
def test_a_tag_with_a_picture_in_it_is_no_text(size):
    tag = f'<img src="{"A" * size}">'
    assert text_of(f"<p>be{tag}fore<p>behind".encode(), "a.html", 10**7) == "before\nbehind"
    assert text_of(f"<p>be{tag[:-1]}<p>behind".encode(), "a.html", 10**7) == f"be{tag[:-1]}\nbehind"


def test_characters_by_numbers_of_any_length_are_no_accident():
    for digits in (8, 9, 4_299, 4_301, 1_000_000):
        for mark in ("&#", "&#x", "&#X"):
            assert text_of(f"<p>a {mark}{'1' * digits}; b".encode(), "a.html", 10**7).endswith(" b")
    assert text_of(b"<p>&#65;&#x42;&#67 &amp;lt; &notit; &nosuch; &", "a.html", 99) == "ABC &lt; ¬it; &nosuch; &"


@pytest.mark.parametrize(
    ("data", "name"),
    [(b"word " * 10_000, "a.txt"), (b"<p>word" * 10_000, "a.html"), (b"\x80" + b"words, \x80" * 10_000, "a.bin"),
     (archive_of(1, deflated(b"<p>word" * 10_000), name=b"word/document.xml"), "a.docx")],
    ids=["text", "markup", "binary", "office"],
)  # fmt: skip
def test_a_text_is_read_until_it_is_longer_than_it_may_be(data, name):
    whole = text_of(data, name, 10**6)
    assert text_of(data, name, len(whole)) == whole
    cut = text_of(data, name, 30_000)
    assert 30_000 < len(cut) < 100_000 and whole.startswith(cut)


def test_a_small_archive_that_unpacks_to_much_is_indexed_in_turns():
    bomb = archive_of(1, deflated(b"<w:p>word" * 100_000), name=b"word/document.xml")
    assert len(bomb) < 16_384
    mock = mocks.make_mock()
    file = mocks.upload(mock, "a.docx", bomb)
    store = mocks.ask(mock, "POST", "/v1/vector_stores", {})

    async def indexed():
        path = f"/v1/vector_stores/{store['id']}/files"
        mocks.ask(mock, "POST", path, {"file_id": file["id"]})
        added = mocks.world_of(mock).store.all(f"/vector_stores/{store['id']}/files")[0]
        turns = 0
        while added.object["status"] == "in_progress":
            await asyncio.sleep(0)
            turns += 1
        return added.object["status"], turns

    status, turns = asyncio.run(indexed())
    assert status == "completed" and turns > 20


def test_many_small_files_of_one_second_are_not_indexed_at_once():
    mock = mocks.make_mock()
    file = mocks.upload(mock, "a.txt", b"word " * 1000)
    store = mocks.ask(mock, "POST", "/v1/vector_stores", {})

    async def statuses():
        for _ in range(10):
            copy = mocks.upload(mock, "a.txt", b"word " * 1000)
            mocks.ask(mock, "POST", f"/v1/vector_stores/{store['id']}/files", {"file_id": copy["id"]})
        records = mocks.world_of(mock).store.all(f"/vector_stores/{store['id']}/files")
        at_once = [len(record.plan) for record in records]
        while any(record.object["status"] == "in_progress" for record in records if not record.plan):
            await asyncio.sleep(0)
        return at_once

    assert file["bytes"] == 5000
    assert sum(asyncio.run(statuses())) == 3  # 15,000 bytes
