"""Responses and conversations.

Source: OpenAI API reference. Notation: protocol/openai/api/{notation,operations}.py.
"""

from __future__ import annotations

RESPONSES_REFERENCE = """\
# A background response goes through these stages. Any other is made at once. OpenAI refuses max_output_tokens below 16;
# here they are taken, so that also a short text can be cut.
POST /responses creates Response as resp_ through queued 1 in_progress 2 completed
  < {access_programs? {cyber? "standard"|"daybreak_blue"|"daybreak_red"}, background? bool,
    context_management? [{type str, compact_threshold? int 0..}], conversation? str|VoiceID, image? ImageContext,
    include? Includes, input? ResponseInput, instructions? str, max_output_tokens? int 1.., max_tool_calls? int 0..,
    metadata? Metadata, model? str, moderation? Moderation,
    multi_agent? {enabled bool, max_concurrent_subagents? int}, parallel_tool_calls? bool, previous_response_id? str,
    prompt? ResponsePrompt, prompt_cache_key? str, prompt_cache_options? PromptCacheRequest,
    prompt_cache_retention? "in_memory"|"24h", reasoning? Reasoning, safety_identifier? str,
    service_tier? ResponseServiceTier, store? bool, stream_options? EventStream, temperature? num 0..2,
    text? TextConfig, tool_choice? ToolChoice, tools? ToolUnion, top_logprobs? int 0..20, top_p? num 0..1,
    truncation? "auto"|"disabled", user? str, stream? bool}
ResponseInput = str|InputItems
Includes = ["file_search_call.results"|"web_search_call.results"|"web_search_call.action.sources"|
  "message.input_image.image_url"|"computer_call_output.output.image_url"|"code_interpreter_call.outputs"|
  "reasoning.encrypted_content"|"message.output_text.logprobs"]
Reasoning = {context? "auto"|"current_turn"|"all_turns", effort? "none"|"minimal"|"low"|"medium"|"high"|"xhigh"|
  "max", generate_summary? "auto"|"concise"|"detailed", mode? str, summary? "auto"|"concise"|"detailed"}
TextConfig = {format? FormatUnion, verbosity? "low"|"medium"|"high"}
ResponseServiceTier = "auto"|"default"|"flex"|"scale"|"priority"|"fast"|"ultrafast"
ImageContext = {context_compression? "auto"|"enabled"|"disabled"}
PromptCacheRequest = {comparison_response_id? str, mode? "implicit"|"explicit", prewarm? bool, ttl? "30m"|"12h"}
ResponsePrompt = {id str, variables? map (str|ResponseInputText|ResponseInputImage|ResponseInputFile), version? str}
EventStream = {include_obfuscation? bool}
ToolChoice = "none"|"auto"|"required"|{mode "auto"|"required", tools [map any], type "allowed_tools"}|
  {type "file_search"|"web_search"|"web_search_preview"|"computer"|"computer_use_preview"|"computer_use"|
  "web_search_preview_2025_03_11"|"image_generation"|"code_interpreter"}|ToolChoiceFunction|ToolChoiceMcp|
  ToolChoiceCustom|ProgrammaticToolCalling|ToolChoiceApplyPatch|ToolChoiceShell

POST /responses/compact answers {id str, created_at time, object "response.compaction", output OutputItems,
  usage ResponseUsage, image? ImageCompression}
  < {model str|null, image? ImageContext, input? ResponseInput, instructions? str, previous_response_id? str,
    prompt_cache_key? str, prompt_cache_options? PromptCacheOptions5, prompt_cache_retention? "in_memory"|"24h",
    service_tier? "auto"|"default"|"fast"|"flex"|"priority"}
POST /responses/input_tokens answers {input_tokens int, object "response.input_tokens"}
  < {conversation? str|VoiceID, input? ResponseInput, instructions? str, model? str, parallel_tool_calls? bool,
    personality? str, previous_response_id? str, reasoning? Reasoning, text? TextConfig, tool_choice? ToolChoice,
    tools? ToolUnion, truncation? "auto"|"disabled"}
GET /responses/{response_id} gives Response
  ? {include? Includes, include_obfuscation? bool, starting_after? int 0.., stream? bool}
DELETE /responses/{response_id} deletes {id str, object "response", deleted bool}
POST /responses/{response_id}/cancel sets Response with {status "cancelled"}
GET /responses/{response_id}/input_items lists ResponseItem
  ? {after? str, include? Includes, limit? int 0..100, order? "asc"|"desc"}

# The type of an item decides how its id begins: msg_, fc_, fco_, rs_ and so on (protocol/mock/responses/items.py).
POST /conversations creates Conversation as conv_
  < {items? [InputItem] ..20, metadata? Metadata}
Conversation = {id str, created_at time, metadata any, object "conversation"}
GET /conversations/{conversation_id} gives Conversation
POST /conversations/{conversation_id} updates Conversation
  < {metadata Metadata|null}
DELETE /conversations/{conversation_id} deletes {id str, deleted bool, object "conversation.deleted"}
GET /conversations/{conversation_id}/items lists ConversationItem
  ? {after? str, include? Includes, limit? int 0..100, order? "asc"|"desc"}
POST /conversations/{conversation_id}/items creates ConversationItemList as msg_
  ? {include? Includes}
  < {items [InputItem] 1..20}
ConversationItemList = {data [ConversationItem], first_id str, has_more bool, last_id str, object "list"}
GET /conversations/{conversation_id}/items/{item_id} gives ConversationItem
  ? {include? Includes}
DELETE /conversations/{conversation_id}/items/{item_id} deletes Conversation

# A response.
Response = {id str, access_programs? {cyber "standard"|"daybreak_blue"|"daybreak_red"}, created_at time,
  error? ResponseError, incomplete_details? {reason? "max_output_tokens"|"max_messages"|"content_filter"|"steered"},
  instructions? ResponseInput, metadata? map str, model str, object "response", output OutputItems,
  parallel_tool_calls bool, temperature? num 0..2, tool_choice ToolChoice, tools ToolUnion3, top_p? num 0..1,
  background? bool, completed_at? time, conversation? VoiceID, image? ImageCompression,
  input_transformations? [{id str, action "removed", reason "organization_mismatch"|"end_user_mismatch"|
  "model_mismatch"|"prefix_mismatch"|"turn_boundary", type "reasoning"}], max_output_tokens? int,
  max_tool_calls? int, moderation? {input ModerationInputModerationResult|ModerationInputError,
  output ModerationInputModerationResult|ModerationInputError}, previous_response_id? str, prompt? ResponsePrompt,
  prompt_cache_diagnostics? {cache_missed_tokens int, reason "model_changed"|"prompt_cache_key_changed"|
  "tools_changed"|"text_format_changed"|"reasoning_effort_changed"|"verbosity_changed"|"context_compacted"|
  "input_changed"|"service_tier_changed", type "cache_miss", comparison_reusable_tokens? int}|{type "cache_hit"}|
  {type "comparison_response_not_found"}|{type "unavailable"}, prompt_cache_key? str,
  prompt_cache_options? {mode "implicit"|"explicit", ttl "30m"|"12h", comparison_response_id? str},
  prompt_cache_retention? "in_memory"|"24h", reasoning? Reasoning, safety_identifier? str,
  service_tier? ResponseServiceTier, status? "completed"|"failed"|"in_progress"|"cancelled"|"queued"|"incomplete",
  text? TextConfig, tool_usage? {image_gen {input_tokens int,
  input_tokens_details ToolUsageImageGenInputTokensDetails, output_tokens int, total_tokens int, cached_tokens? int,
  cached_tokens_details? {cached_image_tokens int, cached_text_tokens int},
  output_tokens_details? ToolUsageImageGenInputTokensDetails}, web_search {num_requests int}},
  top_logprobs? int 0..20, truncation? "auto"|"disabled", usage? ResponseUsage, user? str}
ResponseError = {code "server_error"|"rate_limit_exceeded"|"invalid_prompt"|"data_residency_mismatch"|"bio_policy"|
  "misalignment_policy_violation"|"vector_store_timeout"|"invalid_image"|"invalid_image_format"|
  "invalid_base64_image"|"invalid_image_url"|"image_too_large"|"image_too_small"|"image_parse_error"|
  "image_content_policy_violation"|"invalid_image_mode"|"image_file_too_large"|"unsupported_image_media_type"|
  "empty_image_file"|"failed_to_download_image"|"image_file_not_found", message str, misalignment? Misalignment,
  param? str, type? str}
Misalignment = {detailed_explanation? str, error_type? str, review_target? str, steer? {message str}}
ResponseUsage = {input_tokens int, input_tokens_details {cache_write_tokens int, cached_tokens int,
  cache_write_tokens_details? {ttl_12h_tokens int, ttl_30m_tokens int}}, output_tokens int,
  output_tokens_details OutputTokensDetails, total_tokens int}
OutputTokensDetails = {reasoning_tokens int}
ImageCompression = {context_compression "enabled"|"disabled"}
ToolUsageImageGenInputTokensDetails = {image_tokens int, text_tokens int}

# Items: of the input, of the output, and as they are listed. What an answer adds to an item, such as its id and status,
# a request may leave out; one that names a stored item by its id may leave out all else (openai/openai-openapi#575).
InputItems = [InputItem]
InputItem = InputMessage|AssistantMessage|GivenFileSearchCall|GivenComputerCall|ComputerCallOutput|
  GivenWebSearchCall|FunctionCall|FunctionCallOutput|ToolSearchCall|ToolSearchOutput|AdditionalTools|
  ConfigurationUpdate|GivenReasoning|CompactionInput|GivenImageCall|GivenCodeCall|GivenLocalShellCall|
  GivenLocalShellOutput|ShellCall|ShellCallOutput|ApplyPatchCall|ApplyPatchCallOutput|GivenMcpTools|GivenMcpRequest|
  McpApprovalResponse|GivenMcpCall|CustomToolCallOutput|CustomToolCall|CompactionTrigger|ItemReference|GivenProgram|
  GivenProgramOutput|AgentMessage|MultiAgentCall|MultiAgentCallOutput
OutputItems = [OutputMessage|FileSearchCall|FunctionCall|FunctionCallOutputItem|WebSearchCall|ComputerCall|
  ComputerCallOutputItem|ReasoningItem|Program|ProgramOutput|ToolSearchCallItem|ToolSearchOutputItem|
  AdditionalToolsItem|CompactionItem|ImageGenerationCall|CodeInterpreterCall|LocalShellCall|LocalShellCallOutput|
  ShellCallItem|ShellCallOutputItem|ApplyPatchCallItem|ApplyPatchCallOutputItem|McpCall|McpListTools|
  McpApprovalRequest|McpApprovalResponseItem|CustomToolCall|CustomToolCallOutputItem]
ResponseItem = InputMessageItem|OutputMessage|FileSearchCall|ComputerCall|ComputerCallOutputItem|WebSearchCall|
  FunctionCallItem|FunctionCallOutputItem|ToolSearchCallItem|ToolSearchOutputItem|AdditionalToolsItem|
  ConfigurationUpdateItem|ReasoningItem|Program|ProgramOutput|CompactionItem|ImageGenerationCall|
  CodeInterpreterCall|LocalShellCall|LocalShellCallOutput|ShellCallItem|ShellCallOutputItem|ApplyPatchCallItem|
  ApplyPatchCallOutputItem|McpListTools|McpApprovalRequest|McpApprovalResponseItem|McpCall|CustomToolCallItem|
  CustomToolCallOutputItem|AgentMessage|MultiAgentCall|MultiAgentCallOutput
ConversationItem = ConversationMessage|FunctionCallItem|FunctionCallOutputItem|FileSearchCall|WebSearchCall|
  ImageGenerationCall|ComputerCall|ComputerCallOutputItem|ToolSearchCallItem|ToolSearchOutputItem|
  AdditionalToolsItem|ConfigurationUpdateItem|ReasoningItem|Program|ProgramOutput|CompactionItem|
  CodeInterpreterCall|LocalShellCall|LocalShellCallOutput|ShellCallItem|ShellCallOutputItem|ApplyPatchCallItem|
  ApplyPatchCallOutputItem|McpListTools|McpApprovalRequest|McpApprovalResponseItem|McpCall|CustomToolCall|
  CustomToolCallOutput|AgentMessage|MultiAgentCall|MultiAgentCallOutput
ItemStatus = "in_progress"|"completed"|"incomplete"
Caller = {type "direct"}|{caller_id str, type "program"}

# Messages. The SDK's types let an assistant say `input_text`; OpenAI refuses it (jeremychone/rust-genai#119).
InputMessage = {content InputContent, role "user"|"system"|"developer", id? str, status? ItemStatus,
  phase? "commentary"|"final_answer", type? "message"}
AssistantMessage = {content str|[GivenOutputText|ResponseOutputRefusal], role "assistant", id? str,
  status? ItemStatus, phase? "commentary"|"final_answer", type? "message"}
GivenOutputText = {text str, type "output_text", annotations? [Annotation], logprobs? [OutputLogprob]}
InputMessageItem = {id str, content InputParts, role "user"|"system"|"developer", type "message",
  status? ItemStatus}
OutputMessage = {id str, content [OutputText|ResponseOutputRefusal], role "assistant", status ItemStatus,
  type "message", phase? "commentary"|"final_answer"}
ConversationMessage = {id str, content [ResponseInputText|OutputText|AgentMessageContentText|SummaryText|
  ReasoningText|ResponseOutputRefusal|ResponseInputImage|{detail "low"|"high"|"auto"|"original", file_id? str,
  image_url? str, type "computer_screenshot", prompt_cache_breakpoint? PromptCacheBreakpoint}|ResponseInputFile],
  role ItemRole, status ItemStatus, type "message", phase? "commentary"|"final_answer"}
ItemRole = "unknown"|"user"|"assistant"|"system"|"critic"|"discriminator"|"developer"|"tool"
InputContent = str|[ResponseInputText|ResponseInputImage|ResponseInputFile]
InputParts = [ResponseInputText|ResponseInputImage|ResponseInputFile]
ResponseInputText = {text str, type "input_text", prompt_cache_breakpoint? PromptCacheBreakpoint}
ResponseInputImage = {detail? "low"|"high"|"auto"|"original", type "input_image", file_id? str, image_url? str,
  prompt_cache_breakpoint? PromptCacheBreakpoint}
ResponseInputFile = {type "input_file", detail? "auto"|"low"|"high", file_data? str, file_id? str, file_url? str,
  filename? str, prompt_cache_breakpoint? PromptCacheBreakpoint}
OutputText = {annotations [Annotation], text str, type "output_text", logprobs? [OutputLogprob]}
Annotation = {file_id str, filename str, index int, type "file_citation"}|{end_index int, start_index int, title str,
  type "url_citation", url str}|{container_id str, end_index int, file_id str, filename str, start_index int,
  type "container_file_citation"}|{file_id str, index int, type "file_path"}
OutputLogprob = {token str, bytes [int], logprob num, top_logprobs [{token str, bytes [int], logprob num}]}
AgentMessageContentText = {text str, type "text"}

# Messages and calls between agents, which clients of the beta send (`?beta=true`); any item may then name its agent.
AgentMessage = {author str, content [ResponseInputText|ResponseInputImage|{encrypted_content str,
  type "encrypted_content"}], recipient str, type "agent_message", id? str, agent? AgentName}
MultiAgentCall = {action MultiAgentAction, arguments str, call_id str, type "multi_agent_call", id? str,
  agent? AgentName}
MultiAgentCallOutput = {action MultiAgentAction, call_id str, output [GivenOutputText], type "multi_agent_call_output",
  id? str, agent? AgentName}
MultiAgentAction = "spawn_agent"|"interrupt_agent"|"list_agents"|"send_message"|"followup_task"|"wait_agent"
AgentName = {agent_name str}

# Reasoning and compaction.
ReasoningItem = {id str, summary [SummaryText], type "reasoning", content? [ReasoningText], encrypted_content? str,
  status? ItemStatus}
GivenReasoning = {id? str, summary? [SummaryText], type "reasoning", content? [ReasoningText],
  encrypted_content? str, status? ItemStatus}
SummaryText = {text str, type "summary_text"}
ReasoningText = {text str, type "reasoning_text"}
CompactionInput = {encrypted_content str, type "compaction", id? str}
CompactionItem = {id str, encrypted_content str, type "compaction", created_by? str}
CompactionTrigger = {type "compaction_trigger", id? str}
ItemReference = {id str, type? "item_reference"}
ConfigurationUpdate = {type "configuration_update", id? str, reasoning? AgentReasoning3, text? TextFormatUpdate}
ConfigurationUpdateItem = {id str, type "configuration_update", reasoning? AgentReasoning3, text? TextFormatUpdate}
TextFormatUpdate = {format TextFormatParamText|TextFormatJsonSchema}

# Calls of the client's functions and tools.
FunctionCall = {arguments str, call_id str, name str, type "function_call", id? str, async? bool, caller? Caller,
  namespace? str, status? ItemStatus}
FunctionCallItem = {arguments str, call_id str, name str, type "function_call", id str, async? bool, caller? Caller,
  namespace? str, status ItemStatus, created_by? str}
FunctionCallOutput = {output str|[ResponseInputText|{type "input_image", detail? "low"|"high"|"auto"|"original",
  file_id? str, image_url? str, prompt_cache_breakpoint? PromptCacheBreakpoint}|ResponseInputFile],
  type "function_call_output", id? str, call_id? str, caller? Caller, name? str, namespace? str, status? ItemStatus}
FunctionCallOutputItem = {id str, output InputContent, status ItemStatus, type "function_call_output", call_id? str,
  caller? Caller, created_by? str, name? str, namespace? str}
CustomToolCall = {call_id str, input str, name str, type "custom_tool_call", id? str, async? bool, caller? Caller,
  namespace? str}
CustomToolCallItem = {call_id str, input str, name str, type "custom_tool_call", id str, async? bool,
  caller? Caller, namespace? str, status ItemStatus, created_by? str}
CustomToolCallOutput = {call_id str, output InputContent, type "custom_tool_call_output", id? str, caller? Caller}
CustomToolCallOutputItem = {call_id str, output InputContent, type "custom_tool_call_output", id str,
  caller? Caller, status ItemStatus, created_by? str}

# Calls that OpenAI makes.
FileSearchCall = {id str, queries [str], status "in_progress"|"searching"|"completed"|"incomplete"|"failed",
  type "file_search_call", results? [{attributes? map (str|num|bool), file_id? str, filename? str, score? num,
  text? str}]}
GivenFileSearchCall = {id? str, queries? [str], status? "in_progress"|"searching"|"completed"|"incomplete"|"failed",
  type "file_search_call", results? [{attributes? map (str|num|bool), file_id? str, filename? str, score? num,
  text? str}]}
WebSearchCall = {id str, action WebSearchAction, status "in_progress"|"searching"|"completed"|"incomplete"|"failed",
  type "web_search_call"}
GivenWebSearchCall = {id? str, action? WebSearchAction, status? "in_progress"|"searching"|"completed"|"incomplete"|
  "failed", type "web_search_call"}
WebSearchAction = {type "search", queries? [str], query? str, sources? [AnnotationURLSource]}|
  WebSearchActionResourceOpenPage|{pattern str, type "find_in_page", url str}
WebSearchActionResourceOpenPage = {type "open_page", url? str}
AnnotationURLSource = {type "url", url str}
CodeInterpreterCall = {id str, code str|null, container_id str, outputs [OutputLogs|OutputImage]|null,
  status InterpreterStatus, type "code_interpreter_call"}
GivenCodeCall = {id? str, code? str, container_id? str, outputs? [OutputLogs|OutputImage], status? InterpreterStatus,
  type "code_interpreter_call"}
InterpreterStatus = "in_progress"|"completed"|"incomplete"|"interpreting"|"failed"
OutputLogs = {logs str, type "logs"}
OutputImage = {type "image", url str}
ImageGenerationCall = {id str, result str|null, status "in_progress"|"completed"|"generating"|"failed",
  type "image_generation_call", action? "generate"|"edit"|"auto", background? "transparent"|"opaque"|"auto",
  error? {code str|null, message str, param str|null, type str, moderation_details? ImageModerationDetails},
  output_format? "png"|"webp"|"jpeg"|"gif"|"svg", quality? "low"|"medium"|"high"|"xhigh"|"max"|"auto",
  revised_prompt? str, size? str, svg_usage? ImageGenerationCallSvgUsage}
GivenImageCall = {id? str, result? str, status? "in_progress"|"completed"|"generating"|"failed",
  type "image_generation_call", action? "generate"|"edit"|"auto", background? "transparent"|"opaque"|"auto",
  error? {code str|null, message str, param str|null, type str, moderation_details? ImageModerationDetails},
  output_format? "png"|"webp"|"jpeg"|"gif"|"svg", quality? "low"|"medium"|"high"|"xhigh"|"max"|"auto",
  revised_prompt? str, size? str, svg_usage? ImageGenerationCallSvgUsage}
ImageModerationDetails = {categories [str], moderation_stage "input"|"output"|"unknown"}
ImageGenerationCallSvgUsage = {input_tokens int, model str, output_tokens int, reasoning_tokens int,
  total_tokens int}
Program = {id str, call_id str, code str, fingerprint str, type "program"}
ProgramOutput = {id str, call_id str, result str, status "completed"|"incomplete", type "program_output"}
GivenProgram = {id? str, call_id str, code str, fingerprint str, type "program"}
GivenProgramOutput = {id? str, call_id str, result str, status? "completed"|"incomplete", type "program_output"}

# MCP.
McpListTools = {id str, server_label str, tools [{input_schema any, name str, annotations? any, description? str}],
  type "mcp_list_tools", error? str}
GivenMcpTools = {id? str, server_label str, tools [{input_schema any, name str, annotations? any, description? str}],
  type "mcp_list_tools", error? str}
GivenMcpRequest = {id? str, arguments str, name str, server_label str, type "mcp_approval_request"}
McpApprovalRequest = {id str, arguments str, name str, server_label str, type "mcp_approval_request"}
McpApprovalResponse = {approval_request_id str, approve bool, type "mcp_approval_response", id? str, reason? str}
McpApprovalResponseItem = {id str, approval_request_id str, approve bool, type "mcp_approval_response", reason? str}
McpCall = {id str, arguments str, name str, server_label str, type "mcp_call", approval_request_id? str,
  error? McpError, output? str, status? McpStatus}
GivenMcpCall = {id? str, arguments str, name str, server_label str, type "mcp_call", approval_request_id? str,
  error? McpError, output? str, status? McpStatus}
McpError = {code int, message str, type "mcp_protocol_error"}|{content any, type "mcp_tool_execution_error"}|
  {code int, message str, type "http_error"}
McpStatus = "in_progress"|"completed"|"incomplete"|"calling"|"failed"

# Calls that the client carries out on a machine.
ComputerCall = {id str, call_id str, pending_safety_checks [PendingSafetyCheck], status ItemStatus,
  type "computer_call", action? ComputerAction, actions? [ComputerAction]}
GivenComputerCall = {id? str, call_id str, pending_safety_checks? [PendingSafetyCheck], status? ItemStatus,
  type "computer_call", action? ComputerAction, actions? [ComputerAction]}
ComputerAction = Click|{keys [str]|null, type "double_click", x int, y int}|Drag|Keypress|Move|Screenshot|Scroll|
  Type|Wait
Click = {button "left"|"right"|"wheel"|"back"|"forward", type "click", x int, y int, keys? [str]}
Drag = {path [{x int, y int}], type "drag", keys? [str]}
Keypress = {keys [str], type "keypress"}
Move = {type "move", x int, y int, keys? [str]}
Screenshot = {type "screenshot"}
Scroll = {scroll_x int, scroll_y int, type "scroll", x int, y int, keys? [str]}
Type = {text str, type "type"}
Wait = {type "wait"}
PendingSafetyCheck = {id str, code? str, message? str}
# OpenAI's guide and its sample application send screenshots as `input_image`.
ComputerCallOutput = {call_id str, output {type "computer_screenshot"|"input_image", file_id? str, image_url? str,
  detail? "low"|"high"|"auto"|"original", current_url? str}, type "computer_call_output", id? str,
  acknowledged_safety_checks? [PendingSafetyCheck], status? ItemStatus}
ComputerCallOutputItem = {id str, call_id str, output ComputerScreenshot, status "completed"|"incomplete"|"failed"|
  "in_progress", type "computer_call_output", acknowledged_safety_checks? [PendingSafetyCheck], created_by? str}
ComputerScreenshot = {type "computer_screenshot", file_id? str, image_url? str}
GivenLocalShellCall = {id? str, action {command [str], env? map str, type "exec", timeout_ms? int, user? str,
  working_directory? str}, call_id str, status? ItemStatus, type "local_shell_call"}
# The reference has the call's id in `id` alone; OpenAI's guide has it in `call_id`.
GivenLocalShellOutput = {id? str, call_id? str, output str, type "local_shell_call_output", status? ItemStatus}
LocalShellCall = {id str, action {command [str], env map str, type "exec", timeout_ms? int, user? str,
  working_directory? str}, call_id str, status ItemStatus, type "local_shell_call"}
LocalShellCallOutput = {id str, output str, type "local_shell_call_output", status? ItemStatus}
ShellCall = {action ShellAction, call_id str, type "shell_call", id? str, caller? Caller,
  environment? LocalEnvironment|ContainerReference, status? ItemStatus}
ShellCallItem = {id str, action ShellAction, call_id str, environment? {type "local"}|ContainerReference,
  status ItemStatus, type "shell_call", caller? Caller, created_by? str}
ShellAction = {commands [str], max_output_length? int, timeout_ms? int}
ShellCallOutput = {call_id str, output [{outcome ShellTimeout|ShellExit, stderr str, stdout str}],
  type "shell_call_output", id? str, caller? Caller, max_output_length? int, status? ItemStatus}
ShellCallOutputItem = {id str, call_id str, max_output_length? int, output [{outcome ShellTimeout|ShellExit,
  stderr str, stdout str, created_by? str}], status ItemStatus, type "shell_call_output", caller? Caller,
  created_by? str}
ShellExit = {exit_code int, type "exit"}
ShellTimeout = {type "timeout"}
ApplyPatchCall = {call_id str, operation OperationCreateFile|OperationDeleteFile|OperationUpdateFile,
  status "in_progress"|"completed", type "apply_patch_call", id? str, caller? Caller}
ApplyPatchCallItem = {id str, call_id str, operation OperationCreateFile|OperationDeleteFile|OperationUpdateFile,
  status "in_progress"|"completed", type "apply_patch_call", caller? Caller, created_by? str}
OperationCreateFile = {diff str, path str, type "create_file"}
OperationDeleteFile = {path str, type "delete_file"}
OperationUpdateFile = {diff str, path str, type "update_file"}
ApplyPatchCallOutput = {call_id str, status "completed"|"failed", type "apply_patch_call_output", id? str,
  caller? Caller, output? str}
ApplyPatchCallOutputItem = {id str, call_id str, status "completed"|"failed", type "apply_patch_call_output",
  caller? Caller, created_by? str, output? str}

# Tools that a search finds, while the response is made.
ToolSearchCall = {arguments any, type "tool_search_call", id? str, call_id? str, execution? "server"|"client",
  status? ItemStatus}
ToolSearchCallItem = {id str, arguments any, call_id? str, execution "server"|"client", status ItemStatus,
  type "tool_search_call", created_by? str}
ToolSearchOutput = {tools ToolUnion, type "tool_search_output", id? str, call_id? str, execution? "server"|"client",
  status? ItemStatus}
ToolSearchOutputItem = {id str, call_id? str, execution "server"|"client", status ItemStatus, tools ToolUnion3,
  type "tool_search_output", created_by? str}
AdditionalTools = {role "developer", tools ToolUnion, type "additional_tools", id? str}
AdditionalToolsItem = {id str, role ItemRole, tools ToolUnion3, type "additional_tools"}

# Tools.
ToolUnion = [ResponseFunctionTool|ResponseFileSearchTool|ComputerTool|ComputerUsePreviewTool|WebSearchTool|Mcp|
  ResponseCodeInterpreter|ProgrammaticToolCalling|ImageGenerationTool|LocalShellTool|ShellTool|CustomTool|
  NamespaceTool|ToolSearchTool|WebSearchPreviewTool|ApplyPatchTool]
ToolUnion3 = [ShownFunctionTool|ResponseFileSearchTool|ComputerTool|ComputerUsePreviewTool|WebSearchTool|Mcp|
  ResponseCodeInterpreter|ProgrammaticToolCalling|ImageGenerationTool|LocalShellTool|ShellTool|CustomTool|
  NamespaceTool|ToolSearchTool|WebSearchPreviewTool|ApplyPatchTool]
ResponseFunctionTool = {async? bool, name str 1..64, parameters map any|null, strict bool|null, type "function",
  allowed_callers? ["direct"|"programmatic"], defer_loading? bool, description? str, output_schema? map any}
ShownFunctionTool = {name str, parameters? map any, strict? bool, type "function", allowed_callers? ["direct"|
  "programmatic"], async? bool, defer_loading? bool, description? str, output_schema? map any}
CustomTool = {name str, type "custom", allowed_callers? ["direct"|"programmatic"], async? bool, defer_loading? bool,
  description? str, format? TextFormatParamText|{definition str, syntax "lark"|"regex", type "grammar"}}
NamespaceTool = {description str, name str, tools [{name str, type "function", allowed_callers? ["direct"|
  "programmatic"], async? bool, defer_loading? bool, description? str, output_schema? map any, parameters? any,
  strict? bool}|CustomTool], type "namespace"}
ResponseFileSearchTool = {type "file_search", vector_store_ids [str], filters? FiltersComparisonFilter|
  FiltersCompoundFilter, max_num_results? int 1..50, ranking_options? {hybrid_search? {embedding_weight num,
  text_weight num}, ranker? "auto"|"default-2024-11-15", score_threshold? num}}
FiltersComparisonFilter = {key str, type "eq"|"ne"|"gt"|"gte"|"lt"|"lte"|"in"|"nin", value str|num|bool|[str|num]}
FiltersCompoundFilter = {filters [FiltersComparisonFilter|any], type "and"|"or"}
WebSearchTool = {type "web_search"|"web_search_2025_08_26", external_web_access? bool,
  filters? {allowed_domains? [str]}, search_context_size? "low"|"medium"|"high", user_location? {city? str,
  country? str, region? str, timezone? str, type? "approximate"}}
WebSearchPreviewTool = {type "web_search_preview"|"web_search_preview_2025_03_11", search_content_types? ["text"|
  "image"], search_context_size? "low"|"medium"|"high", user_location? {type "approximate", city? str, country? str,
  region? str, timezone? str}}
ResponseCodeInterpreter = {container str|{type "auto", file_ids? [str], memory_limit? "1g"|"4g"|"16g"|"64g",
  network_policy? NetworkPolicyUnion}, type "code_interpreter", allowed_callers? ["direct"|"programmatic"]}
NetworkPolicyUnion = ContainerNetworkPolicyDisabled|{allowed_domains [str], type "allowlist",
  domain_secrets? [{domain str, name str, value str}]}
ContainerNetworkPolicyDisabled = {type "disabled"}
ImageGenerationTool = {type "image_generation", action? "generate"|"edit"|"auto", background? "transparent"|
  "opaque"|"auto", complexity? "low"|"medium"|"high", frame_count? int, frame_duration_ms? int,
  input_fidelity? "high"|"low", input_image_mask? ImageGenerationInputImageMask, model? str, moderation? "auto"|
  "low", output_compression? int 0..100, output_format? "png"|"webp"|"jpeg"|"gif"|"svg", partial_images? int 0..3,
  quality? "low"|"medium"|"high"|"xhigh"|"max"|"auto", size? str, svg? ImageGenerationSvg}
ImageGenerationInputImageMask = {file_id? str, image_url? str}
ImageGenerationSvg = {model? str, reasoning? AgentReasoning3}
Mcp = {server_label str, type "mcp", allowed_callers? ["direct"|"programmatic"], allowed_tools? [str]|McpToolFilter,
  authorization? str, connector_id? "connector_dropbox"|"connector_gmail"|"connector_googlecalendar"|
  "connector_googledrive"|"connector_microsoftteams"|"connector_outlookcalendar"|"connector_outlookemail"|
  "connector_sharepoint", defer_loading? bool, headers? map str, require_approval? {always? McpToolFilter,
  never? McpToolFilter}|"always"|"never", server_description? str, server_url? str, tunnel_id? str}
McpToolFilter = {read_only? bool, tool_names? [str]}
ComputerTool = {type "computer"}
ComputerUsePreviewTool = {display_height int, display_width int, environment "windows"|"mac"|"linux"|"ubuntu"|
  "browser", type "computer_use_preview"}
ShellTool = {type "shell", allowed_callers? ["direct"|"programmatic"], environment? {type "container_auto",
  file_ids? [str], memory_limit? "1g"|"4g"|"16g"|"64g", network_policy? NetworkPolicyUnion, skills? [SkillReference|
  HostedPlugin]}|LocalEnvironment|ContainerReference}
LocalEnvironment = {type "local", skills? [{description str, name str, path str}]}
ContainerReference = {container_id str, type "container_reference"}
LocalShellTool = {type "local_shell"}
ApplyPatchTool = {type "apply_patch", allowed_callers? ["direct"|"programmatic"]}
SkillReference = {skill_id str, type "skill_reference", version? str}
HostedPlugin = {description str, name str, source {data str, media_type "application/zip", type "base64"},
  type "inline"}
ToolSearchTool = {type "tool_search", description? str, execution? "server"|"client", parameters? any}
ProgrammaticToolCalling = {type "programmatic_tool_calling"}

# Choices.
ToolChoiceFunction = {name str, type "function"}
ToolChoiceCustom = {name str, type "custom"}
ToolChoiceMcp = {server_label str, type "mcp", name? str}
ToolChoiceShell = {type "shell"}
ToolChoiceApplyPatch = {type "apply_patch"}
FormatUnion = TextFormatParamText|TextFormatJsonSchema|ResponseFormatJSONObject
TextFormatJsonSchema = {name str, schema map any, type "json_schema", description? str, strict? bool}
AgentReasoning3 = {effort? "none"|"minimal"|"low"|"medium"|"high"|"xhigh"|"max"}
"""
