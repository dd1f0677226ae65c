"""Realtime and Live sessions, their WebSockets, and webhooks.

Source: OpenAI API reference. Notation: protocol/openai/api/{notation,operations}.py.
"""

from __future__ import annotations

REALTIME_REFERENCE = """\
# The WebSocket of a session. `<` describes the events that clients may send.
GET /realtime opens nothing
  ? {model? str, call_id? str, intent? str}
  < RealtimeClientEvent
RealtimeClientEvent = {type "session.update", event_id? str ..512, session RealtimeSessionUpdate}|
  {type "input_audio_buffer.append", event_id? str ..512, audio str}|
  {type "input_audio_buffer.commit", event_id? str ..512}|
  {type "input_audio_buffer.clear", event_id? str ..512}|
  {type "output_audio_buffer.clear", event_id? str ..512}|
  {type "conversation.item.create", event_id? str ..512, item RealtimeItem, previous_item_id? str}|
  {type "conversation.item.retrieve", event_id? str ..512, item_id str}|
  {type "conversation.item.truncate", event_id? str ..512, item_id str, content_index int 0.., audio_end_ms int 0..}|
  {type "conversation.item.delete", event_id? str ..512, item_id str}|
  {type "response.create", event_id? str ..512, response? RealtimeResponseCreate}|
  {type "response.cancel", event_id? str ..512, response_id? str}
RealtimeSessionUpdate = RealtimeSessionCreate|RealtimeTranscriptionCreate
RealtimeResponseCreate = {audio? {output? {format? RealtimeFormat, voice? str|VoiceID}}, conversation? str,
  input? [RealtimeItem|{type "item_reference", id str}], instructions? str, max_output_tokens? RealtimeTokenLimit,
  metadata? map str, output_modalities? ["text"|"audio"], parallel_tool_calls? bool, prompt? RealtimePrompt,
  reasoning? RealtimeReasoning, tool_choice? RealtimeToolChoice, tools? [RealtimeFunction|RealtimeMcp]}
RealtimeItem = {type "message", role "system", content [{type? "input_text", text? str}], id? str, object? str,
  status? RealtimeItemStatus}|
  {type "message", role "user", content [{type? "input_text"|"input_audio"|"input_image", text? str, audio? str,
  transcript? str, image_url? str, detail? "auto"|"low"|"high"}], id? str, object? str, status? RealtimeItemStatus}|
  {type "message", role "assistant", content [{type? "output_text"|"output_audio", text? str, audio? str,
  transcript? str}], id? str, object? str, status? RealtimeItemStatus}|
  {type "function_call", name str, arguments str, call_id? str, id? str, object? str, status? RealtimeItemStatus}|
  {type "function_call_output", call_id str, output str, id? str, object? str, status? RealtimeItemStatus}|
  {type "mcp_approval_response", id str, approval_request_id str, approve bool, reason? str}|
  {type "mcp_list_tools", server_label str, tools [map any], id? str}|
  {type "mcp_call", id str, server_label str, name str, arguments str, output? str, approval_request_id? str,
  error? map any}|
  {type "mcp_approval_request", id str, server_label str, name str, arguments str}
RealtimeItemStatus = "completed"|"incomplete"|"in_progress"

# The same WebSocket in its older form, for clients that send `OpenAI-Beta: realtime=v1`.
RealtimeBetaClientEvent = {type "session.update", event_id? str, session RealtimeBetaSession}|
  {type "transcription_session.update", event_id? str, session RealtimeBetaTranscription}|
  {type "input_audio_buffer.append", event_id? str, audio str}|
  {type "input_audio_buffer.commit", event_id? str}|
  {type "input_audio_buffer.clear", event_id? str}|
  {type "output_audio_buffer.clear", event_id? str}|
  {type "conversation.item.create", event_id? str, item RealtimeBetaItem, previous_item_id? str}|
  {type "conversation.item.retrieve", event_id? str, item_id str}|
  {type "conversation.item.truncate", event_id? str, item_id str, content_index int 0.., audio_end_ms int 0..}|
  {type "conversation.item.delete", event_id? str, item_id str}|
  {type "response.create", event_id? str, response? {conversation? str, input? [RealtimeBetaItem|
  {type "item_reference", id str}], instructions? str, max_response_output_tokens? RealtimeTokenLimit,
  metadata? map str, modalities? ["text"|"audio"], output_audio_format? RealtimeBetaFormat, temperature? num 0..2,
  tool_choice? str|ToolChoiceFunction, tools? [RealtimeFunction], voice? str}}|
  {type "response.cancel", event_id? str, response_id? str}
RealtimeBetaItem = {type "message", role "user"|"assistant"|"system", content [{type? "input_text"|"input_audio"|
  "text"|"audio", text? str, audio? str, transcript? str}], id? str, object? str, status? RealtimeItemStatus}|
  {type "function_call", name str, arguments str, call_id? str, id? str, object? str, status? RealtimeItemStatus}|
  {type "function_call_output", call_id str, output str, id? str, object? str, status? RealtimeItemStatus}
RealtimeBetaFormat = "pcm16"|"g711_ulaw"|"g711_alaw"

# Translation: sound goes in and comes out in another language, as long as the session lasts.
GET /realtime/translations opens nothing
  ? {model? str}
  < {type "session.update", event_id? str, session {audio? RealtimeTranslationAudio}}|
    {type "session.input_audio_buffer.append", event_id? str, audio str}|
    {type "session.close", event_id? str}

POST /realtime/calls answers bytes
  form {sdp str, session? RealtimeSessionCreate}
RealtimeSessionCreate = {type "realtime", audio? {input? RealtimeInput, output? {format? RealtimeFormat,
  speed? num 0.25..1.5, voice? str|VoiceID}}, include? ["item.input_audio_transcription.logprobs"],
  instructions? str, max_output_tokens? RealtimeTokenLimit, model? str, output_modalities? ["text"|"audio"],
  parallel_tool_calls? bool, prompt? RealtimePrompt, reasoning? RealtimeReasoning, tool_choice? RealtimeToolChoice,
  tools? [RealtimeFunction|RealtimeMcp], tracing? "auto"|RealtimeTracing, truncation? "auto"|"disabled"|
  RealtimeRetention}
RealtimeTranscriptionCreate = {type "transcription", audio? {input? RealtimeInput},
  include? ["item.input_audio_transcription.logprobs"]}
RealtimeInput = {format? RealtimeFormat, noise_reduction? RealtimeNoiseReduction,
  transcription? RealtimeTranscription, turn_detection? {type "server_vad", create_response? bool,
  idle_timeout_ms? int, interrupt_response? bool, prefix_padding_ms? int 0.., silence_duration_ms? int 0..,
  threshold? num 0..1}|{type "semantic_vad", create_response? bool, eagerness? "low"|"medium"|"high"|"auto",
  interrupt_response? bool}}
RealtimeFormat = {type? "audio/pcm", rate? 24000}|{type "audio/pcmu"}|{type "audio/pcma"}
RealtimeTokenLimit = int|"inf"
RealtimePrompt = {id str, variables? map any, version? str}
RealtimeReasoning = {effort? "minimal"|"low"|"medium"|"high"|"xhigh"}
RealtimeRetention = {retention_ratio num 0..1, type "retention_ratio", token_limits? {post_instructions? int}}
RealtimeFunction = {description? str, name? str, parameters? any, type? "function"}
RealtimeMcp = {server_label str, type "mcp", allowed_callers? ["direct"|"programmatic"], allowed_tools? [str]|
  {read_only? bool, tool_names? [str]}, authorization? str, connector_id? str, defer_loading? bool, headers? map str,
  require_approval? "always"|"never"|map any, server_description? str, server_url? str, tunnel_id? str}
RealtimeToolChoice = "none"|"auto"|"required"|{type "function", name str}|{type "mcp", server_label str, name? str}
RealtimeTracing = {group_id? str, metadata? any, workflow_name? str}
RealtimeTranscription = {delay? "minimal"|"low"|"medium"|"high"|"xhigh", keywords? [str], language? str,
  languages? [str], model? str, prompt? str}
RealtimeNoiseReduction = {strength? num, type? "near_field"|"far_field"}

# Calls would come by WebRTC or SIP, which the mock has not. Requests about a call are answered all the same.
POST /realtime/calls/{call_id}/accept sets nothing
  < RealtimeSessionCreate
POST /realtime/calls/{call_id}/hangup sets nothing
POST /realtime/calls/{call_id}/refer sets nothing
  < {target_uri str}
POST /realtime/calls/{call_id}/reject sets nothing
  < {status_code? int}

# `value` is a key that opens a WebSocket with that session, until it expires.
POST /realtime/client_secrets answers {expires_at time, session RealtimeSession|RealtimeTranscriptionSession,
  value str}
  < {expires_after? RealtimeExpiry, session? RealtimeSessionCreate|RealtimeTranscriptionCreate}
RealtimeExpiry = {anchor? "created_at", seconds? int 10..7200}
RealtimeSession = {id str, object "realtime.session", type "realtime", audio? {input? RealtimeInput,
  output? {format? RealtimeFormat, speed? num, voice? str|VoiceID}}, expires_at? time,
  include? ["item.input_audio_transcription.logprobs"], instructions? str, max_output_tokens? RealtimeTokenLimit,
  model? str, output_modalities? ["text"|"audio"], prompt? RealtimePrompt, reasoning? RealtimeReasoning,
  tool_choice? RealtimeToolChoice, tools? [RealtimeFunction|RealtimeMcp], tracing? "auto"|RealtimeTracing,
  truncation? "auto"|"disabled"|RealtimeRetention}
RealtimeTranscriptionSession = {id str, object str, type "transcription", audio? {input? RealtimeInput},
  expires_at? time, include? ["item.input_audio_transcription.logprobs"]}

POST /realtime/sessions answers {client_secret RealtimeBetaSecret, input_audio_format? str,
  input_audio_transcription? {model? str}, instructions? str, max_response_output_tokens? RealtimeTokenLimit,
  modalities? ["text"|"audio"], output_audio_format? str, speed? num, temperature? num 0..2, tool_choice? str,
  tools? [RealtimeFunction], tracing? "auto"|RealtimeTracing, turn_detection? RealtimeBetaDetection, voice? str}
  < RealtimeBetaSession
RealtimeBetaSession = {client_secret? {expires_after? {anchor "created_at", seconds? int}},
  input_audio_format? RealtimeBetaFormat, input_audio_noise_reduction? RealtimeNoiseReduction,
  input_audio_transcription? {language? str, model? str, prompt? str}, instructions? str,
  max_response_output_tokens? RealtimeTokenLimit, modalities? ["text"|"audio"], model? str,
  output_audio_format? RealtimeBetaFormat, speed? num 0.25..1.5, temperature? num 0..2,
  tool_choice? str|ToolChoiceFunction, tools? [RealtimeFunction], tracing? "auto"|RealtimeTracing,
  turn_detection? RealtimeBetaDetection, voice? str}
RealtimeBetaSecret = {expires_at time, value str}
RealtimeBetaDetection = {create_response? bool, eagerness? "low"|"medium"|"high"|"auto", interrupt_response? bool,
  prefix_padding_ms? int 0.., silence_duration_ms? int 0.., threshold? num 0..1, type? "server_vad"|"semantic_vad"}
POST /realtime/transcription_sessions answers {client_secret RealtimeBetaSecret, input_audio_format? str,
  input_audio_transcription? RealtimeBetaTranscript, modalities? ["text"|"audio"],
  turn_detection? RealtimeBetaDetection}
  < RealtimeBetaTranscription
RealtimeBetaTranscription = {client_secret? {expires_at? RealtimeExpiry}, include? [str],
  input_audio_format? RealtimeBetaFormat, input_audio_noise_reduction? RealtimeNoiseReduction,
  input_audio_transcription? RealtimeBetaTranscript, modalities? ["text"|"audio"],
  turn_detection? RealtimeBetaDetection}
RealtimeBetaTranscript = {language? str, model? "gpt-4o-transcribe"|"gpt-4o-mini-transcribe"|"whisper-1", prompt? str}

POST /realtime/translations/client_secrets answers {expires_at time, session {id str, audio RealtimeTranslationAudio,
  expires_at time, model str, type "translation"}, value str}
  < {session {model str, audio? RealtimeTranslationAudio}, expires_after? RealtimeExpiry}
RealtimeTranslationAudio = {input? {noise_reduction? {type "near_field"|"far_field", strength? num},
  transcription? {model str}}, output? {language? str}}

# Responses over a WebSocket: each message asks for one and is answered by the events of its stream.
GET /responses opens nothing
  < {type "response.create", stream_id? str}|{type "response.steer", previous_response_id str, input any}|
    {type "response.inject", response_id str, input InputItems}

# The WebSocket of a Live session, which listens and speaks without turns.
GET /live/sessions opens nothing
  < {type "session.start", event_id? str, session LiveStart}|LiveEvent
# A stored session goes on in another; a session over WebRTC or SIP is watched.
GET /live/sessions/{session_id}/fork opens nothing
  < {type "session.start", event_id? str, session {audio? {format? LiveFormat}, client? LiveClient,
    delegation? LiveDelegation, store? bool}}|LiveEvent
GET /live/sessions/{session_id}/attach opens nothing
  < LiveEvent
LiveEvent = {type "session.update", event_id? str, session {delegation? any, triggers? [LiveTrigger]}}|
  {type "session.input_audio.append", event_id? str, audio str}|
  {type "session.input_audio.mute", event_id? str}|
  {type "session.input_audio.unmute", event_id? str}|
  {type "session.instructions.append", event_id? str, content str, delegation_id? str}|
  {type "session.thinking.append", event_id? str, content str, delegation_id? str}|
  {type "session.commentary.append", event_id? str, content str, delegation_id? str}|
  {type "session.output_audio.fixture.play", event_id? str, audio str}|
  {type "response.create", event_id? str}|
  {type "response.item.create", event_id? str, item InputItem}|
  {type "decision.create", event_id str}|
  {type "decision.item.create", event_id? str, item DecisionItem}|
  {type "decision.item.delete", event_id? str, item_id str}|
  {type "transport.dtmf.send", event_id? str, event str}|
  {type "session.close", event_id? str}
LiveFormat = {type "audio/pcm", rate 16000|24000}|{type "audio/pcmu"|"audio/pcma", rate int}
LiveStart = {model str, audio? {format? LiveFormat, output? {voice? str|VoiceID}}, client? LiveClient,
  delegation? LiveDelegation, input? [LiveMessage], instructions? str, safety_identifier? str, store? bool,
  triggers? [LiveTrigger]}

POST /live/sessions creates {session VoiceID, transport LiveTransport} as live_
  < {session LiveMediaSession, transport LiveTransport}
LiveMediaSession = {model str, type? "live", audio? {output? {voice? str|VoiceID}}, client? LiveClient,
  delegation? LiveDelegation, input? [LiveMessage], instructions? str, safety_identifier? str, store? bool,
  triggers? [LiveTrigger]}
LiveTransport = {sdp str, type "webrtc"}
LiveMessage = {role "developer"|"user", content [{text str, type? "input_text"}], id? str,
  status? "incomplete"|"completed", type? "message"}|
  {role "assistant", content [{text str, type? "text"|"output_text"}], id? str, status? "incomplete"|"completed",
  type? "message"}
LiveClient = {data_channel {allowed_client_events? "all"|[str], allowed_server_events? "all"|[{type str,
  response_event? str}]}}
LiveTrigger = {decisions {questions [LiveQuestion]}, event_type "session.input_transcript.delta"|
  "session.output_transcript.delta", type "decisions"}
LiveDelegation = {type "client", acknowledgement_delay_ms? int}|
  {type "responses", acknowledgement_delay_ms? int, responses? LiveResponses}|
  {type "decisions", acknowledgement_delay_ms? int, decisions? {model? str, questions? [LiveQuestion]}}
LiveQuestion = {type "choice", choices [{value str|bool, description? str}], instructions LiveInstruction, name? str}|
  {type "predicate", instructions LiveInstruction, name? str}|
  {type "score", instructions LiveInstruction, levels [{label str, description? str}], name? str}
LiveInstruction = str|[{type "input_text", text str}|{type "input_image", image_url str, detail? str}|
  {type "input_json", data any}]
LiveResponses = {model? str, instructions? str, max_output_tokens? int, parallel_tool_calls? bool,
  reasoning? {effort? "none"|"minimal"|"low"|"medium"|"high"|"xhigh", summary? "concise"|"detailed"|"auto"},
  service_tier? str, text? {verbosity? "low"|"medium"|"high"}, tool_choice? "auto"|"none"|"required"|map any,
  tools? [{type str}]}
POST /live/sessions/{session_id}/accept sets nothing
  < {session LiveMediaSession}
GET /live/sessions/{session_id}/content gives bytes
POST /live/sessions/{session_id}/fork sets {session VoiceID, transport LiveTransport}
  < {transport LiveTransport, session? {client? LiveClient, delegation? LiveDelegation, store? bool}}
POST /live/sessions/{session_id}/hangup sets nothing
POST /live/sessions/{session_id}/refer sets nothing
  < {target_uri str}
POST /live/sessions/{session_id}/reject sets nothing
  < {status_code int}

GET /webhook_endpoints lists WebhookEndpoint
  ? {after? str, limit? int 0..}
WebhookEndpoint = {id str, created_at time, event_types [str], name str, object "webhook_endpoint",
  signing_secret_hint? str, url str, updated_at? time}
POST /webhook_endpoints creates WebhookEndpointWithSecret as wep_
  < {event_types WebhookEventTypes, name str, url str}
WebhookEventTypes = ["batch.completed"|"batch.failed"|"batch.expired"|"batch.cancelled"|"response.completed"|
  "response.failed"|"response.cancelled"|"response.incomplete"|"eval.run.succeeded"|"eval.run.failed"|
  "eval.run.canceled"|"fine_tuning.job.succeeded"|"fine_tuning.job.failed"|"fine_tuning.job.cancelled"|
  "realtime.call.incoming"|"video.completed"|"video.failed"|"agent.environment.ready"|"agent.environment.failed"|
  "agent.environment.suspended"|"agent.environment.expired"|"agent.session.created"|"agent.session.action_required"|
  "agent.session.in_progress"|"agent.session.idle"|"agent.session.failed"|"safety.alert.created"]
WebhookEndpointWithSecret = {id str, created_at time, event_types [str], name str, object "webhook_endpoint",
  signing_secret str, signing_secret_hint? str, url str, updated_at? time}
GET /webhook_endpoints/{webhook_endpoint_id} gives WebhookEndpoint
POST /webhook_endpoints/{webhook_endpoint_id} updates WebhookEndpoint
  < {event_types? WebhookEventTypes, name? str, url? str}
DELETE /webhook_endpoints/{webhook_endpoint_id} deletes {id str, deleted bool, object "webhook_endpoint.deleted"}
POST /webhook_endpoints/{webhook_endpoint_id}/rotate_secret sets WebhookEndpointWithSecret
  < {keep_old_secret_active_for_24_hours? bool}
POST /webhook_endpoints/{webhook_endpoint_id}/test sets {event_type str, object "webhook_endpoint.test",
  status_code int, success true, webhook_endpoint_id str}
  < {event_type WebhookEventType}
WebhookEventType = "batch.completed"|"batch.failed"|"batch.expired"|"batch.cancelled"|"response.completed"|
  "response.failed"|"response.cancelled"|"response.incomplete"|"eval.run.succeeded"|"eval.run.failed"|
  "eval.run.canceled"|"fine_tuning.job.succeeded"|"fine_tuning.job.failed"|"fine_tuning.job.cancelled"|
  "realtime.call.incoming"|"video.completed"|"video.failed"|"agent.environment.ready"|"agent.environment.failed"|
  "agent.environment.suspended"|"agent.environment.expired"|"agent.session.created"|"agent.session.action_required"|
  "agent.session.in_progress"|"agent.session.idle"|"agent.session.failed"|"safety.alert.created"

GET /webhook_event_types answers {data [str], object "list"}
"""
