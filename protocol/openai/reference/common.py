"""Shapes that several parts of the API share.

Source: OpenAI API reference. Notation: protocol/openai/api/notation.py.
"""

from __future__ import annotations

COMMON_REFERENCE = """\
FunctionTool = {function {name str, description? str, parameters? map any, strict? bool}, type "function"}
# Whatever a client attaches to an object. Answers show it unchanged.
Metadata = map (str ..512) ..16
Moderation = {model str, policy? {input? ModerationPolicyInput, output? ModerationPolicyInput}}
ModerationInputError = {code str, message str, type "error"}
ModerationInputModerationResult = {categories map bool, category_applied_input_types map ["text"|"image"],
  category_scores map num, flagged bool, model str, type "moderation_result"}
ModerationPolicyInput = {mode "score"|"block"}
PromptCacheBreakpoint = {mode "explicit", ttl? "30m"|"12h"}
PromptCacheOptions5 = {mode? "implicit"|"explicit", ttl? "30m"}
ResponseFormatJSONObject = {type "json_object"}
ResponseFormatJSONSchema = {json_schema {name str, description? str, schema? map any, strict? bool},
  type "json_schema"}
ResponseFormatUnion2 = TextFormatParamText|ResponseFormatJSONSchema|ResponseFormatJSONObject
ResponseOutputRefusal = {refusal str, type "refusal"}
TextFormatParamText = {type "text"}
VoiceID = {id str}
"""
