"""Skills: folders of files in versions. A version never changes; one of them is the default.

The name and the description of a skill are those at the head of its SKILL.md. A download is always a ZIP archive,
whether the files were uploaded as one or one by one.
"""

from __future__ import annotations

import re
import typing

from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.mock.engine.resources import Handler, create_record, deleted_answer
from protocol.mock.engine.store import Record, State
from protocol.mock.engine.world import Call, World
from protocol.mock.storage.files import download_response
from protocol.wire.archive import ArchiveError, read_archive, write_archive
from protocol.wire.json_text import JsonObject
from protocol.wire.multipart import FormFile

_SKILLS = "/skills"
# The most bytes of a version's files in all, unpacked.
_SKILL_BYTES = 50 * 1024 * 1024
_MANIFEST = re.compile(r"(?:.*/)?SKILL\.md", re.IGNORECASE)
_FRONT_MATTER = re.compile(r"\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_FRONT_MATTER_FIELD = re.compile(r"^(name|description):[ \t]*(.*?)[ \t\r]*$", re.MULTILINE)

SkillFiles = typing.List[typing.Tuple[str, bytes]]


class _SkillState(State):
    """What a skill knows and does not show: the number of its newest version, which none after it may have again."""

    __slots__ = ("newest_version",)

    def __init__(self) -> None:
        self.newest_version = 1


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

    def create(self, call: Call) -> JsonObject:
        """Make a skill; the files of the request are its version 1."""
        files = _uploaded_files(call)
        described = _manifest_fields(files, {"name": "skill", "description": ""})
        record = create_record(call, {**described, "default_version": "1", "latest_version": "1"})
        record.state = _SkillState()
        self._add(record, "1", described, files)
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

    def add_version(self, call: Call) -> JsonObject:
        """Add a version, and make it the default if the request says so."""
        files = _uploaded_files(call)
        skill = self._world.find(_SKILLS, call.names["skill_id"])
        state = skill.state = skill.state_of(_SkillState) or _SkillState()
        state.newest_version += 1
        described = _manifest_fields(files, {name: skill.object[name] for name in ("name", "description")})
        version = self._add(skill, str(state.newest_version), described, files)
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
        described = {name: version.object[name] for name in ("name", "description")}
        skill.object.update(described, default_version=version.id)

    def _add(self, skill: Record, version: str, described: JsonObject, files: SkillFiles) -> Record:
        world = self._world
        known = {"id": world.new_id("skillver_"), "skill_id": skill.id, "version": version, **described}
        object = world.make("SkillVersion", known)
        return world.store.add(f"{skill.path}/versions", version, object, write_archive(files))


def _uploaded_files(call: Call) -> SkillFiles:
    """Return the files of a form with their paths, unpacked where it is an archive; ApiError 400 for too many bytes."""
    uploaded = call.body.get("files")
    parts = [part for part in (uploaded if isinstance(uploaded, list) else [uploaded]) if isinstance(part, FormFile)]
    if len(parts) == 1 and parts[0].data.startswith(b"PK\x03\x04"):
        try:
            return read_archive(parts[0].data, _SKILL_BYTES)
        except ArchiveError as exc:
            raise ApiError(400, str(exc), param="files", code="invalid_archive") from exc
    if sum(len(part.data) for part in parts) > _SKILL_BYTES:
        message = f"A skill's files must have at most {_SKILL_BYTES} bytes in all."
        raise ApiError(400, message, param="files", code="file_too_large")
    return [(part.filename or part.name, part.data) for part in parts]


def _manifest_fields(files: SkillFiles, otherwise: JsonObject) -> JsonObject:
    """Return the name and the description in the manifest; where it lacks one, that of `otherwise`."""
    described = dict(otherwise)
    for path, content in files:
        front_matter = _FRONT_MATTER.match(content.decode("utf-8", "replace")) if _MANIFEST.fullmatch(path) else None
        if front_matter:
            fields = _FRONT_MATTER_FIELD.findall(front_matter[1])
            described.update((name, value.strip("\"'")) for name, value in fields if value)
            break
    return described


def _archive_response(version: Record) -> Response:
    content = version.content or write_archive([])
    name = re.sub(r"[^\w.-]+", "-", str(version.object.get("name") or "skill"))
    return download_response(content, f"{name}.zip", "application/zip")
