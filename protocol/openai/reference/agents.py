"""Agents, their sessions, environments and automations, and vaults.

Source: OpenAI API reference. Notation: protocol/openai/api/{notation,operations}.py. Where an object has fewer members
in requests than in answers, New stands before the name that it has in requests.
"""

from __future__ import annotations

AGENTS_REFERENCE = """\
POST /agents creates Agent as agent_
  < {model str, name? str, instructions? str, tools? [NewSavedAgentTool], multi_agent? MultiAgent,
    reasoning? AgentReasoning, service_tier? AgentTier, text? NewAgentText, compaction? NewAgentCompaction,
    experimental? NewAgentExperiments, metadata? Metadata}
GET /agents lists Agent
  ? {after? str, limit? int 0..100, order? "asc"|"desc"}
GET /agents/{agent_id} gives Agent
POST /agents/{agent_id} updates Agent
  < {model? str, name? str, instructions? str, tools? [NewSavedAgentTool], multi_agent? MultiAgent,
    reasoning? AgentReasoning, service_tier? AgentTier, text? NewAgentText, compaction? NewAgentCompaction,
    experimental? NewAgentExperiments, metadata? Metadata}
DELETE /agents/{agent_id} deletes {id str, object "agent.deleted", deleted bool}

Agent = {id str, object "agent", created_at time, updated_at time, name? str, instructions? str, model str,
  multi_agent MultiAgent, reasoning AgentReasoning, service_tier AgentTier, text AgentText, tools [SavedAgentTool],
  compaction? {async bool}, experimental? {time_awareness bool}, metadata map str}
MultiAgent = {enabled bool, max_concurrent_subagents? int 1..}
AgentReasoning = {effort? AgentEffort, summary? "concise"|"detailed"|"auto"}
AgentEffort = "none"|"minimal"|"low"|"medium"|"high"|"xhigh"|"max"
AgentTier = "auto"|"default"|"flex"|"priority"|"fast"|"ultrafast"
AgentText = {format AgentFormat, verbosity "medium"|"low"|"high"}
NewAgentText = {format? AgentFormat, verbosity? "low"|"medium"|"high"}
AgentFormat = {type "text"}|{type "json_schema", schema map any}
NewAgentCompaction = {async? bool}
NewAgentExperiments = {time_awareness? bool}

SavedAgentTool = AgentFunction|AgentToolSearch|AgentProgrammaticCalls|SavedAgentMcp|AgentWebSearch|AgentComputerUse|
  AgentAutomations
AgentTool = AgentFunction|AgentProgrammaticCalls|AgentMcp|AgentWebSearch|AgentComputerUse|AgentAutomations
NewSavedAgentTool = NewAgentFunction|AgentToolSearch|NewAgentProgrammaticCalls|NewSavedAgentMcp|NewAgentWebSearch|
  NewAgentComputerUse|AgentAutomations
NewAgentTool = NewAgentFunction|AgentToolSearch|NewAgentProgrammaticCalls|NewAgentMcp|NewAgentWebSearch|
  NewAgentComputerUse|AgentAutomations
AgentFunction = {type "function", name str, description str, parameters map any, defer_loading bool, async? bool}
NewAgentFunction = {type "function", name str, description str, parameters map any, defer_loading? bool, async? bool}
AgentToolSearch = {type "tool_search"}
AgentAutomations = {type "automations"}
AgentProgrammaticCalls = {type "programmatic_tool_calling", enabled bool}
NewAgentProgrammaticCalls = {type "programmatic_tool_calling", enabled? bool}
AgentWebSearch = {type "web_search", mode "live"|"cached"|"disabled", context_size "medium"|"low"|"high",
  allowed_domains? [str], location? AgentPlace}
NewAgentWebSearch = {type "web_search", mode? "disabled"|"cached"|"live", context_size? "low"|"medium"|"high",
  allowed_domains? [str], location? AgentPlace}
AgentPlace = {city? str, country? str, region? str, timezone? str}
AgentComputerUse = {type "computer_use", include_screenshots bool}
NewAgentComputerUse = {type "computer_use", include_screenshots? bool}
# A saved agent knows how to reach an MCP server, but no secrets. A session may bring those; answers do not show them.
SavedAgentMcp = {type "mcp", server_label str, transport {type "http", server_url str, headers map str}|AgentStdio,
  connection_origin "service"|"environment", allowed_tools? [str], credential_id? str, request_metadata map any,
  required bool}
NewSavedAgentMcp = {type "mcp", server_label str, transport {type "http", server_url str, headers? map str}|
  {type "stdio", command str, args? [str], cwd str, env_vars? [str]}, connection_origin? "service"|"environment",
  allowed_tools? [str], credential_id? str, request_metadata? map any, required? bool}
AgentMcp = {type "mcp", server_label str, transport {type "http", server_url str}|AgentStdio,
  connection_origin "service"|"environment", allowed_tools? [str], credential_id? str, request_metadata map any,
  required bool}
NewAgentMcp = {type "mcp", server_label str, transport {type "http", server_url str, authorization? str,
  headers? map str}|{type "stdio", command str, args? [str], cwd str, env? map str, env_vars? [str]},
  connection_origin? "service"|"environment", allowed_tools? [str], credential_id? str, request_metadata? map any,
  required? bool}
AgentStdio = {type "stdio", command str, args [str], cwd str, env_vars [str]}

POST /agents/sessions creates AgentSession as asess_
  < {environment NewSessionEnvironment, agent? NewSessionAgent, agent_id? str, input? str|[NewSessionMessage],
    metadata? Metadata, prompt_cache_options? {ttl? "30m"|"12h"}, review? "none"|"auto_review",
    spend_control? {limit int 1..|null}, vault_ids? [str], stream? bool,
    stream_options? {include_obfuscation? bool}}
GET /agents/sessions lists AgentSession
  ? {after? str, agent_id? str, limit? int 0..100, metadata? map str, order? "asc"|"desc"}
GET /agents/sessions/{session_id} gives AgentSession
POST /agents/sessions/{session_id} updates AgentSession
  < {agent? {model? str, reasoning? {effort? AgentEffort}, service_tier? AgentTier, tools? [NewAgentTool]},
    metadata? Metadata, prompt_cache_options? {ttl? "30m"|"12h"}, review? "none"|"auto_review",
    spend_control? {limit int 1..|null}}
DELETE /agents/sessions/{session_id} deletes {id str, object "agent.session.deleted", deleted bool}

AgentSession = {id str, object "agent.session", created_at time, last_active_at time, status "idle"|"in_progress"|
  "requires_action"|"failed", error? str, agent SessionAgent, environment SessionEnvironment,
  required_actions [SessionAction], usage? AgentUsage, vault_ids [str], metadata map str,
  prompt_cache_options? {ttl "30m"|"12h"}, review? "none"|"auto_review", spend_control? {consumed? int, limit int 1..}}
SessionAgent = {id str, name? str, instructions? str, model str, multi_agent MultiAgent, reasoning AgentReasoning,
  service_tier AgentTier, text AgentText, tools [AgentTool], compaction? {async bool},
  experimental? {time_awareness bool}}
NewSessionAgent = {model? str, instructions? str, multi_agent? MultiAgent, reasoning? AgentReasoning,
  service_tier? AgentTier, text? NewAgentText, tools? [NewAgentTool], compaction? NewAgentCompaction,
  experimental? NewAgentExperiments}
NewSessionMessage = {type? "message", role "user", content [SessionInput]}
SessionInput = {type "input_text", text str}|{type "input_image", image_url str}
AgentUsage = {input_tokens int, input_tokens_details {cached_tokens int}, output_tokens int,
  output_tokens_details {reasoning_tokens int}, total_tokens int}

SessionAction = {type "function_call", turn_id str, call_id str, name str, arguments any}|
  {type "mcp_approval_request", turn_id str, request_id str, request {type "mcp_tool_call", server_label str,
  name? str, message str, arguments any}}|{type "computer_use_approval_request", turn_id str, request_id str,
  request BrowserLogin|{type "browser_origin_access", origin str, reason? str}}|
  {type "environment_connection", environment_id str}
BrowserLogin = {type "browser_authentication", credential_origin? str, reason? str, fields [{id str, label str,
  required bool, type str}], options [{id str, field_ids [str], label str}]}

# The stream of a session's events has no end while the session lives.
GET /agents/sessions/{session_id}/events gives nothing
  ? {include_obfuscation? bool}
POST /agents/sessions/{session_id}/events sets nothing
  < {events [SessionEvent] 1..}
SessionEvent = {type "agent.session.input.message", input [NewSessionMessage]}|{type "agent.session.input.cancel"}|
  {type "agent.session.input.tool_result", turn_id str, call_id str, success bool, output? str|[SessionInput],
  error? str}|{type "agent.session.input.mcp_approval_request_result", request_id str, response {type "mcp_tool_call",
  decision "approve"|"deny"|"cancel"}}|{type "agent.session.input.computer_use_approval_request_result",
  request_id str, response {type "browser_authentication", action "submit", fields [{field_id str, value str}],
  selected_option? str}|{type "browser_authentication", action "cancel"}|{type "browser_origin_access",
  decision "approve"|"deny"|"cancel"}}

GET /agents/sessions/{session_id}/turns lists SessionTurn
  ? {after? str, limit? int 0..100, order? "asc"|"desc"}
GET /agents/sessions/{session_id}/turns/{turn_id} gives SessionTurn
GET /agents/sessions/{session_id}/turns/{turn_id}/items lists SessionItem
  ? {after? str, limit? int 0..100, order? "asc"|"desc"}
GET /agents/sessions/{session_id}/items lists SessionItem
  ? {after? str, limit? int 0..100, order? "asc"|"desc"}

SessionTurn = {id str, object "agent.session.turn", created_at time, started_at? time, completed_at? time,
  session_id str, agent_id str, subagent_id? str, status "queued"|"in_progress"|"waiting"|"completed"|"failed"|
  "cancelled", error? {code SessionErrorCode, message str}, usage? AgentUsage,
  prompt_cache_options? {ttl "30m"|"12h"}}
SessionErrorCode = "server_error"|"context_length_exceeded"|"max_output_tokens"|"session_budget_exceeded"|
  "usage_limit_exceeded"|"project_spend_limit_exceeded"|"organization_spend_limit_exceeded"|
  "organization_usage_limit_exceeded"|"billing_not_active"|"credit_balance_exhausted"|"rate_limit_exceeded"|
  "flex_unavailable"|"server_overloaded"|"cyber_policy"|"misalignment_policy_violation"|"connection_failed"|
  "authentication_error"|"invalid_request"|"resource_not_found"|"sandbox_error"|"executor_version_incompatible"|
  "active_turn_not_steerable"|"request_timeout"|"internal_error"
SessionItem = SessionMessage|SessionReasoning|SessionCall|SessionCallOutput|SubagentMessage|SessionMcpCall|
  SessionComputerCall|SessionLogin|SessionLoginResult|SessionWebSearch|SessionCommand|SubagentTask|SubagentAction|
  SubagentWait
SessionItemStatus = "in_progress"|"completed"|"failed"|"incomplete"
SessionMessage = {id? str, type "message", turn_id str, role "user"|"assistant", status "in_progress"|"completed"|
  "incomplete", content [SessionInput|SessionOutput], phase? "commentary"|"final_answer"}
SessionOutput = {type "output_text", text str}
SessionReasoning = {id str, type "reasoning", turn_id str, status? "in_progress"|"completed"|"incomplete",
  summary [{type "summary_text", text str}]}
SessionCall = {id str, type "function_call", turn_id str, status SessionItemStatus, call_id str, name str,
  arguments any}
SessionCallOutput = {id str, type "function_call_output", turn_id str, status SessionItemStatus, call_id str,
  output? str|[SessionInput], error? str}
SessionMcpCall = {id str, type "mcp_call", turn_id str, status SessionItemStatus, server_label str, name str,
  arguments any, output any, error any}
SessionComputerCall = {id str, type "computer_use_call", turn_id str, status SessionItemStatus, title? str,
  output? {type "computer_screenshot", image_url str}}
SessionLogin = {id str, type "computer_use_approval_request", turn_id str, request_id str, request BrowserLogin}
SessionLoginResult = {id str, type "computer_use_approval_request_result", turn_id str, request_id str,
  response {type "browser_authentication", action "submit", selected_option? str}|
  {type "browser_authentication", action "cancel"}}
SessionWebSearch = {id str, type "web_search_call", turn_id str, status "in_progress"|"completed"|"incomplete",
  action? {type "search", query? str, queries? [str]}|{type "open_page", url? str}|{type "find_in_page",
  pattern? str, url? str}|{type "other"}}
SessionCommand = {id str, type "command_execution", turn_id str, status SessionItemStatus, command str, cwd? str,
  output? str, exit_code? int, duration_ms? int}
SubagentMessage = {id str, type "agent_message", turn_id str, sender_agent_id str, recipient_agent_id str,
  content [SubagentContent]}
SubagentContent = SessionOutput|{type "encrypted_content", encrypted_content str}
SubagentTask = {id str, type "create_subagent_call", turn_id str, status SessionItemStatus, agent_id str,
  content [SubagentContent], model? str, reasoning_effort? str}
SubagentAction = {id str, type "send_subagent_input_call", turn_id str, status SessionItemStatus, sender_agent_id str,
  recipient_agent_id str, content [SubagentContent]}|{id str, type "resume_subagent_call"|"interrupt_subagent_call"|
  "close_subagent_call", turn_id str, status SessionItemStatus, sender_agent_id str, recipient_agent_id str}
SubagentWait = {id str, type "wait_for_subagents_call", turn_id str, status SessionItemStatus, sender_agent_id str,
  recipient_agent_ids [str]}

# These lists stay empty: the mock opens no subagents, leaves no artifacts and is not traced.
GET /agents/sessions/{session_id}/subagents lists Subagent
  ? {after? str, limit? int 0..100, order? "asc"|"desc"}
GET /agents/sessions/{session_id}/subagents/{subagent_id} gives Subagent
GET /agents/sessions/{session_id}/subagents/{subagent_id}/items lists SessionItem
  ? {after? str, limit? int 0..100, order? "asc"|"desc"}
GET /agents/sessions/{session_id}/subagents/{subagent_id}/turns lists SessionTurn
  ? {after? str, limit? int 0..100, order? "asc"|"desc"}
GET /agents/sessions/{session_id}/subagents/{subagent_id}/turns/{turn_id} gives SessionTurn
GET /agents/sessions/{session_id}/subagents/{subagent_id}/turns/{turn_id}/items lists SessionItem
  ? {after? str, limit? int 0..100, order? "asc"|"desc"}
Subagent = {id str, object "agent.session.subagent", opened_at time, closed_at? time, session_id str,
  parent_agent_id str, name? str, instructions? [SubagentContent], status "active"|"closed"}

GET /agents/sessions/{session_id}/artifacts lists SessionArtifact
  ? {after? str, environment_id? str, limit? int 0..100, order? "asc"|"desc"}
GET /agents/sessions/{session_id}/artifacts/{artifact_id} gives SessionArtifact
DELETE /agents/sessions/{session_id}/artifacts/{artifact_id} deletes {id str,
  object "agent.session.artifact.deleted", deleted bool}
GET /agents/sessions/{session_id}/artifacts/{artifact_id}/content gives bytes
SessionArtifact = {id str, object "agent.session.artifact", created_at time, session_id str, turn_id str,
  environment_id str, path str, size_bytes int}

GET /agents/sessions/{session_id}/traces lists SessionTrace
  ? {after? str, limit? int 0..100, order? "asc"|"desc"}
SessionTrace = {id str, object "agent.session.trace", created_at time, session_id str, otlp map any}

POST /agents/environments creates AgentEnvironment as env_ through pending 1 ready
  < {environment {type "openai_hosted", capability_directories? [str], desktop? Desktop, env? map str,
    environment_template_id? str, files? [NewEnvironmentFile], network? NewNetwork, packages? NewPackages,
    plugins? [NewPlugin], setup_commands? [SetupCommand], skills? [EnvironmentSkill|NewPlugin]}, vault_ids? [str]}
GET /agents/environments lists AgentEnvironment
  ? {after? str, limit? int 0..100, order? "asc"|"desc", type? "openai_hosted"}
GET /agents/environments/{environment_id} gives AgentEnvironment
POST /agents/environments/{environment_id}/files creates EnvironmentFile
  < NewEnvironmentFile
GET /agents/environments/{environment_id}/files lists EnvironmentFile by token
  ? {limit? int 0..100, order? "asc"|"desc", page? str, path? str}

AgentEnvironment = {id str, object "agent.environment", type "openai_hosted"|"self_hosted", status "pending"|"ready"|
  "connected"|"disconnected"|"suspended"|"expired"|"failed", files [HostedFile], plugins [Plugin],
  skills [HostedSkill|Plugin]}
EnvironmentFile = {object "agent.environment.file", environment_id str, path str, size_bytes int}
# The data of an inline file is base64.
NewEnvironmentFile = {type "file_id", file_id str, path str}|{type "inline", data str, path str}
HostedFile = {id str, type "file_id", file_id str, path str, size_bytes int}|{id str, type "inline", path str,
  size_bytes int}
TemplateFile = {type "file_id", file_id str, path str}|{type "inline", path str, size_bytes int}
EnvironmentSkill = {type "skill_reference", skill_id str, version? str}
HostedSkill = {type "skill_reference", skill_id str, version str, name str, description str}
Plugin = {type "inline", name str, description str}
NewPlugin = {type "inline", name str, description str, source {type "base64", media_type "application/zip", data str}}
Desktop = {enabled bool}
Network = {access "enabled"|"disabled"|"restricted", allowed_domains [str]}
NewNetwork = {access "enabled"|"disabled"|"restricted", allowed_domains? [str], blocked_domains? [str]}
Packages = {npm [str], python [str], system [str]}
NewPackages = {npm? [str], python? [str], system? [str]}
SetupCommand = {command str, cwd? str}

SessionEnvironment = {type "none"}|{id str, type "openai_hosted", capability_directories [str],
  container_size? "small"|"medium"|"large", desktop? Desktop, files [HostedFile], network Network, packages Packages,
  plugins [Plugin], skills [HostedSkill|Plugin]}|{id str, type "self_hosted", capability_directories [str],
  remote_url str, workspace_directory str}
NewSessionEnvironment = {type "none"}|{type "openai_hosted", capability_directories? [str], container_size? "small"|
  "medium"|"large", desktop? Desktop, env? map str, environment_id? str, environment_template_id? str,
  files? [NewEnvironmentFile], network? NewNetwork, packages? NewPackages, plugins? [NewPlugin],
  setup_commands? [SetupCommand], skills? [EnvironmentSkill|NewPlugin]}|{type "self_hosted",
  workspace_directory str, capability_directories? [str]}

POST /agents/environments/templates creates EnvironmentTemplate as envt_
  < {name? str, capability_directories? [str], desktop? Desktop, env? map str, files? [NewEnvironmentFile],
    network? NewNetwork, packages? NewPackages, plugins? [NewPlugin], setup_commands? [SetupCommand],
    skills? [EnvironmentSkill|NewPlugin]}
GET /agents/environments/templates lists EnvironmentTemplate
  ? {after? str, limit? int 0..100, order? "asc"|"desc"}
GET /agents/environments/templates/{environment_template_id} gives EnvironmentTemplate
POST /agents/environments/templates/{environment_template_id} updates EnvironmentTemplate
  < {name? str, capability_directories? [str], desktop? Desktop, env? map str, files? [NewEnvironmentFile],
    network? NewNetwork, packages? NewPackages, plugins? [NewPlugin], setup_commands? [SetupCommand],
    skills? [EnvironmentSkill|NewPlugin]}
DELETE /agents/environments/templates/{environment_template_id} deletes {id str,
  object "agent.environment.template.deleted", deleted bool}

EnvironmentTemplate = {id str, object "agent.environment.template", created_at time, updated_at time, name? str,
  capability_directories [str], desktop? Desktop, files [TemplateFile], network Network, packages Packages,
  plugins [Plugin], skills [EnvironmentSkill|Plugin]}

POST /agents/automations creates Automation as auto_
  < {type "periodic", name str, expression str, timezone str, target NewAutomationTarget, metadata? Metadata}|
    {type "once", name str, run_at int, target NewAutomationTarget, metadata? Metadata}
GET /agents/automations lists Automation
  ? {after? str, limit? int 0..100, order? "asc"|"desc", session_id? str}
GET /agents/automations/{automation_id} gives Automation
POST /agents/automations/{automation_id} updates Automation
  < {name? str, expression? str, run_at? int, timezone? str, target? NewAutomationTarget, metadata? Metadata}
DELETE /agents/automations/{automation_id} deletes {id str, object "agent.automation.deleted", deleted bool}
POST /agents/automations/{automation_id}/pause sets Automation with {status "paused"}
POST /agents/automations/{automation_id}/resume sets Automation with {status "active"}

Automation = {id str, object "agent.automation", type "periodic", created_at time, created_by AutomationAuthor,
  name str, status "active"|"paused", pause_reason? "target_session_failed", expression str, timezone str,
  target AutomationTarget, metadata map str}|{id str, object "agent.automation", type "once", created_at time,
  created_by AutomationAuthor, name str, status "active"|"paused"|"completed", pause_reason? "target_session_failed",
  run_at time, target AutomationTarget, metadata map str}
AutomationAuthor = {type "developer"}|{type "agent", session_id str, tool_call_id str}
AutomationTarget = {type "new_session", agent? AutomationAgent, agent_id? str, environment AutomationEnvironment,
  input [{type "message", role "user", content [SessionInput]}], vault_ids [str], metadata map str}|
  {type "existing_session", session_id str, instructions str}
NewAutomationTarget = {type "new_session", agent? NewSessionAgent, agent_id? str, environment NewSessionEnvironment,
  input [NewSessionMessage], vault_ids? [str], metadata? Metadata}|
  {type "existing_session", session_id str, instructions str}
AutomationAgent = {model str, instructions? str, multi_agent MultiAgent, reasoning AgentReasoning,
  service_tier AgentTier, text AgentText, tools [AgentTool], compaction? {async bool},
  experimental? {time_awareness bool}}
AutomationEnvironment = {type "none"}|{type "openai_hosted", capability_directories? [str], container_size? "small"|
  "medium"|"large", desktop? Desktop, environment_id? str, environment_template_id? str, files? [TemplateFile],
  network? Network, packages? Packages, plugins? [Plugin], skills? [EnvironmentSkill|Plugin]}|{type "self_hosted",
  capability_directories [str], environment_id? str, workspace_directory str}

POST /agents/automations/{automation_id}/invocations creates AutomationInvocation as autoinv_
  through queued 0.5 completed
GET /agents/automations/{automation_id}/invocations lists AutomationInvocation
  ? {after? str, limit? int 0..100, order? "asc"|"desc"}
GET /agents/automations/{automation_id}/invocations/{invocation_id} gives AutomationInvocation

AutomationInvocation = {id str, object "agent.automation.invocation", created_at time, automation_id str,
  scheduled_at? time, session_id? str, source {type "manual"}|{type "automation", automation Automation},
  status "queued"|"completed"|"failed"|"skipped", skip_reason? "pending_delivery", error? {code str, message str}}

POST /vaults creates Vault as vault_
  < {name? str, metadata? Metadata}
GET /vaults lists Vault
  ? {after? str, limit? int 0..100, metadata? map str, order? "asc"|"desc", status? VaultStatus|[VaultStatus]}
GET /vaults/{vault_id} gives Vault
POST /vaults/{vault_id} updates Vault
  < {name? str, metadata? Metadata}
DELETE /vaults/{vault_id} deletes {id str, object "vault.deleted", deleted bool}

Vault = {id str, object "vault", created_at time, name? str, metadata map str}
VaultStatus = "active"|"archived"

POST /vaults/{vault_id}/credentials creates Credential as cred_
  < {name str, auth NewCredentialAuth, metadata? Metadata}
GET /vaults/{vault_id}/credentials lists Credential
  ? {after? str, limit? int 0..100, metadata? map str, order? "asc"|"desc", status? VaultStatus|[VaultStatus]}
GET /vaults/{vault_id}/credentials/{credential_id} gives Credential
POST /vaults/{vault_id}/credentials/{credential_id} updates Credential
  < {auth? ChangedCredentialAuth, metadata? Metadata}
DELETE /vaults/{vault_id}/credentials/{credential_id} deletes {id str, object "vault.credential.deleted",
  deleted bool}

# Requests have tokens, passwords and values. Answers have no members for them.
Credential = {id str, object "vault.credential", created_at time, updated_at time, vault_id str, name str,
  auth CredentialAuth, metadata map str}
CredentialAuth = {type "mcp_oauth", mcp_server_url str, expires_at? str, refresh? {client_id str, resource? str,
  scope? str, token_endpoint str, token_endpoint_auth {type "none"|"client_secret_basic"|"client_secret_post"}}}|
  {type "static_bearer", mcp_server_url str}|{type "environment_variable", secret_name str,
  networking CredentialHosts}
CredentialHosts = {type "unrestricted"}|{type "limited", allowed_hosts [str]}
NewCredentialAuth = {type "mcp_oauth", access_token str, mcp_server_url str, expires_at? str, refresh? {
  client_id str, refresh_token str, token_endpoint str, token_endpoint_auth {type "none"}|
  {type "client_secret_basic"|"client_secret_post", client_secret str}, resource? str, scope? str}}|
  {type "static_bearer", token str, mcp_server_url str}|{type "environment_variable", secret_name str,
  secret_value str, networking CredentialHosts}
ChangedCredentialAuth = {type "mcp_oauth", access_token? str, expires_at? str, refresh? {refresh_token? str,
  scope? str, token_endpoint_auth? {type "client_secret_basic"|"client_secret_post", client_secret? str}}}|
  {type "static_bearer", token str}|{type "environment_variable", secret_value str}
"""
