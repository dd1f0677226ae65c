"""Chat completions and legacy completions.

Source: OpenAI API reference. Notation: protocol/openai/api/{notation,operations}.py.
"""

from __future__ import annotations

CHAT_REFERENCE = """\
POST /chat/completions creates ChatCompletion
  < ChatRequest
GET /chat/completions lists ChatCompletion
  ? {after? str, limit? int 0.., metadata? map str, model? str, order? "asc"|"desc"}
GET /chat/completions/{completion_id} gives ChatCompletion
POST /chat/completions/{completion_id} updates ChatCompletion
  < {metadata Metadata|null}
DELETE /chat/completions/{completion_id} deletes {id str, deleted bool, object "chat.completion.deleted"}
GET /chat/completions/{completion_id}/messages lists ChatStoredMessage
  ? {after? str, limit? int 0.., order? "asc"|"desc"}

ChatCompletion = {id str, choices [{finish_reason "stop"|"length"|"tool_calls"|"content_filter"|"function_call",
  index int, logprobs? {content? [ChatLogprob], refusal? [ChatLogprob]}, message ChatAnswer}], created time, model str,
  object "chat.completion", metadata? map str, moderation? {input ModerationReport|ModerationFailure,
  output ModerationReport|ModerationFailure}, service_tier? ServiceTier, system_fingerprint? str,
  usage? CompletionUsage}
ChatAnswer = {content? str, refusal? str, role "assistant", annotations? [UrlCitation], audio? {id str, data str,
  expires_at time, transcript str}, function_call? CalledFunction, tool_calls? [ChatToolCall]}
ChatStoredMessage = {id str, content? str, refusal? str, role "assistant", annotations? [UrlCitation], audio? {id str,
  data str, expires_at time, transcript str}, function_call? CalledFunction, tool_calls? [ChatToolCall],
  content_parts? [ChatTextPart|ChatImagePart]}
UrlCitation = {type "url_citation", url_citation {end_index int, start_index int, title str, url str}}
ChatLogprob = {token str, bytes? [int], logprob num, top_logprobs [{token str, bytes? [int], logprob num}]}
ChatToolCall = {id str, function CalledFunction, type "function"}|{id str, custom {input str, name str}, type "custom"}
CalledFunction = {arguments str, name str}
CompletionUsage = {completion_tokens int, prompt_tokens int, total_tokens int,
  completion_tokens_details? {accepted_prediction_tokens? int, audio_tokens? int, reasoning_tokens? int,
  rejected_prediction_tokens? int, text_tokens? int}, prompt_tokens_details? {audio_tokens? int,
  cache_write_tokens? int, cached_tokens? int, image_tokens? int, text_tokens? int}}
ServiceTier = "auto"|"default"|"flex"|"scale"|"priority"|"fast"
ModerationReport = {model str, results [{categories map bool, category_applied_input_types map ["text"|"image"],
  category_scores map num, flagged bool, model str, type "moderation_result"}], type "moderation_results"}
ModerationFailure = {code str, message str, type "error"}

ChatRequest = {messages [ChatMessage] 1.., model str, audio? {format "wav"|"aac"|"mp3"|"flac"|"opus"|"pcm16",
  voice str|{id str}}, frequency_penalty? num -2..2, function_call? "none"|"auto"|Named,
  functions? [ChatFunction] ..128, ignore_eos? bool, logit_bias? map int, logprobs? bool,
  max_completion_tokens? int 0.., max_tokens? int 0.., metadata? Metadata, min_tokens? int 0..,
  modalities? ["text"|"audio"], moderation? ModerationRequest, n? int 1..128, parallel_tool_calls? bool,
  prediction? {content str|[ChatTextPart], type "content"}, presence_penalty? num -2..2, prompt_cache_key? str,
  prompt_cache_options? {mode? "implicit"|"explicit", ttl? "30m"}, prompt_cache_retention? "in_memory"|"24h",
  reasoning_effort? "none"|"minimal"|"low"|"medium"|"high"|"xhigh"|"max", response_format? ResponseFormat,
  safety_identifier? str, seed? int, service_tier? ServiceTier, stop? str|[str] ..4, store? bool, stream? bool,
  stream_options? StreamOptions, temperature? num 0..2, tool_choice? "none"|"auto"|"required"|ChatToolChoice,
  tools? [ChatTool] ..128, top_logprobs? int 0..20, top_p? num 0..1, user? str, verbosity? "low"|"medium"|"high",
  web_search_options? {search_context_size? "low"|"medium"|"high", user_location? {approximate {city? str,
  country? str, region? str, timezone? str}, type "approximate"}}}
ChatMessage = {role "system", content str|[ChatTextPart] 1.., name? str}|
  {role "assistant", audio? {id str}, content? str|[ChatTextPart|ChatRefusalPart] 1.., function_call? CalledFunction,
  name? str, refusal? str, tool_calls? [ChatToolCall]}|
  {role "user", content str|[ChatTextPart|ChatImagePart|ChatAudioPart|ChatFilePart|ChatVideoPart] 1.., name? str}|
  {role "function", content? str, name str}|
  {role "tool", content str|[ChatTextPart] 1.., tool_call_id str}|
  {role "developer", content str|[ChatTextPart] 1.., name? str}
ChatTextPart = {text str, type "text", prompt_cache_breakpoint? CacheBreakpoint}
ChatRefusalPart = {refusal str, type "refusal"}
ChatImagePart = {image_url {url str, detail? str}, type "image_url", prompt_cache_breakpoint? CacheBreakpoint}
ChatAudioPart = {input_audio {data str, format str}, type "input_audio", prompt_cache_breakpoint? CacheBreakpoint}
ChatFilePart = {file {file_data? str, file_id? str, filename? str}, type "file",
  prompt_cache_breakpoint? CacheBreakpoint}
# OpenAI has no such part. Other servers that speak its API do.
ChatVideoPart = {video_url map any, type "video_url"}
CacheBreakpoint = {mode "explicit", ttl? "30m"|"12h"}
ChatTool = {function ChatFunction, type "function"}|{custom {name str, description? str, format? {type "text"}|
  {grammar {definition str, syntax "lark"|"regex"}, type "grammar"}}, type "custom"}
ChatFunction = {name str, description? str, parameters? map any, strict? bool}
ChatToolChoice = {function Named, type "function"}|{custom Named, type "custom"}|
  {allowed_tools {mode "auto"|"required", tools [map any]}, type "allowed_tools"}
Named = {name str}
ResponseFormat = {type "text"}|{type "json_object"}|
  {json_schema {name str, description? str, schema? map any, strict? bool}, type "json_schema"}
# continuous_usage_stats is vLLM's, as are ignore_eos and min_tokens. Load generators send them.
StreamOptions = {include_obfuscation? bool, include_usage? bool, continuous_usage_stats? bool}
ModerationRequest = {model str, policy? {input? {mode "score"|"block"}, output? {mode "score"|"block"}}}

POST /completions answers Completion
  < {model str, prompt str|[str] 1..|[int] 1..|[[int]] 1..|null, best_of? int 0..20, echo? bool,
    frequency_penalty? num -2..2, ignore_eos? bool, logit_bias? map int, logprobs? int 0..5, max_tokens? int 0..,
    min_tokens? int 0.., n? int 1..128,
    presence_penalty? num -2..2, seed? int, stop? str|[str] ..4, stream? bool, stream_options? StreamOptions,
    suffix? str, temperature? num 0..2, top_p? num 0..1, user? str}
Completion = {id str, choices [{finish_reason "stop"|"length"|"content_filter", index int,
  logprobs? {text_offset? [int], token_logprobs? [num], tokens? [str], top_logprobs? [map num]}, text str}],
  created time, model str,
  object "text_completion", system_fingerprint? str, usage? CompletionUsage}
"""
