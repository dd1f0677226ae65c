"""Files, uploads, batches, containers and skills.

Source: OpenAI API reference. Notation: protocol/openai/api/{notation,operations}.py.
"""

from __future__ import annotations

FILES_REFERENCE = """\
GET /files lists FileObject
  ? {after? str, limit? int 0..10000, order? "asc"|"desc", purpose? str}
FileObject = {id str, bytes int, created_at time, filename str, object "file", purpose Purpose|"assistants_output"|
  "batch_output"|"fine-tune-results", status "uploaded"|"processed"|"error", expires_at? time, status_details? str}
POST /files creates FileObject as file-
  form {file file, purpose Purpose, expires_after? FileExpiry}
FileExpiry = {anchor "created_at", seconds int 3600..2592000}
Purpose = "assistants"|"batch"|"fine-tune"|"vision"|"user_data"|"evals"
GET /files/{file_id} gives FileObject
DELETE /files/{file_id} deletes {id str, deleted bool, object "file"}
GET /files/{file_id}/content gives bytes

POST /uploads creates Upload as upload_
  < {bytes int 0..8589934592, filename str, mime_type str, purpose Purpose, expires_after? FileExpiry}
Upload = {id str, bytes int, created_at time, expires_at time, filename str, object "upload", purpose str,
  status "pending"|"completed"|"cancelled"|"expired", file? FileObject}
POST /uploads/{upload_id}/cancel sets Upload with {status "cancelled"}
POST /uploads/{upload_id}/complete sets Upload with {status "completed"}
  < {part_ids [str], md5? str}
POST /uploads/{upload_id}/parts creates UploadPart as part_
  form {data file}
UploadPart = {id str, created_at time, object "upload.part", upload_id str}

GET /batches lists Batch
  ? {after? str, limit? int 0..100}
Batch = {id str, completion_window str, created_at time, endpoint str, input_file_id str, object "batch",
  status "validating"|"failed"|"in_progress"|"finalizing"|"completed"|"expired"|"cancelling"|"cancelled",
  cancelled_at? time, cancelling_at? time, completed_at? time, error_file_id? str, errors? BatchErrors,
  expired_at? time, expires_at? time, failed_at? time, finalizing_at? time, in_progress_at? time, metadata? map str,
  model? str, output_file_id? str, request_counts? {total int, completed int, failed int}, usage? BatchUsage}
BatchErrors = {data? [{code? str, line? int, message? str, param? str}], object? str}
BatchUsage = {input_tokens int, input_tokens_details {cached_tokens int}, output_tokens int,
  output_tokens_details {reasoning_tokens int}, total_tokens int}
# The stages of a batch are not described here: it takes as long as its lines do.
POST /batches creates Batch as batch_
  < {completion_window "24h", endpoint "/v1/responses"|"/v1/chat/completions"|"/v1/embeddings"|"/v1/completions"|
    "/v1/moderations"|"/v1/images/generations"|"/v1/images/edits"|"/v1/videos", input_file_id str, metadata? Metadata,
    output_expires_after? FileExpiry}
GET /batches/{batch_id} gives Batch
POST /batches/{batch_id}/cancel sets Batch with {status "cancelling"}

GET /containers lists Container
  ? {after? str, limit? int 0..100, name? str, order? "asc"|"desc"}
Container = {id str, created_at time, name str, object "container", status "running"|"active"|"expired"|"deleted",
  expires_after? {anchor? "last_active_at", minutes? int}, last_active_at? time, memory_limit? MemoryLimit,
  network_policy? {type "allowlist"|"disabled", allowed_domains? [str]}}
MemoryLimit = "1g"|"4g"|"16g"|"64g"
POST /containers creates Container as cntr_
  < {name str, expires_after? {anchor "last_active_at", minutes int 0..}, file_ids? [str], memory_limit? MemoryLimit,
    network_policy? NetworkPolicyUnion, skills? [SkillReference|HostedPlugin]}
GET /containers/{container_id} gives Container
DELETE /containers/{container_id} deletes {id str, deleted bool, object "container.deleted"}
GET /containers/{container_id}/files lists ContainerFile
  ? {after? str, limit? int 0..100, order? "asc"|"desc"}
ContainerFile = {id str, bytes int, container_id str, created_at time, object "container.file", path str,
  source "user"|"assistant"}
# The file comes in the form, or as the id of one in /files.
POST /containers/{container_id}/files creates ContainerFile as cfile_
  form {file? file, file_id? str}
GET /containers/{container_id}/files/{file_id} gives ContainerFile
DELETE /containers/{container_id}/files/{file_id} deletes {id str, deleted bool, object "container.file.deleted"}
GET /containers/{container_id}/files/{file_id}/content gives bytes

# Versions are numbered from 1. The last one is also called `latest`.
GET /skills lists Skill
  ? {after? str, limit? int 0..100, order? "asc"|"desc"}
Skill = {id str, created_at time, default_version str, description str, latest_version str, name str, object "skill"}
POST /skills creates Skill as skill_
  form {files? [file]|file}
GET /skills/{skill_id} gives Skill
POST /skills/{skill_id} updates Skill
  < {default_version str}
DELETE /skills/{skill_id} deletes {id str, deleted bool, object "skill.deleted"}
GET /skills/{skill_id}/content gives bytes
GET /skills/{skill_id}/versions lists SkillVersion
  ? {after? str, limit? int 0..100, order? "asc"|"desc"}
SkillVersion = {id str, created_at time, description str, name str, object "skill.version", skill_id str, version str}
POST /skills/{skill_id}/versions creates SkillVersion as skillver_
  form {default? bool, files? [file]|file}
GET /skills/{skill_id}/versions/{version} gives SkillVersion
DELETE /skills/{skill_id}/versions/{version} deletes {id str, deleted bool, object "skill.version.deleted",
  version str}
GET /skills/{skill_id}/versions/{version}/content gives bytes
"""
