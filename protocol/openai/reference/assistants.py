"""Assistants, threads and ChatKit.

Source: OpenAI API reference. Notation: protocol/openai/api/{notation,operations}.py.
"""

from __future__ import annotations

ASSISTANTS_REFERENCE = """\
POST /assistants creates Assistant as asst_
  < {model str, name? str ..256, description? str ..512, instructions? str ..256000, tools? [AssistantTool] ..128,
    tool_resources? NewToolResources, metadata? Metadata, reasoning_effort? AssistantEffort,
    response_format? AssistantResponseFormat, temperature? num 0..2, top_p? num 0..1}
GET /assistants lists Assistant
  ? {after? str, before? str, limit? int 0..100, order? "asc"|"desc"}
GET /assistants/{assistant_id} gives Assistant
POST /assistants/{assistant_id} updates Assistant
  < {model? str, name? str ..256, description? str ..512, instructions? str ..256000, tools? [AssistantTool] ..128,
    tool_resources? ToolResources, metadata? Metadata, reasoning_effort? AssistantEffort,
    response_format? AssistantResponseFormat, temperature? num 0..2, top_p? num 0..1}
DELETE /assistants/{assistant_id} deletes {id str, object "assistant.deleted", deleted bool}

Assistant = {id str, object "assistant", created_at time, name? str, description? str, model str, instructions? str,
  tools [AssistantTool], tool_resources? ToolResources, metadata? map str, temperature? num 0..2, top_p? num 0..1,
  reasoning_effort? AssistantEffort, response_format? AssistantResponseFormat}
AssistantTool = CodeInterpreterTool|FileSearchTool|FunctionTool
CodeInterpreterTool = {type "code_interpreter"}
FileSearchTool = {type "file_search", file_search? {max_num_results? int 1..50, ranking_options? {
  score_threshold num 0..1, ranker? "auto"|"default_2024_08_21"}}}
AssistantEffort = "none"|"minimal"|"low"|"medium"|"high"|"xhigh"|"max"
AssistantResponseFormat = "auto"|TextFormatParamText|ResponseFormatJSONObject|ResponseFormatJSONSchema
ToolResources = {code_interpreter? {file_ids? [str] ..20}, file_search? {vector_store_ids? [str] ..1}}
# The request that makes a thread or an assistant may have a vector store made along with it.
NewToolResources = {code_interpreter? {file_ids? [str] ..20}, file_search? {vector_store_ids? [str] ..1,
  vector_stores? [{chunking_strategy? {type "auto"}|{type "static", static {chunk_overlap_tokens int 0..,
  max_chunk_size_tokens int 100..4096}}, file_ids? [str] ..10000, metadata? Metadata}] ..1}}

POST /threads creates Thread as thread_
  < NewThread
GET /threads/{thread_id} gives Thread
POST /threads/{thread_id} updates Thread
  < {metadata? Metadata, tool_resources? ToolResources}
DELETE /threads/{thread_id} deletes {id str, object "thread.deleted", deleted bool}

Thread = {id str, object "thread", created_at time, metadata? map str, tool_resources? ToolResources}
NewThread = {messages? [NewMessage], metadata? Metadata, tool_resources? NewToolResources}
NewMessage = {role "user"|"assistant", content str ..256000|[MessageImageFile|MessageImageURL|{type "text", text str}],
  attachments? [MessageAttachment], metadata? Metadata}

POST /threads/{thread_id}/messages creates Message as msg_
  < NewMessage
GET /threads/{thread_id}/messages lists Message
  ? {after? str, before? str, limit? int 0..100, order? "asc"|"desc", run_id? str}
GET /threads/{thread_id}/messages/{message_id} gives Message
POST /threads/{thread_id}/messages/{message_id} updates Message
  < {metadata? Metadata}
DELETE /threads/{thread_id}/messages/{message_id} deletes {id str, object "thread.message.deleted", deleted bool}

Message = {id str, object "thread.message", created_at time, thread_id str, status "completed"|"in_progress"|
  "incomplete", incomplete_details? {reason "content_filter"|"max_tokens"|"run_cancelled"|"run_expired"|"run_failed"},
  completed_at? time, incomplete_at? time, role "user"|"assistant", content [MessageText|MessageImageFile|
  MessageImageURL|{type "refusal", refusal str}], assistant_id? str, run_id? str, attachments? [MessageAttachment],
  metadata? map str}
MessageText = {type "text", text {value str, annotations [MessageCitation]}}
MessageCitation = {type "file_citation", text str, file_citation {file_id str}, start_index int, end_index int}|
  {type "file_path", text str, file_path {file_id str}, start_index int, end_index int}
MessageImageFile = {type "image_file", image_file {file_id str, detail? "auto"|"low"|"high"}}
MessageImageURL = {type "image_url", image_url {url str, detail? "auto"|"low"|"high"}}
MessageAttachment = {file_id? str, tools? [CodeInterpreterTool|AttachmentToolFileSearch]}
AttachmentToolFileSearch = {type "file_search"}

POST /threads/runs creates Run as run_ through queued 0.5 in_progress 1 completed
  < {assistant_id str, thread? NewThread, model? str, instructions? str ..256000, tools? [AssistantTool] ..20,
    tool_resources? ToolResources, metadata? Metadata, temperature? num 0..2, top_p? num 0..1, stream? bool,
    max_prompt_tokens? int 256.., max_completion_tokens? int 256.., truncation_strategy? RunTruncation,
    tool_choice? RunToolChoice, parallel_tool_calls? bool, response_format? AssistantResponseFormat}
POST /threads/{thread_id}/runs creates Run as run_ through queued 0.5 in_progress 1 completed
  ? {include? [StepInclude]}
  < {assistant_id str, model? str, reasoning_effort? AssistantEffort, instructions? str ..256000,
    additional_instructions? str, additional_messages? [NewMessage], tools? [AssistantTool] ..20,
    metadata? Metadata, temperature? num 0..2, top_p? num 0..1, stream? bool, max_prompt_tokens? int 256..,
    max_completion_tokens? int 256.., truncation_strategy? RunTruncation, tool_choice? RunToolChoice,
    parallel_tool_calls? bool, response_format? AssistantResponseFormat}
GET /threads/{thread_id}/runs lists Run
  ? {after? str, before? str, limit? int 0..100, order? "asc"|"desc"}
GET /threads/{thread_id}/runs/{run_id} gives Run
POST /threads/{thread_id}/runs/{run_id} updates Run
  < {metadata? Metadata}
POST /threads/{thread_id}/runs/{run_id}/submit_tool_outputs sets Run
  < {tool_outputs [{tool_call_id? str, output? str}], stream? bool}
POST /threads/{thread_id}/runs/{run_id}/cancel sets Run

Run = {id str, object "thread.run", created_at time, thread_id str, assistant_id str, status "queued"|"in_progress"|
  "requires_action"|"cancelling"|"cancelled"|"failed"|"completed"|"incomplete"|"expired", required_action? {
  type "submit_tool_outputs", submit_tool_outputs {tool_calls [RunFunctionCall]}}, last_error? {code "server_error"|
  "rate_limit_exceeded"|"invalid_prompt", message str}, expires_at? time, started_at? time, cancelled_at? time,
  failed_at? time, completed_at? time, incomplete_details? {reason? "max_completion_tokens"|"max_prompt_tokens"},
  model str, instructions str, tools [AssistantTool], metadata? map str, usage? RunUsage, temperature? num 0..2,
  top_p? num 0..1, max_prompt_tokens? int, max_completion_tokens? int, truncation_strategy? RunTruncation,
  tool_choice? RunToolChoice, parallel_tool_calls bool, response_format? AssistantResponseFormat}
RunFunctionCall = {id str, type "function", function {name str, arguments str}}
RunUsage = {prompt_tokens int, completion_tokens int, total_tokens int}
RunTruncation = {type "auto"|"last_messages", last_messages? int 1..}
RunToolChoice = "none"|"auto"|"required"|{type "function"|"code_interpreter"|"file_search", function? {name str}}

GET /threads/{thread_id}/runs/{run_id}/steps lists RunStep
  ? {after? str, before? str, include? [StepInclude], limit? int 0..100, order? "asc"|"desc"}
GET /threads/{thread_id}/runs/{run_id}/steps/{step_id} gives RunStep
  ? {include? [StepInclude]}

StepInclude = "step_details.tool_calls[*].file_search.results[*].content"
RunStep = {id str, object "thread.run.step", created_at time, assistant_id str, thread_id str, run_id str,
  type "message_creation"|"tool_calls", status "in_progress"|"cancelled"|"failed"|"completed"|"expired",
  step_details {type "message_creation", message_creation {message_id str}}|{type "tool_calls", tool_calls [StepCall]},
  last_error? {code "server_error"|"rate_limit_exceeded", message str}, expired_at? time, cancelled_at? time,
  failed_at? time, completed_at? time, metadata? map str, usage? RunUsage}
StepCall = {id str, type "function", function {name str, arguments str, output? str}}|
  {id str, type "code_interpreter", code_interpreter {input str, outputs [{type "logs", logs str}|{type "image",
  image {file_id str}}]}}|{id str, type "file_search", file_search {ranking_options? {ranker "auto"|
  "default_2024_08_21", score_threshold num}, results? [{file_id str, file_name str, score num, content? [{
  type? "text", text? str}]}]}}

POST /chatkit/sessions creates ChatKitSession as cksess_
  < {user str, workflow {id str, state_variables? map (str|bool|num), tracing? {enabled? bool}, version? str},
    chatkit_configuration? {automatic_thread_titling? {enabled? bool}, file_upload? {enabled? bool,
    max_file_size? int 1..512, max_files? int 1..}, history? {enabled? bool, recent_threads? int 1..}},
    expires_after? {anchor "created_at", seconds int 1..600}, rate_limits? {max_requests_per_1_minute? int 1..}}
POST /chatkit/sessions/{session_id}/cancel sets ChatKitSession with {status "cancelled"}

ChatKitSession = {id str, object "chatkit.session", client_secret str, expires_at time, status "active"|"expired"|
  "cancelled", user str, workflow {id str, state_variables? map (str|bool|num), tracing {enabled bool}, version? str},
  chatkit_configuration {automatic_thread_titling {enabled bool}, file_upload {enabled bool, max_file_size? int,
  max_files? int}, history {enabled bool, recent_threads? int}}, max_requests_per_1_minute int,
  rate_limits {max_requests_per_1_minute int}}

# At OpenAI a thread begins when somebody chats in a web page. Here each session makes one, with a greeting in it.
GET /chatkit/threads lists ChatKitThread
  ? {after? str, before? str, limit? int 0..100, order? "asc"|"desc", user? str}
GET /chatkit/threads/{thread_id} gives ChatKitThread
DELETE /chatkit/threads/{thread_id} deletes {id str, object "chatkit.thread.deleted", deleted bool}
GET /chatkit/threads/{thread_id}/items lists ChatKitItem
  ? {after? str, before? str, limit? int 0..100, order? "asc"|"desc"}

ChatKitThread = {id str, object "chatkit.thread", created_at time, title? str, user str, status {type "active"}|
  {type "locked", reason? str}|{type "closed", reason? str}}
ChatKitItem = ChatKitAnswer|ChatKitQuestion|ChatKitWidget|ChatKitCall|ChatKitTask|ChatKitTasks
ChatKitAnswer = {id str, object "chatkit.thread_item", created_at time, thread_id str,
  type "chatkit.assistant_message", content [{type "output_text", text str, annotations [{type "file", source {
  type "file", filename str}}|{type "url", source {type "url", url str}}]}]}
ChatKitQuestion = {id str, object "chatkit.thread_item", created_at time, thread_id str, type "chatkit.user_message",
  content [{type "input_text"|"quoted_text", text str}], attachments [{id str, type "image"|"file", mime_type str,
  name str, preview_url? str}], inference_options? {model? str, tool_choice? {id str}}}
ChatKitWidget = {id str, object "chatkit.thread_item", created_at time, thread_id str, type "chatkit.widget",
  widget str}
ChatKitCall = {id str, object "chatkit.thread_item", created_at time, thread_id str, type "chatkit.client_tool_call",
  status "in_progress"|"completed", call_id str, name str, arguments str, output? str}
ChatKitTask = {id str, object "chatkit.thread_item", created_at time, thread_id str, type "chatkit.task",
  task_type "custom"|"thought", heading? str, summary? str}
ChatKitTasks = {id str, object "chatkit.thread_item", created_at time, thread_id str, type "chatkit.task_group",
  tasks [{type "custom"|"thought", heading? str, summary? str}]}
"""
