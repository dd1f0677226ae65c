"""Models, moderations, fine-tuning, evals, safety and decisions.

Source: OpenAI API reference. Notation: protocol/openai/api/{notation,operations}.py.
"""

from __future__ import annotations

TRAINING_REFERENCE = """\
GET /models lists Model whole
Model = {id str, created time, object "model", owned_by str, shutdown_date? str}
GET /models/{model} gives Model
DELETE /models/{model} deletes {id str, deleted bool, object "model"}

POST /moderations answers {id str, model str, results [ModerationResult]}
  < {input str|[str]|[{image_url {url str}, type "image_url"}|AgentMessageContentText], model? str}
ModerationResult = {categories {harassment bool, "harassment/threatening" bool, hate bool, "hate/threatening" bool,
  illicit? bool, "illicit/violent"? bool, "self-harm" bool, "self-harm/instructions" bool, "self-harm/intent" bool,
  sexual bool, "sexual/minors" bool, violence bool, "violence/graphic" bool},
  category_applied_input_types {harassment ["text"], "harassment/threatening" ["text"], hate ["text"],
  "hate/threatening" ["text"], illicit ["text"], "illicit/violent" ["text"], "self-harm" ["text"|"image"],
  "self-harm/instructions" ["text"|"image"], "self-harm/intent" ["text"|"image"], sexual ["text"|"image"],
  "sexual/minors" ["text"], violence ["text"|"image"], "violence/graphic" ["text"|"image"]},
  category_scores {harassment num, "harassment/threatening" num, hate num, "hate/threatening" num, illicit num,
  "illicit/violent" num, "self-harm" num, "self-harm/instructions" num, "self-harm/intent" num, sexual num,
  "sexual/minors" num, violence num, "violence/graphic" num}, flagged bool}

# A grader rates a sample from 0 to 1, or within the range that it has.
POST /fine_tuning/alpha/graders/run answers {metadata {errors GraderErrors, execution_time num, name str,
  sampled_model_name? str, scores map any, token_usage? int, type str}, model_grader_token_usage_per_model map any,
  reward num, sub_rewards map any}
  < {grader Grader, model_sample str, item? any}
Grader = StringCheckGrader|TextSimilarityGrader|PythonGrader|ScoreModelGrader|{calculate_output str,
  graders StringCheckGrader|TextSimilarityGrader|PythonGrader|ScoreModelGrader|LabelModelGrader, name str,
  type "multi"}
GraderErrors = {formula_parse_error bool, invalid_variable_error bool, model_grader_parse_error bool,
  model_grader_refusal_error bool, model_grader_server_error bool, model_grader_server_error_details? str,
  other_error bool, python_grader_runtime_error bool, python_grader_runtime_error_details? str,
  python_grader_server_error bool, python_grader_server_error_type? str, sample_parse_error bool,
  truncated_observation_error bool, unresponsive_reward_error bool}
LabelModelGrader = {input [GraderMessage], labels [str], model str, name str, passing_labels [str], type "label_model"}
PythonGrader = {name str, source str, type "python", image_tag? str}
ScoreModelGrader = {input [GraderMessage], model str, name str, type "score_model", range? [num],
  sampling_params? GraderSampling}
StringCheckGrader = {input str, name str, operation "eq"|"ne"|"like"|"ilike", reference str, type "string_check"}
TextSimilarityGrader = {evaluation_metric EvaluationMetric, input str, name str, reference str,
  type "text_similarity"}
GraderMessage = {content str|ResponseInputText|MessageContentResourceOutputText|{image_url str, type "input_image",
  detail? str}|{input_audio {data str, format "mp3"|"wav"}, type "input_audio"}|[str|ResponseInputText|
  MessageContentResourceOutputText|{image_url str, type "input_image", detail? str}|{input_audio {data str,
  format "mp3"|"wav"}, type "input_audio"}], role "user"|"assistant"|"system"|"developer", type? "message"}
GraderSampling = {max_completions_tokens? int, reasoning_effort? "none"|"minimal"|"low"|"medium"|"high"|"xhigh"|"max",
  seed? int, temperature? num 0..2, top_p? num 0..1}
EvaluationMetric = "cosine"|"fuzzy_match"|"bleu"|"gleu"|"meteor"|"rouge_1"|"rouge_2"|"rouge_3"|"rouge_4"|"rouge_5"|
  "rouge_l"
MessageContentResourceOutputText = {text str, type "output_text"}
POST /fine_tuning/alpha/graders/validate answers {grader? Grader}
  < {grader Grader}

GET /fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions lists CheckpointPermission
  ? {after? str, limit? int 0.., order? "ascending"|"descending", project_id? str}
CheckpointPermission = {id str, created_at time, object "checkpoint.permission", project_id str}
POST /fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions creates CheckpointPermission whole as cp_
  < {project_ids [str]}
DELETE /fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions/{permission_id} deletes {id str,
  deleted bool, object "checkpoint.permission"}

GET /fine_tuning/jobs lists FineTuningJob
  ? {after? str, limit? int 0.., metadata? map str}
FineTuningJob = {id str, created_at time, error? {code str, message str, param? str}, fine_tuned_model? str,
  finished_at? time, hyperparameters SupervisedHyperparameters, model str, object "fine_tuning.job",
  organization_id str, result_files [str], seed int, status "validating_files"|"queued"|"running"|"succeeded"|
  "failed"|"cancelled"|"paused", trained_tokens? int, training_file str, validation_file? str, estimated_finish? int,
  integrations? [FineTuningIntegration], metadata? map str, method? FineTuningMethod}
SupervisedHyperparameters = {batch_size? "auto"|int, learning_rate_multiplier? "auto"|num, n_epochs? "auto"|int}
FineTuningIntegration = {type "wandb", wandb {project str, entity? str, name? str, tags? [str]}}
FineTuningMethod = {type "supervised"|"dpo"|"reinforcement", dpo? {hyperparameters? {batch_size? "auto"|int,
  beta? "auto"|num, learning_rate_multiplier? "auto"|num, n_epochs? "auto"|int}}, reinforcement? {grader Grader,
  hyperparameters? {batch_size? "auto"|int, compute_multiplier? "auto"|num, eval_interval? "auto"|int,
  eval_samples? "auto"|int, learning_rate_multiplier? "auto"|num, n_epochs? "auto"|int, reasoning_effort? "default"|
  "low"|"medium"|"high"}}, supervised? {hyperparameters? SupervisedHyperparameters}}
POST /fine_tuning/jobs creates FineTuningJob as ftjob- through validating_files 1 queued 1 running 4 succeeded
  < {model str, training_file str, hyperparameters? SupervisedHyperparameters, integrations? [FineTuningIntegration],
    metadata? Metadata, method? FineTuningMethod, seed? int, suffix? str, validation_file? str}
GET /fine_tuning/jobs/{fine_tuning_job_id} gives FineTuningJob
POST /fine_tuning/jobs/{fine_tuning_job_id}/cancel sets FineTuningJob with {status "cancelled"}

GET /fine_tuning/jobs/{fine_tuning_job_id}/checkpoints lists FineTuningCheckpoint
  ? {after? str, limit? int 0..}
FineTuningCheckpoint = {id str, created_at time,
  fine_tuned_model_checkpoint str, fine_tuning_job_id str, metrics {full_valid_loss? num,
  full_valid_mean_token_accuracy? num, step? num, train_loss? num, train_mean_token_accuracy? num, valid_loss? num,
  valid_mean_token_accuracy? num}, object "fine_tuning.job.checkpoint", step_number int}

GET /fine_tuning/jobs/{fine_tuning_job_id}/events lists FineTuningEvent
  ? {after? str, limit? int 0..}
FineTuningEvent = {id str, created_at time, level "info"|"warn"|"error",
  message str, object "fine_tuning.job.event", data? any, type? "message"|"metrics"}
POST /fine_tuning/jobs/{fine_tuning_job_id}/pause sets FineTuningJob with {status "paused"}
POST /fine_tuning/jobs/{fine_tuning_job_id}/resume sets FineTuningJob with {status "queued"}

GET /evals lists Eval
  ? {after? str, limit? int 0.., order? "asc"|"desc", order_by? "created_at"|"updated_at"}
Eval = {id str, created_at time, data_source_config {schema map any, type "custom"}|{schema map any, type "logs",
  metadata? map str}|{schema map any, type "stored_completions", metadata? map str}, metadata? map str, name str,
  object "eval", testing_criteria [LabelModelGrader|StringCheckGrader|TestingCriterionTextSimilarity|
  TestingCriterionPython|TestingCriterionScoreModel]}
TestingCriterionPython = {name str, source str, type "python", image_tag? str, pass_threshold? num}
TestingCriterionScoreModel = {input [GraderMessage], model str, name str, type "score_model", range? [num],
  sampling_params? GraderSampling, pass_threshold? num}
TestingCriterionTextSimilarity = {evaluation_metric EvaluationMetric, input str, name str, reference str,
  type "text_similarity", pass_threshold num}
POST /evals creates Eval as eval_
  < {data_source_config {item_schema map any, type "custom", include_sample_schema? bool}|{type "logs",
    metadata? map any}|{type "stored_completions", metadata? map any},
    testing_criteria [{input [EvalSimpleMessage|GraderMessage], labels [str], model str,
    name str, passing_labels [str], type "label_model"}|StringCheckGrader|TestingCriterionTextSimilarity|
    TestingCriterionPython|TestingCriterionScoreModel], metadata? Metadata, name? str}
EvalSimpleMessage = {content str, role str}
GET /evals/{eval_id} gives Eval
POST /evals/{eval_id} updates Eval
  < {metadata? Metadata, name? str}
DELETE /evals/{eval_id} deletes {deleted bool, eval_id str, object "eval.deleted"}

GET /evals/{eval_id}/runs lists EvalRun
  ? {after? str, limit? int 0.., order? "asc"|"desc", status? "queued"|"in_progress"|"completed"|"canceled"|"failed"}
EvalRun = {id str, created_at time, data_source EvalJsonlSource|EvalCompletionsSource|
  {source EvalResponsesSource, type "responses", input_messages? EvalInputMessages, model? str,
  sampling_params? {max_completion_tokens? int, reasoning_effort? "none"|"minimal"|"low"|"medium"|"high"|"xhigh"|
  "max", seed? int, temperature? num 0..2, text? EvalTextFormat, tools? ToolUnion3,
  top_p? num 0..1}}, error Error, eval_id str, metadata? map str, model str, name str, object "eval.run",
  per_model_usage [{cached_tokens int, completion_tokens int, invocation_count int, model_name str, prompt_tokens int,
  total_tokens int}], per_testing_criteria_results [{failed int, passed int, testing_criteria str}], report_url str,
  result_counts {errored int, failed int, passed int, total int}, status str}
EvalCompletionsSource = {source EvalFileContent|EvalFileId|{type "stored_completions",
  created_after? int, created_before? int, limit? int 0.., metadata? map str, model? str}, type "completions",
  input_messages? {template [InputMessage|AssistantMessage|GraderMessage], type "template"}|EvalItemReference,
  model? str,
  sampling_params? {max_completion_tokens? int, reasoning_effort? "none"|"minimal"|"low"|"medium"|"high"|"xhigh"|
  "max", response_format? ResponseFormatUnion2, seed? int, temperature? num 0..2, tools? [FunctionTool],
  top_p? num 0..1}}
EvalJsonlSource = {source EvalFileContent|EvalFileId, type "jsonl"}
EvalTextFormat = {format? FormatUnion}
Error = {code str, message str}
EvalInputMessages = {template [EvalSimpleMessage|GraderMessage], type "template"}|
  EvalItemReference
EvalResponsesSource = EvalFileContent|EvalFileId|{type "responses", created_after? int, created_before? int,
  instructions_search? str, metadata? any, model? str, reasoning_effort? "none"|"minimal"|"low"|"medium"|"high"|
  "xhigh"|"max", temperature? num 0..2, tools? [str], top_p? num 0..1, users? [str]}
EvalItemReference = {item_reference str, type "item_reference"}
EvalFileContent = {content [{item map any, sample? map any}], type "file_content"}
EvalFileId = {id str, type "file_id"}
POST /evals/{eval_id}/runs creates EvalRun as evalrun_ through queued 1 in_progress 2 completed
  < {data_source EvalJsonlSource|EvalCompletionsSource|{source EvalResponsesSource,
    type "responses", input_messages? EvalInputMessages, model? str, sampling_params? {max_completion_tokens? int,
    reasoning_effort? "none"|"minimal"|"low"|"medium"|"high"|"xhigh"|"max", seed? int, temperature? num 0..2,
    text? EvalTextFormat, tools? ToolUnion, top_p? num 0..1}}, metadata? Metadata, name? str}
GET /evals/{eval_id}/runs/{run_id} gives EvalRun
DELETE /evals/{eval_id}/runs/{run_id} deletes {deleted bool, object "eval.run.deleted", run_id str}
POST /evals/{eval_id}/runs/{run_id}/cancel sets EvalRun with {status "canceled"}
# The same, as the Node SDK asks for it.
POST /evals/{eval_id}/runs/{run_id} updates EvalRun with {status "canceled"}

GET /evals/{eval_id}/runs/{run_id}/output_items lists EvalOutputItem
  ? {after? str, limit? int 0.., order? "asc"|"desc", status? "fail"|"pass"}
EvalOutputItem = {id str, created_at time, datasource_item map any, datasource_item_id int, eval_id str,
  object "eval.run.output_item", results [{name str, passed bool, score num, sample? map any, type? str}], run_id str,
  sample {error Error, finish_reason str, input [EvalSimpleMessage],
  max_completion_tokens int, model str, output [{content? str, role? str}], seed int, temperature num 0..2,
  top_p num 0..1, usage {cached_tokens int, completion_tokens int, prompt_tokens int, total_tokens int}}, status str}
GET /evals/{eval_id}/runs/{run_id}/output_items/{output_item_id} gives EvalOutputItem

GET /safety/alerts/{id} gives {id str, created_at time, error_type "potentially_unintended_data_transfer"|
  "potentially_unintended_data_access"|"potentially_unintended_destructive_activity"|"other", model str,
  object "safety.alert", reason? str, request_id str, request_paused bool, response_id str, detailed_explanation? str}
GET /safety/cases/{id} gives {id str, created_at time, entity_identifier str, notice {type "warning"|"deactivation"},
  object "safety.case", reason? str}

POST /decisions answers Decision
  < {input str|[DecisionItem], model str, questions [{instructions DecisionInstructions, type "predicate", name? str}|
    {choices [DecisionChoice], instructions DecisionInstructions, type "choice", name? str}|
    {instructions DecisionInstructions, levels [DecisionLevel], type "score", name? str}],
    prompt_cache_key? str, prompt_cache_options? PromptCacheOptions5, safety_identifier? str}
DecisionItem = {content str|[DecisionInputText|DecisionInputImage|DecisionInputJSON], role "user", id? str,
  type? "message"}|{content str|[DecisionInputText], role "developer"|"system", id? str, type? "message"}|
  {content str|[MessageContentResourceOutputText|ResponseOutputRefusal], role "assistant", id? str,
  phase? "commentary"|"final_answer", type? "message"}|
  {arguments str, call_id str, name str, type "function_call", id? str, namespace? str, status? ItemStatus}|
  {call_id str, output str|[DecisionInputText|DecisionInputImage], type "function_call_output", id? str,
  status? ItemStatus}|{call_id str, input str, name str, type "custom_tool_call", id? str, namespace? str,
  status? ItemStatus}|{call_id str, output str|[DecisionInputText|DecisionInputImage],
  type "custom_tool_call_output", id? str, status? ItemStatus}
Decision = {answers [{name? str, probability num, type "predicate"}|{choice str|bool, confidence num, name? str,
  probabilities [{probability num, value str|bool}], type "choice"}|{confidence num, name? str,
  probabilities [{label str, probability num, value int}], score num, type "score"}|{name? str, type "refusal"}],
  model str, usage {input_tokens int, input_tokens_details {cache_write_tokens int, cached_tokens int},
  output_tokens int, output_tokens_details OutputTokensDetails, total_tokens int}}
DecisionInputImage = {image_url str, type "input_image", detail? "low"|"high"|"auto"|"original",
  prompt_cache_breakpoint? DecisionPromptCacheBreakpoint}
DecisionInputJSON = {data map (any|null)|[map (any|null)], type "input_json"}
DecisionInputText = {text str, type "input_text", prompt_cache_breakpoint? DecisionPromptCacheBreakpoint}
DecisionInstructions = str|[InputContentParamInputText|DecisionQuestionInputImage|DecisionInputJSON]
DecisionChoice = {value str|bool, description? str}
DecisionLevel = {label str, description? str}
DecisionPromptCacheBreakpoint = {mode "explicit"}
DecisionQuestionInputImage = {image_url str, type "input_image", detail? "low"|"high"|"auto"|"original"}
InputContentParamInputText = {text str, type "input_text"}
"""
