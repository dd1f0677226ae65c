"""Skills: folders of files in versions. A version never changes; one of them is the default.

The name and the description of a skill are those at the head of its SKILL.md. A download is always a ZIP archive,
whether the files were uploaded as one or one by one.
"""

from __future__ import annotations

import re
import typing

from protocol.budget import spend_turn
from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.mock.engine.resources import Handler, create_record, deleted_answer
from protocol.mock.engine.store import Record, State
from protocol.mock.engine.world import Call, World
from protocol.mock.storage.files import download_response
from protocol.turns import in_turns
from protocol.wire.archive import ArchiveError, read_archive, write_archive
from protocol.wire.json_text import JsonObject
from protocol.wire.multipart import FormFile

_SKILLS = "/skills"
# The most bytes of a version's files in all, unpacked, and the most files (OpenAI's guide "Skills", "Limits").
_SKILL_BYTES = 50 * 1024 * 1024
_SKILL_FILES = 500
_MANIFEST = re.compile(r"(?:.*/)?SKILL\.md", re.IGNORECASE)
# Front matter stands at the beginning of a manifest, which is no larger as a rule.
_FRONT_MATTER_BYTES = 64 * 1024
_FRONT_MATTER_EDGE = "---"
_FRONT_MATTER_FIELDS = ("name", "description")


class _SkillState(State):
    """What a skill knows and does not show: the number of its newest version, which none after it may have again."""

    __slots__ = ("newest_version",)

    def __init__(self) -> None:
        self.newest_version = 1


class _Uploaded(typing.NamedTuple):
    """The files of a version as an archive, and what their manifest says of them."""

    described: JsonObject
    archive: bytes


class Skills:
    """The family of /skills."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        versions = "/skills/{skill_id}/versions"
        return {
            "POST /skills": self.create,
            "POST /skills/{skill_id}": self.update,
            "GET /skills/{skill_id}/content": self.download,
            f"POST {versions}": self.add_version,
            f"DELETE {versions}/{{version}}": self.delete_version,
            f"GET {versions}/{{version}}/content": self.download_version,
        }

    def create(self, call: Call) -> JsonObject | typing.Awaitable[JsonObject]:
        """Make a skill; the files of the request are its version 1."""
        return _with_files(call, self._create)

    def _create(self, call: Call) -> JsonObject:
        uploaded = _read_files(call)
        described = {"name": "skill", "description": "", **uploaded.described}
        record = create_record(call, {**described, "default_version": "1", "latest_version": "1"})
        record.state = _SkillState()
        self._add(record, "1", described, uploaded.archive)
        return record.object

    def update(self, call: Call) -> JsonObject:
        """Make another version the default."""
        record = call.record()
        self._make_default(record, self._version(record, str(call.body.get("default_version"))))
        return record.object

    def download(self, call: Call) -> Response:
        """Answer the default version's files."""
        record = self._world.find(_SKILLS, call.names["skill_id"])
        return _archive_response(self._version(record, record.object["default_version"]))

    def add_version(self, call: Call) -> JsonObject | typing.Awaitable[JsonObject]:
        """Add a version, and make it the default if the request says so."""
        return _with_files(call, self._add_version)

    def _add_version(self, call: Call) -> JsonObject:
        uploaded = _read_files(call)  # others are answered meanwhile, so the skill is looked for behind it
        skill = self._world.find(_SKILLS, call.names["skill_id"])
        state = skill.state = skill.state_of(_SkillState) or _SkillState()
        state.newest_version += 1
        described = {**{name: skill.object[name] for name in _FRONT_MATTER_FIELDS}, **uploaded.described}
        version = self._add(skill, str(state.newest_version), described, uploaded.archive)
        skill.object["latest_version"] = version.id
        if call.body.get("default") is True:
            self._make_default(skill, version)
        return version.object

    def delete_version(self, call: Call) -> JsonObject:
        """Remove a version; ApiError 400 for the default one."""
        skill = self._world.find(_SKILLS, call.names["skill_id"])
        version = self._version(skill, call.names["version"])
        if version.id == skill.object["default_version"]:
            raise ApiError(
                400, f"Version {version.id} is the default version and cannot be deleted: set another default first.",
                param="version", code="default_version",
            )  # fmt: skip
        store = self._world.store
        store.remove(version.collection, version.id)
        left = [record.id for record in store.all(version.collection)]
        if left:
            skill.object["latest_version"] = left[-1]
        return {**deleted_answer(call, version.object["id"]), "version": version.id}

    def download_version(self, call: Call) -> Response:
        """Answer a version's files."""
        skill = self._world.find(_SKILLS, call.names["skill_id"])
        return _archive_response(self._version(skill, call.names["version"]))

    def _version(self, skill: Record, version: str) -> Record:
        """Return a version by its number or `latest`; ApiError 404."""
        if version == "latest":
            version = skill.object["latest_version"]
        return self._world.find(f"{skill.path}/versions", version, param="version")

    def _make_default(self, skill: Record, version: Record) -> None:
        described = {name: version.object[name] for name in _FRONT_MATTER_FIELDS}
        skill.object.update(described, default_version=version.id)

    def _add(self, skill: Record, version: str, described: JsonObject, archive: bytes) -> Record:
        world = self._world
        known = {"id": world.new_id("skillver_"), "skill_id": skill.id, "version": version, **described}
        object = world.make("SkillVersion", known)
        return world.store.add(f"{skill.path}/versions", version, object, archive)


