"""Vector stores and embeddings.

Source: OpenAI API reference. Notation: protocol/openai/api/{notation,operations}.py.
"""

from __future__ import annotations

VECTORS_REFERENCE = """\
GET /vector_stores lists VectorStore
  ? {after? str, before? str, limit? int 0..100, order? "asc"|"desc"}
VectorStore = {id str, created_at time, file_counts FileCounts, last_active_at? time, metadata? map str, name str,
  description? str, object "vector_store", status "completed"|"in_progress"|"expired", usage_bytes int,
  expires_after? VectorStoreExpiry, expires_at? time}
VectorStoreExpiry = {anchor "last_active_at", days int 1..365}
FileCounts = {cancelled int, completed int, failed int, in_progress int, total int}
POST /vector_stores creates VectorStore as vs_
  < {chunking_strategy? ChunkingStrategyUnion, description? str, expires_after? VectorStoreExpiry,
    file_ids? [str] ..500, metadata? Metadata, name? str}
ChunkingStrategyUnion = {type "auto"}|StaticChunking
StaticChunking = {static {max_chunk_size_tokens int 100..4096, chunk_overlap_tokens int 0..2048}, type "static"}
GET /vector_stores/{vector_store_id} gives VectorStore
POST /vector_stores/{vector_store_id} updates VectorStore
  < {expires_after? VectorStoreExpiry, metadata? Metadata, name? str}
DELETE /vector_stores/{vector_store_id} deletes {id str, deleted bool, object "vector_store.deleted"}

# A file has the id here that it has in /files. It is ready after a second.
GET /vector_stores/{vector_store_id}/files lists VectorStoreFile
  ? {after? str, before? str, filter? FileState, limit? int 0..100, order? "asc"|"desc"}
FileState = "in_progress"|"completed"|"failed"|"cancelled"
VectorStoreFile = {id str, created_at time, last_error? {code "server_error"|"unsupported_file"|"invalid_file",
  message str}, object "vector_store.file", status FileState, usage_bytes int, vector_store_id str,
  attributes? FileAttributes, chunking_strategy? StaticChunking|WebSearchActionResourceOther}
FileAttributes = map (str ..512|num|bool) ..16
WebSearchActionResourceOther = {type "other"}
POST /vector_stores/{vector_store_id}/files creates VectorStoreFile
  < FileToAdd
FileToAdd = {file_id str, attributes? FileAttributes, chunking_strategy? ChunkingStrategyUnion}
GET /vector_stores/{vector_store_id}/files/{file_id} gives VectorStoreFile
POST /vector_stores/{vector_store_id}/files/{file_id} updates VectorStoreFile
  < {attributes FileAttributes|null}
DELETE /vector_stores/{vector_store_id}/files/{file_id} deletes {id str, deleted bool,
  object "vector_store.file.deleted"}
GET /vector_stores/{vector_store_id}/files/{file_id}/content lists {text? str, type? str} whole

POST /vector_stores/{vector_store_id}/file_batches creates VectorStoreFileBatch as vsfb_
  < {attributes? FileAttributes, chunking_strategy? ChunkingStrategyUnion, file_ids? [str] ..2000,
    files? [FileToAdd] ..2000}
VectorStoreFileBatch = {id str, created_at time, file_counts FileCounts, object "vector_store.files_batch",
  status FileState, vector_store_id str}
GET /vector_stores/{vector_store_id}/file_batches/{batch_id} gives VectorStoreFileBatch
POST /vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel
  sets VectorStoreFileBatch with {status "cancelled"}
GET /vector_stores/{vector_store_id}/file_batches/{batch_id}/files lists VectorStoreFile
  ? {after? str, before? str, filter? FileState, limit? int 0..100, order? "asc"|"desc"}

# The best results come first. A score is from 0 to 1.
POST /vector_stores/{vector_store_id}/search answers {object str, search_query [str], data [SearchResult],
    has_more bool, next_page str|null}
  < {query str|[str], filters? SearchFilter, max_num_results? int 1..50, ranking_options? {ranker? "none"|"auto"|
    "default-2024-11-15", score_threshold? num 0..1}, rewrite_query? bool}
SearchResult = {attributes? FileAttributes, content [{text str, type "text"}], file_id str, filename str, score num}
SearchFilter = {key str, type "eq"|"ne"|"gt"|"gte"|"lt"|"lte"|"in"|"nin", value str|num|bool|[str|num]}|
  {filters [SearchFilter], type "and"|"or"}

# In base64 the floats have 32 bits and are little-endian. There may be 2,048 inputs at most.
POST /embeddings answers {data [{embedding [num]|str, index int, object "embedding"}], model str, object "list",
  usage {prompt_tokens int, total_tokens int}}
  < {input str|[str]|[int]|[[int]], model str, dimensions? int, encoding_format? "float"|"base64", user? str}
"""
