"""Images, audio, videos and what tells where they come from.

Source: OpenAI API reference. Notation: protocol/openai/api/{notation,operations}.py.
"""

from __future__ import annotations

MEDIA_REFERENCE = """\
# `size` is "auto" or WIDTHxHEIGHT. The mock makes PNG, WebP and JPEG, and refuses the other formats.
# With `stream` the answer is events, ImagePartial and ImageCompleted. For an edit their types begin with image_edit.
POST /images/generations answers Images|ImagePartial|ImageCompleted
  < {prompt str 1..32000, background? "transparent"|"opaque"|"auto", complexity? "low"|"medium"|"high",
    frame_count? int 2..16, frame_duration_ms? int 0.., model? str, moderation? "low"|"auto", n? int 1..10,
    output_compression? int 0..100, output_format? ImageFormat, partial_images? int 0..3,
    quality? ImageQuality|"auto"|"standard"|"hd", response_format? "url"|"b64_json", safety_identifier? str, size? str,
    stream? bool, style? "vivid"|"natural", svg? ImageSvg, user? str}
# A form brings the pictures in `image`, JSON refers to them in `images`.
POST /images/edits answers Images|ImagePartial|ImageCompleted
  form {image? file|[file] 1..16, images? [ImageReference] 1..16, prompt str 1..32000,
    background? "transparent"|"opaque"|"auto", complexity? "low"|"medium"|"high", frame_count? int 2..16,
    frame_duration_ms? int 0.., input_fidelity? "high"|"low", markup? file, mask? file|ImageReference, model? str,
    n? int 1..10, output_compression? int 0..100, output_format? ImageFormat, partial_images? int 0..3,
    quality? ImageQuality|"auto"|"standard", response_format? "url"|"b64_json", safety_identifier? str, size? str,
    stream? bool, svg? ImageSvg, user? str}
POST /images/variations answers Images
  form {image file, model? str, n? int 1..10, response_format? "url"|"b64_json",
    size? "256x256"|"512x512"|"1024x1024", user? str}
Images = {created time, background? "transparent"|"opaque", data? [{b64_json? str, revised_prompt? str, url? str}],
  output_format? ImageFormat, quality? ImageQuality, safety_identifier? str, size? str, usage? ImageUsage}
ImageReference = {file_id? str, image_url? str}
ImageFormat = "png"|"webp"|"jpeg"|"gif"|"svg"
ImageQuality = "low"|"medium"|"high"|"xhigh"|"max"
ImageSvg = {model? str, reasoning? {effort? "none"|"minimal"|"low"|"medium"|"high"|"xhigh"|"max"}}
ImageUsage = {input_tokens int, input_tokens_details ImageTokens, output_tokens int, output_tokens_details? ImageTokens,
  total_tokens int}
ImageTokens = {image_tokens int, text_tokens int}
ImagePartial = {type "image_generation.partial_image"|"image_edit.partial_image", b64_json str, created_at time,
  background "transparent"|"opaque"|"auto", output_format ImageFormat, partial_image_index int,
  quality ImageQuality|"auto", size str}
ImageCompleted = {type "image_generation.completed"|"image_edit.completed", b64_json str, created_at time,
  background "transparent"|"opaque"|"auto", output_format ImageFormat, quality ImageQuality|"auto", size str,
  usage ImageUsage, safety_identifier? str}

POST /audio/speech answers bytes
  < {input str 1..4096, model str, voice str|VoiceID, instructions? str 0..4096, response_format? "mp3"|"opus"|"aac"|
    "flac"|"wav"|"pcm", speed? num 0.25..4, stream_format? "sse"|"audio"}

# Only the formats srt, vtt and text are not JSON. With `stream` the answer is events: TranscriptionDeltas, for
# diarized_json SpeakerSegments, then TranscriptionDone.
POST /audio/transcriptions answers Transcription|TranscriptionVerbose|TranscriptionDiarized|TranscriptionDelta|
    SpeakerSegment|TranscriptionDone
  form {file file, model str, chunking_strategy? "auto"|{type "server_vad", prefix_padding_ms? int,
    silence_duration_ms? int, threshold? num}, include? ["logprobs"], keywords? [str], known_speaker_names? [str],
    known_speaker_references? [str], language? str, languages? [str], prompt? str, response_format? "json"|"text"|
    "srt"|"verbose_json"|"vtt"|"diarized_json", temperature? num 0..2, timestamp_granularities? ["word"|"segment"],
    stream? bool}

POST /audio/translations answers Transcription|TranscriptionVerbose
  form {file file, model str, prompt? str, response_format? "json"|"text"|"srt"|"verbose_json"|"vtt",
    temperature? num 0..2}
Transcription = {text str, languages? [{code str}], logprobs? [TranscriptionLogprob], usage? TranscriptionUsage}
TranscriptionVerbose = {task "transcribe"|"translate", duration num, language str, text str,
  segments? [TranscriptionSegment], words? [{word str, start num, end num}], usage? TranscriptionUsage}
TranscriptionSegment = {id int, avg_logprob num, compression_ratio num, end num, no_speech_prob num, seek int,
  start num, temperature num, text str, tokens [int]}
TranscriptionDiarized = {task "transcribe", duration num, segments [SpeakerSegment], text str,
  usage? TranscriptionUsage}
SpeakerSegment = {type "transcript.text.segment", id str, end num, speaker str, start num, text str}
TranscriptionUsage = {type "duration", seconds num}|TranscriptionTokens
TranscriptionTokens = {type "tokens", input_tokens int, input_token_details? {audio_tokens? int, text_tokens? int},
  output_tokens int, total_tokens int}
TranscriptionLogprob = {token? str, bytes? [int], logprob? num}
TranscriptionDelta = {type "transcript.text.delta", delta str, logprobs? [TranscriptionLogprob], segment_id? str}
TranscriptionDone = {type "transcript.text.done", text str, languages? [{code str}], logprobs? [TranscriptionLogprob],
  usage? TranscriptionTokens}

GET /audio/voice_consents lists VoiceConsent
  ? {after? str, limit? int 0..}
VoiceConsent = {id str, created_at time, language str, name str, object "audio.voice_consent"}
POST /audio/voice_consents creates VoiceConsent as cons_
  form {language str, name str, recording file}
GET /audio/voice_consents/{consent_id} gives VoiceConsent
POST /audio/voice_consents/{consent_id} updates VoiceConsent
  < {name str}
DELETE /audio/voice_consents/{consent_id} deletes {id str, deleted bool, object "audio.voice_consent"}

POST /audio/voices creates {id str, created_at time, name str, object "audio.voice", type "audio_sample"|"prompt",
  prompt? str} as voice_
  form {audio_sample file, consent str, name str, type? "audio_sample"}|{name str, prompt str, type "prompt",
    model? str, script_hint? str}
DELETE /audio/voices/{voice_id} deletes {id str, deleted bool, object "audio.voice.deleted"}

GET /videos lists Video
  ? {after? str, limit? int 0..100, order? "asc"|"desc"}
Video = {id str, completed_at? time, created_at time, error? {code str, message str, headers? map str,
  misalignment? Misalignment, param? str, type? str}, expires_at? time, model str, object "video", progress int,
  prompt? str, remixed_from_video_id? str, seconds str, size "720x1280"|"1280x720"|"1024x1792"|"1792x1024",
  status "queued"|"in_progress"|"completed"|"failed"}
POST /videos creates Video as video_ through queued 1 in_progress 4 completed
  form {prompt str, input_reference? file|ImageGenerationInputImageMask, model? str, seconds? "4"|"8"|"12",
    size? "720x1280"|"1280x720"|"1024x1792"|"1792x1024"}

POST /videos/characters creates VideoCreateCharacterResponse as char_
  form {name str, video file}
VideoCreateCharacterResponse = {id? str, created_at time, name? str}
GET /videos/characters/{character_id} gives VideoCreateCharacterResponse

POST /videos/edits creates Video as video_
  form {prompt str, video file|VoiceID}

POST /videos/extensions creates Video as video_
  form {prompt str, seconds "4"|"8"|"12", video file|VoiceID}

GET /videos/{video_id} gives Video
DELETE /videos/{video_id} deletes {id str, deleted bool, object "video.deleted"}
GET /videos/{video_id}/content gives bytes
  ? {variant? "video"|"thumbnail"|"spritesheet"}
POST /videos/{video_id}/remix answers Video
  < {prompt str}

POST /content_provenance_checks answers {created_at time, object "content_provenance_check",
  results [{generated_at? str, issuer? str, model? str, outcome "detected"|"not_detected", type "c2pa",
  validation_state "trusted"|"valid"|"invalid"|"not_present"}|{generated_at? str, model? str, outcome "detected"|
  "not_detected", type "synthid"}]}
  form {file file}
"""