def _with_files(call: Call, handle: typing.Callable[[Call], JsonObject]) -> JsonObject | typing.Awaitable[JsonObject]:
    """Handle a request; one with an archive in turns with others, since a short one may unpack to much."""
    if _archive_in(_form_files(call)) is None:
        return handle(call)
    return in_turns(lambda: handle(call))


def _form_files(call: Call) -> list[FormFile]:
    uploaded = call.body.get("files")
    return [part for part in (uploaded if isinstance(uploaded, list) else [uploaded]) if isinstance(part, FormFile)]


def _archive_in(parts: typing.Sequence[FormFile]) -> bytes | None:
    return parts[0].data if len(parts) == 1 and parts[0].data.startswith(b"PK\x03\x04") else None


def _read_files(call: Call) -> _Uploaded:
    """Return the files of a form, unpacked where it has an archive; ApiError 400 for too many files or bytes."""
    parts = _form_files(call)
    archive = _archive_in(parts)
    try:
        if archive is not None:
            files = read_archive(archive, _SKILL_BYTES, most_files=_SKILL_FILES, spend=spend_turn)
        else:
            files = [(part.filename or part.name, part.data) for part in parts]
            _check_size(files)
        return _Uploaded(_manifest_fields(files), write_archive(files, spend=spend_turn))
    except ArchiveError as exc:
        raise ApiError(400, str(exc), param="files", code="invalid_archive") from exc


def _check_size(files: typing.Sequence[tuple[str, bytes]]) -> None:
    if len(files) > _SKILL_FILES:
        message = f"A skill has at most {_SKILL_FILES} files, but these are {len(files)}."
        raise ApiError(400, message, param="files", code="too_many_files")
    if sum(len(content) for _, content in files) > _SKILL_BYTES:
        message = f"A skill's files must have at most {_SKILL_BYTES} bytes in all."
        raise ApiError(400, message, param="files", code="file_too_large")


def _manifest_fields(files: typing.Iterable[tuple[str, bytes]]) -> JsonObject:
    """Return the name and the description in the first manifest that has front matter, those that it has."""
    for path, content in files:
        if _MANIFEST.fullmatch(path):
            fields = _front_matter(content[:_FRONT_MATTER_BYTES].decode("utf-8", "replace"))
            if fields is not None:
                return fields
    return {}


def _front_matter(text: str) -> JsonObject | None:
    """Return the fields between two lines of three hyphens, of which the first begins the text; None without them."""
    first, *lines = text.removeprefix("\ufeff").split("\n")
    if first.rstrip() != _FRONT_MATTER_EDGE:
        return None
    fields: JsonObject = {}
    for line in lines:
        if line.rstrip() == _FRONT_MATTER_EDGE:
            return fields
        name, _, value = line.partition(":")
        value = value.strip(" \t\r")
        if name in _FRONT_MATTER_FIELDS and value:
            fields[name] = value.strip("\"'")
    return None


def _archive_response(version: Record) -> Response:
    content = version.content or write_archive([])
    name = re.sub(r"[^\w.-]+", "-", str(version.object.get("name") or "skill"))
    return download_response(content, f"{name}.zip", "application/zip")
