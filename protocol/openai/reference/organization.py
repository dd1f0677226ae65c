"""The administration of organizations and projects.

Source: OpenAI API reference. Notation: protocol/openai/api/{notation,operations}.py.
"""

from __future__ import annotations

ORGANIZATION_REFERENCE = """\
GET /organization/admin_api_keys lists AdminAPIKey
  ? {after? str, limit? int 0.., order? "asc"|"desc"}
AdminAPIKey = {id str, created_at time, expires_at? time, object "organization.admin_api_key", owner AdminAPIKeyOwner,
  redacted_value str, last_used_at? time, name? str}
AdminAPIKeyOwner = {id? str, created_at? time, name? str, object? str, role? str, type? str}
POST /organization/admin_api_keys creates {id str, created_at time, expires_at? time,
  object "organization.admin_api_key", owner AdminAPIKeyOwner, redacted_value str, last_used_at? time, name? str,
  value str} as key_
  < {name str, expires_in_seconds? int}
GET /organization/admin_api_keys/{key_id} gives AdminAPIKey
DELETE /organization/admin_api_keys/{key_id} deletes {id str, deleted bool,
  object "organization.admin_api_key.deleted"}

# An entry's details are in a member that has the name of its type.
GET /organization/audit_logs lists {id str, effective_at time, type AuditEventType, project? {id? str, name? str},
  actor? AuditActor}
  ? {actor_emails? [str], actor_ids? [str], after? str, before? str, effective_at? {gt? int, gte? int, lt? int,
    lte? int}, event_types? [AuditEventType], limit? int 0.., project_ids? [str], resource_ids? [str],
    tenant_only? bool}
AuditActor = {type? "session"|"api_key", api_key? {id? str, type? "user"|"service_account", user? {id? str,
  email? str}, service_account? {id? str}}}
AuditEventType = "api_key.created"|"api_key.updated"|"api_key.deleted"|"certificate.created"|"certificate.updated"|
  "certificate.deleted"|"certificates.activated"|"certificates.deactivated"|"checkpoint.permission.created"|
  "checkpoint.permission.deleted"|"external_key.registered"|"external_key.removed"|"external_storage.registered"|
  "external_storage.removed"|"group.created"|"group.updated"|"group.deleted"|"invite.sent"|"invite.accepted"|
  "invite.deleted"|"ip_allowlist.created"|"ip_allowlist.updated"|"ip_allowlist.deleted"|
  "ip_allowlist.config.activated"|"ip_allowlist.config.deactivated"|"login.succeeded"|"login.failed"|
  "logout.succeeded"|"logout.failed"|"organization.updated"|"project.created"|"project.updated"|"project.archived"|
  "project.deleted"|"rate_limit.updated"|"rate_limit.deleted"|"resource.deleted"|"tunnel.created"|"tunnel.updated"|
  "tunnel.deleted"|"workload_identity_provider.created"|"workload_identity_provider.updated"|
  "workload_identity_provider.deleted"|"workload_identity_provider_mapping.created"|
  "workload_identity_provider_mapping.updated"|"workload_identity_provider_mapping.deleted"|"role.created"|
  "role.updated"|"role.deleted"|"role.assignment.created"|"role.assignment.deleted"|"role.bound_to_resource"|
  "role.unbound_from_resource"|"scim.enabled"|"scim.disabled"|"service_account.created"|"service_account.updated"|
  "service_account.deleted"|"user.added"|"user.updated"|"user.deleted"|"tenant.metadata.updated"|
  "tenant.microsoft_entra_mapping.upserted"|"tenant.microsoft_entra_mapping.deleted"|
  "tenant.workload_identity.provider.created"|"tenant.workload_identity.provider.updated"|
  "tenant.workload_identity.provider.archived"|"tenant.workload_identity.mapping.created"|
  "tenant.workload_identity.mapping.updated"|"tenant.workload_identity.mapping.archived"|
  "tenant.workload_identity.binding.created"|"tenant.workload_identity.principal.provisioned"|
  "tenant.workload_identity.access_token.issued"|"tenant.admin_api_key.created"|"tenant.admin_api_key.updated"|
  "tenant.admin_api_key.deleted"|"tenant.project_api_key.created"|
  "tenant.trusted_access.business_verification.started"|"tenant.trusted_access.application.submitted"|
  "tenant.chatgpt_access_token.revoked"|"tenant.migration.completed"|"tenant.sso.migrated"|"tenant.domains.migrated"|
  "tenant.sso_connection.created"|"tenant.sso_connection.updated"|"tenant.sso_connection.deleted"|
  "tenant.sso_connection.setup.started"|"tenant.policy.created"|"tenant.policy.updated"|"tenant.policy.deleted"|
  "tenant.policy.attached"|"tenant.policy.detached"|"tenant.principal_authentication_policy.resolved"|
  "tenant.scim.setup.started"|"tenant.scim.deletion.requested"|"tenant.scim.directory.created"|
  "tenant.product_access_policy.updated"|"tenant.resource_share_grant.created"|"tenant.resource_share_grant.updated"|
  "tenant.resource_share_grant.accepted"|"tenant.resource_share_grant.declined"|"tenant.resource_share_grant.revoked"|
  "tenant.resource_share_grant.deleted"|"tenant.service_account.updated"|"tenant.service_account.deleted"|
  "tenant.service_account.token.revoked"|"tenant.billing.overage_limit.updated"|"tenant.billing.alerts.updated"|
  "tenant.billing.info.updated"|"tenant.usage_limit.workspace.updated"|"tenant.usage_limit.group.updated"|
  "tenant.usage_limit.user.updated"|"tenant.usage_limit.increase_request.updated"|
  "tenant.usage_limit.increase_request.resolved"|"tenant.group.created"|"tenant.group.updated"|"tenant.group.deleted"|
  "tenant.group.member.added"|"tenant.group.member.removed"|"tenant.migration_rollout.status.updated"|
  "tenant.migration_rollout.tier.updated"|"tenant.role.metadata.updated"|"tenant.custom_role.created"|
  "tenant.custom_role.updated"|"tenant.custom_role.deleted"|"tenant.role_assignment.created"|
  "tenant.role_assignment.deleted"|"tenant.resource_role_assignment.created"|
  "tenant.resource_role_assignment.deleted"|"tenant.resource_access.updated"|"tenant.resource_access.deleted"|
  "tenant.ads_account.onboarding.redemption"|"tenant.session_policy.created"|"tenant.session_policy.updated"|
  "tenant.session_policy.deleted"|"tenant.session_revocation.started"|"tenant.third_party_app_policy.updated"|
  "tenant.user.added"|"tenant.user.updated"|"tenant.user.removed"|"tenant.user.looked_up"|"tenant.user.invited"|
  "tenant.membership.revoked"|"tenant.api_organization_invite.upserted"|"tenant.api_organization_invite.deleted"|
  "tenant.chatgpt_workspace_invite.upserted"|"tenant.membership.accepted"|"tenant.membership.declined"|
  "tenant.workspace_invite_email_settings.updated"

GET /organization/certificates lists OrganizationCertificate
  ? {after? str, limit? int 0.., order? "asc"|"desc"}
OrganizationCertificate = {id str, active bool, certificate_details CertificateValidity, created_at time, name? str,
  object "organization.certificate"}
CertificateValidity = {expires_at? time, valid_at? time}
POST /organization/certificates creates Certificate as cert_
  < {certificate str, name? str}
Certificate = {id str, certificate_details {content? str, expires_at? time, valid_at? time}, created_at time,
  name? str, object "organization.certificate"|"certificate"|"organization.project.certificate", active? bool}
POST /organization/certificates/activate answers OrganizationCertificate whole
  < {certificate_ids [str]}
POST /organization/certificates/deactivate answers OrganizationCertificate whole
  < {certificate_ids [str]}
GET /organization/certificates/{certificate_id} gives Certificate
  ? {include? ["content"]}
POST /organization/certificates/{certificate_id} updates Certificate
  < {name? str}
DELETE /organization/certificates/{certificate_id} deletes {id str, object "certificate.deleted"}

GET /organization/costs answers UsagePage
  ? {start_time int, api_key_ids? [str], bucket_width? "1d", end_time? int, group_by? ["project_id"|"user_id"|
    "line_item"|"api_key_id"|"api_source"], limit? int 0.., line_items? [str], page? str, project_ids? [str]}
UsagePage = {data [UsageBucket], has_more bool, next_page? str, object "page"}
UsageBucket = {end_time int, object "bucket", results [CompletionsUsage|{input_tokens int,
  num_model_requests int, object "organization.usage.embeddings.result", api_key_id? str, model? str, project_id? str,
  user_id? str}|{input_tokens int, num_model_requests int, object "organization.usage.moderations.result",
  api_key_id? str, model? str, project_id? str, user_id? str}|{images int, num_model_requests int,
  object "organization.usage.images.result", api_key_id? str, model? str, project_id? str, size? str, source? str,
  user_id? str}|{characters int, num_model_requests int, object "organization.usage.audio_speeches.result",
  api_key_id? str, model? str, project_id? str, user_id? str}|{num_model_requests int,
  object "organization.usage.audio_transcriptions.result", seconds int, api_key_id? str, model? str, project_id? str,
  user_id? str}|{object "organization.usage.vector_stores.result", usage_bytes int, project_id? str}|
  {num_sessions int, object "organization.usage.code_interpreter_sessions.result", project_id? str}|{num_requests int,
  object "organization.usage.file_searches.result", api_key_id? str, project_id? str, user_id? str,
  vector_store_id? str}|{num_model_requests int, num_requests int, object "organization.usage.web_searches.result",
  api_key_id? str, api_source? "agents_api"|"unlabeled", context_level? str, model? str, project_id? str,
  user_id? str}|{object "organization.costs.result", amount? {currency? str, value? num}, api_key_id? str,
  api_source? "agents_api"|"unlabeled", line_item? str, project_id? str, quantity? num, quantity_unit? str,
  user_id? str}], start_time int}
CompletionsUsage = {input_tokens int, num_model_requests int,
  object "organization.usage.completions.result", output_tokens int, api_key_id? str, api_source? "agents_api"|
  "unlabeled", batch? bool, input_audio_tokens? int, input_cache_write_12h_tokens? int,
  input_cache_write_30m_tokens? int, input_cache_write_tokens? int, input_cached_audio_tokens? int,
  input_cached_image_tokens? int, input_cached_text_tokens? int, input_cached_tokens? int, input_image_tokens? int,
  input_text_tokens? int, input_uncached_tokens? int, model? str, output_audio_tokens? int, output_image_tokens? int,
  output_text_tokens? int, project_id? str, service_tier? str, user_id? str}

GET /organization/data_retention gives OrganizationDataRetention
OrganizationDataRetention = {object "organization.data_retention", type OrganizationRetention}
OrganizationRetention = "zero_data_retention"|"modified_abuse_monitoring"|"enhanced_zero_data_retention"|
  "enhanced_modified_abuse_monitoring"
POST /organization/data_retention updates OrganizationDataRetention
  < {retention_type OrganizationRetention}

GET /organization/external_keys lists ExternalKey
  ? {after? str, limit? int 0.., order? "asc"|"desc", purpose? "ekm"|"psp_decryption"}
ExternalKey = {id str, api_project_ids [str], created_at time, name str, object str, type str, workspace_id str,
  audience? str, external_id? str, key_name? str, key_ocid? str, key_version? str, key_version_ocid? str,
  kms_arn? str, kms_key_location? str, kms_key_name? str, kms_key_ring_name? str, kms_key_version? str,
  kms_project_id? str, purpose? "ekm"|"psp_decryption", region? str, role_arn? str, tenant_id? str, vault_ocid? str,
  vault_uri? str, workload_identity_pool_id? str, workload_identity_project_number? str,
  workload_identity_provider_id? str}
POST /organization/external_keys creates ExternalKey as extkey_
  < {external_id str, kms_arn str, name str, role_arn str, type "aws", purpose? "ekm"|"psp_decryption"}|{audience str,
    kms_key_location str, kms_key_name str, kms_key_ring_name str, kms_project_id str, name str, type "gcp",
    workload_identity_pool_id str, workload_identity_project_number str, workload_identity_provider_id str,
    kms_key_version? str, purpose? "ekm"|"psp_decryption"}|{key_name str, name str, tenant_id str, type "azure",
    vault_uri str, key_version? str, purpose? "ekm"|"psp_decryption"}|{key_ocid str, name str, region str, type "oci",
    vault_ocid str, key_version_ocid? str, purpose? "ekm"|"psp_decryption"}
GET /organization/external_keys/{external_key_id} gives ExternalKey
DELETE /organization/external_keys/{external_key_id} deletes ExternalKey
POST /organization/external_keys/{external_key_id}/validate answers {status str} with {status "valid"}

GET /organization/external_storage lists ExternalStorageConfiguration
  ? {after? str, limit? int 0.., order? "asc"|"desc", project_id? str}
ExternalStorageConfiguration = {id str, created_at time, geography str, object "organization.external_storage",
  project_id str, provider {account_id str, bucket str, external_id str, region str, role_arn str, type "aws"}|
  {account_name str, container str, region str, resource_group str, subscription_id str, tenant_id str, type "azure"}|
  {audience str, bucket str, region str, type "gcp", workload_identity_pool_id str,
  workload_identity_project_number str, workload_identity_provider_id str}|OciExternalStorageProvider,
  status "pending"|"validated"|"degraded"|"unhealthy"}
OciExternalStorageProvider = {bucket str, region str, tenancy_ocid str, type "oci"}
POST /organization/external_storage creates ExternalStorageConfiguration as extstore_
  < {project_id str, provider {bucket str, role_arn str, type "aws"}|{account_name str, container str,
    resource_group str, subscription_id str, tenant_id str, type "azure"}|{bucket str, type "gcp",
    workload_identity_pool_id str, workload_identity_project_number str, workload_identity_provider_id str}|
    OciExternalStorageProvider}
GET /organization/external_storage/{external_storage_id} gives ExternalStorageConfiguration
DELETE /organization/external_storage/{external_storage_id} deletes {id str, deleted bool,
  object "organization.external_storage.deleted"}
POST /organization/external_storage/{external_storage_id}/validate sets ExternalStorageConfiguration
  with {status "validated"}

GET /organization/groups lists Group by next
  ? {after? str, limit? int 0.., order? "asc"|"desc"}
Group = {id str, created_at time, group_type "group"|"tenant_group", is_scim_managed bool, name str}
POST /organization/groups creates Group as group_
  < {name str}
GET /organization/groups/{group_id} gives Group
POST /organization/groups/{group_id} updates {id str, created_at time, is_scim_managed bool, name str}
  < {name str}
DELETE /organization/groups/{group_id} deletes {id str, deleted bool, object "group.deleted"}

GET /organization/groups/{group_id}/roles lists AssignedRole by next
  ? {after? str, limit? int 0.., order? "asc"|"desc"}
AssignedRole = {id str, assignment_sources? [{principal_id str, principal_type str}], created_at? time, created_by? str,
  created_by_user_obj? map any, description? str, metadata? map any, name str, permissions [str],
  predefined_role bool, resource_type str, updated_at? time}
POST /organization/groups/{group_id}/roles creates GroupRole
  < {role_id str}
GroupRole = {group {id str, created_at time, name str, object "group", scim_managed bool}, object "group.role",
  role Role}
Role = {id str, description? str, name str, object "role", permissions [str], predefined_role bool,
  resource_type str}
GET /organization/groups/{group_id}/roles/{role_id} gives AssignedRole
DELETE /organization/groups/{group_id}/roles/{role_id} deletes GroupRoleUnassigned
GroupRoleUnassigned = {deleted bool, object "group.role.deleted"}
UserRoleUnassigned = {deleted bool, object "user.role.deleted"}

GET /organization/groups/{group_id}/users lists {id str, email? str, name str} by next
  ? {after? str, limit? int 0.., order? "asc"|"desc"}
POST /organization/groups/{group_id}/users creates {group_id str, object "group.user", user_id str}
  < {user_id str}
GET /organization/groups/{group_id}/users/{user_id} gives {id str, email? str, is_service_account? bool, name str,
  picture? str, user_type "user"|"tenant_user"}
DELETE /organization/groups/{group_id}/users/{user_id} deletes {deleted bool, object "group.user.deleted"}

GET /organization/invites lists Invite
  ? {after? str, limit? int 0..}
Invite = {id str, created_at time, email str, object "organization.invite", projects [InvitedProject], role "owner"|
  "reader", status "accepted"|"expired"|"pending", accepted_at? time, expires_at? time}
InvitedProject = {id str, role "member"|"owner"}
POST /organization/invites creates Invite as invite- with {status "pending"}
  < {email str, role "reader"|"owner", projects? [InvitedProject]}
GET /organization/invites/{invite_id} gives Invite
DELETE /organization/invites/{invite_id} deletes {id str, deleted bool, object "organization.invite.deleted"}

GET /organization/projects lists Project
  ? {after? str, include_archived? bool, limit? int 0..}
Project = {id str, created_at time, object "organization.project", archived_at? time, external_key_id? str,
  name? str, residency? Residency, status? str}
Residency = "GLOBAL"|"US_STORAGE_PROCESSING"|"EU_STORAGE_PROCESSING"|"JP_STORAGE"|"JP_STORAGE_PROCESSING"|
  "KR_STORAGE"|"CA_STORAGE"|"SG_STORAGE"|"IN_STORAGE"|"IN_STORAGE_PROCESSING"|"AU_STORAGE"|"AU_STORAGE_PROCESSING"|
  "GB_STORAGE"|"AE_STORAGE"|"AE_STORAGE_PROCESSING"
POST /organization/projects creates Project as proj_ with {status "active"}
  < {name str, external_key_id? str, geography? str, residency? Residency}
GET /organization/projects/{project_id} gives Project
POST /organization/projects/{project_id} updates Project
  < {external_key_id? str, geography? str, name? str}

GET /organization/projects/{project_id}/api_keys lists ProjectAPIKey
  ? {after? str, limit? int 0.., owner_project_access? "active"|"inactive"|"any"}
ProjectAPIKey = {id str, created_at time, last_used_at? time, name str, object "organization.project.api_key",
  owner {service_account? {id str, created_at time, name str, role str}, type? "user"|"service_account",
  user? {id str, created_at time, email str, name str, role str}}, owner_project_access "active"|"inactive",
  redacted_value str, expires_at? time}
GET /organization/projects/{project_id}/api_keys/{api_key_id} gives ProjectAPIKey
POST /organization/projects/{project_id}/api_keys/{api_key_id} updates ProjectAPIKey
  < {expires_in_seconds? int, scopes? [str]}
DELETE /organization/projects/{project_id}/api_keys/{api_key_id} deletes {id str, deleted bool,
  object "organization.project.api_key.deleted"}

POST /organization/projects/{project_id}/archive sets Project with {status "archived"}

GET /organization/projects/{project_id}/certificates lists ProjectCertificate
  ? {after? str, limit? int 0.., order? "asc"|"desc"}
ProjectCertificate = {id str, active bool, certificate_details CertificateValidity, created_at time, name? str,
  object "organization.project.certificate"}
POST /organization/projects/{project_id}/certificates/activate answers ProjectCertificate whole
  < {certificate_ids [str]}
POST /organization/projects/{project_id}/certificates/deactivate answers ProjectCertificate whole
  < {certificate_ids [str]}

GET /organization/projects/{project_id}/data_retention gives ProjectDataRetention
ProjectDataRetention = {object "project.data_retention", type ProjectRetention}
ProjectRetention = "organization_default"|"none"|"zero_data_retention"|"modified_abuse_monitoring"|
  "enhanced_zero_data_retention"|"enhanced_modified_abuse_monitoring"
POST /organization/projects/{project_id}/data_retention updates ProjectDataRetention
  < {retention_type ProjectRetention}

GET /organization/projects/{project_id}/groups lists ProjectGroup by next
  ? {after? str, limit? int 0.., order? "asc"|"desc"}
ProjectGroup = {created_at time, group_id str, group_name str, group_type "group"|"tenant_group",
  object "project.group", project_id str}
POST /organization/projects/{project_id}/groups creates ProjectGroup
  < {group_id str, role str}
GET /organization/projects/{project_id}/groups/{group_id} gives ProjectGroup
  ? {group_type? "group"|"tenant_group"}
DELETE /organization/projects/{project_id}/groups/{group_id} deletes {deleted bool, object "project.group.deleted"}

GET /organization/projects/{project_id}/hosted_tool_permissions gives ProjectHostedToolPermissions
ProjectHostedToolPermissions = {code_interpreter ToolPermission, file_search ToolPermission,
  image_generation ToolPermission, mcp ToolPermission, web_search ToolPermission}
ToolPermission = {enabled bool}
POST /organization/projects/{project_id}/hosted_tool_permissions updates ProjectHostedToolPermissions
  < {code_interpreter? ToolPermission, file_search? ToolPermission, image_generation? ToolPermission,
    mcp? ToolPermission, web_search? ToolPermission}

GET /organization/projects/{project_id}/model_permissions gives ProjectModelPermissions
ProjectModelPermissions = {mode "deny_list"|"allow_list", model_ids [str], object "project.model_permissions"}
POST /organization/projects/{project_id}/model_permissions updates ProjectModelPermissions
  < {mode "allow_list"|"deny_list", model_ids [str]}
DELETE /organization/projects/{project_id}/model_permissions deletes {deleted bool,
  object "project.model_permissions.deleted"}

GET /organization/projects/{project_id}/rate_limits lists ProjectRateLimit
  ? {after? str, before? str, limit? int 0..}
ProjectRateLimit = {id str, max_requests_per_1_minute int, max_tokens_per_1_minute int, model str,
  object "project.rate_limit", batch_1_day_max_input_tokens? int, max_audio_megabytes_per_1_minute? int,
  max_images_per_1_minute? int, max_requests_per_1_day? int}
POST /organization/projects/{project_id}/rate_limits/{rate_limit_id} updates ProjectRateLimit
  < {batch_1_day_max_input_tokens? int, max_audio_megabytes_per_1_minute? int,
    max_images_per_1_minute? int, max_requests_per_1_day? int, max_requests_per_1_minute? int,
    max_tokens_per_1_minute? int}

GET /organization/projects/{project_id}/service_accounts lists ProjectServiceAccount
  ? {after? str, limit? int 0..}
ProjectServiceAccount = {id str, created_at time, name str, object "organization.project.service_account",
  role "owner"|"member"|"none"}
POST /organization/projects/{project_id}/service_accounts creates {id str, api_key? ServiceAccountKey,
  created_at time, name str, object "organization.project.service_account", role "member"|"none"} as svc_acct_
  < {name str, create_service_account_only? bool, expires_in_seconds? int}
ServiceAccountKey = {id str, created_at time, name str, object "organization.project.service_account.api_key",
  value str, expires_at? time}
GET /organization/projects/{project_id}/service_accounts/{service_account_id} gives ProjectServiceAccount
POST /organization/projects/{project_id}/service_accounts/{service_account_id} updates ProjectServiceAccount
  < {name? str, role? "member"|"owner"}
DELETE /organization/projects/{project_id}/service_accounts/{service_account_id} deletes {id str, deleted bool,
  object "organization.project.service_account.deleted"}

POST /organization/projects/{project_id}/service_accounts/{service_account_id}/api_keys creates ServiceAccountKey
  as key_
  < {expires_in_seconds? int, name? str, scopes? [str]}

GET /organization/projects/{project_id}/service_tier_settings gives ProjectServiceTierSettings
ProjectServiceTierSettings = {default "standard"|"fast"|"scale", enabled_tiers "all"|["flex"|"fast"|"ultrafast"],
  object "project.service_tier_settings"}
POST /organization/projects/{project_id}/service_tier_settings updates ProjectServiceTierSettings
  < {default? "standard"|"fast"|"scale", enabled_tiers? "all"|["flex"|"fast"|"ultrafast"]}

GET /organization/projects/{project_id}/spend_alerts lists ProjectSpendAlert
  ? {after? str, before? str, limit? int 0.., order? "asc"|"desc"}
ProjectSpendAlert = {id str, currency "USD", interval "month", notification_channel NotificationChannel,
  object "project.spend_alert", threshold_amount int}
NotificationChannel = {recipients [str], type "email", subject_prefix? str}
POST /organization/projects/{project_id}/spend_alerts creates ProjectSpendAlert as alert_
  < {currency "USD", interval "month", notification_channel NotificationChannel, threshold_amount int}
GET /organization/projects/{project_id}/spend_alerts/{alert_id} gives ProjectSpendAlert
POST /organization/projects/{project_id}/spend_alerts/{alert_id} updates ProjectSpendAlert
  < {currency "USD", interval "month", notification_channel NotificationChannel, threshold_amount int}
DELETE /organization/projects/{project_id}/spend_alerts/{alert_id} deletes {id str, deleted bool,
  object "project.spend_alert.deleted"}

GET /organization/projects/{project_id}/spend_limit gives ProjectSpendLimit
ProjectSpendLimit = {currency str, enforcement SpendEnforcement, interval str,
  object "project.spend_limit", threshold_amount int}
POST /organization/projects/{project_id}/spend_limit updates ProjectSpendLimit
  < {currency "USD", interval "month", threshold_amount int}
DELETE /organization/projects/{project_id}/spend_limit deletes {deleted bool, object "project.spend_limit.deleted"}

GET /organization/projects/{project_id}/users lists ProjectUser
  ? {after? str, limit? int 0..}
ProjectUser = {id str, added_at time, object "organization.project.user", role str, email? str, name? str}
POST /organization/projects/{project_id}/users creates ProjectUser
  < {role str, email? str, user_id? str}
GET /organization/projects/{project_id}/users/{user_id} gives ProjectUser
POST /organization/projects/{project_id}/users/{user_id} updates ProjectUser
  < {role? str}
DELETE /organization/projects/{project_id}/users/{user_id} deletes {id str, deleted bool,
  object "organization.project.user.deleted"}

GET /organization/roles lists Role by next
  ? {after? str, limit? int 0.., order? "asc"|"desc"}
POST /organization/roles creates Role as role_
  < {permissions [str], role_name str, description? str}
GET /organization/roles/{role_id} gives Role
POST /organization/roles/{role_id} updates Role
  < {description? str, permissions? [str], role_name? str}
DELETE /organization/roles/{role_id} deletes RoleDeleted
RoleDeleted = {id str, deleted bool, object "role.deleted"}

GET /organization/spend_alerts lists OrganizationSpendAlert
  ? {after? str, before? str, limit? int 0.., order? "asc"|"desc"}
OrganizationSpendAlert = {id str, currency "USD", interval "month", notification_channel NotificationChannel,
  object "organization.spend_alert", threshold_amount int}
POST /organization/spend_alerts creates OrganizationSpendAlert as alert_
  < {currency "USD", interval "month", notification_channel NotificationChannel, threshold_amount int}
GET /organization/spend_alerts/{alert_id} gives OrganizationSpendAlert
POST /organization/spend_alerts/{alert_id} updates OrganizationSpendAlert
  < {currency "USD", interval "month", notification_channel NotificationChannel, threshold_amount int}
DELETE /organization/spend_alerts/{alert_id} deletes {id str, deleted bool, object "organization.spend_alert.deleted"}

GET /organization/spend_limit gives OrganizationSpendLimit
SpendEnforcement = {status str}
OrganizationSpendLimit = {currency str, enforcement SpendEnforcement, interval str,
  object "organization.spend_limit", threshold_amount int}
POST /organization/spend_limit updates OrganizationSpendLimit
  < {currency "USD", interval "month", threshold_amount int}
DELETE /organization/spend_limit deletes {deleted bool, object "organization.spend_limit.deleted"}

GET /organization/usage/audio_speeches answers UsagePage
  ? {start_time int, api_key_ids? [str], bucket_width? "1m"|"1h"|"1d", end_time? int, group_by? ["project_id"|
    "user_id"|"api_key_id"|"model"], limit? int 0.., models? [str], page? str, project_ids? [str], user_ids? [str]}

GET /organization/usage/audio_transcriptions answers UsagePage
  ? {start_time int, api_key_ids? [str], bucket_width? "1m"|"1h"|"1d", end_time? int, group_by? ["project_id"|
    "user_id"|"api_key_id"|"model"], limit? int 0.., models? [str], page? str, project_ids? [str], user_ids? [str]}

GET /organization/usage/code_interpreter_sessions answers UsagePage
  ? {start_time int, bucket_width? "1m"|"1h"|"1d", end_time? int, group_by? ["project_id"], limit? int 0.., page? str,
    project_ids? [str]}

GET /organization/usage/completions answers UsagePage
  ? {start_time int, api_key_ids? [str], batch? bool, bucket_width? "1m"|"1h"|"1d", end_time? int,
    group_by? ["project_id"|"user_id"|"api_key_id"|"model"|"batch"|"service_tier"|"api_source"], limit? int 0..,
    models? [str], page? str, project_ids? [str], user_ids? [str]}

GET /organization/usage/decisions answers {data [{end_time int, object "bucket", results [DecisionsUsage],
  start_time int}], has_more bool, next_page? str, object "page"}
  ? {start_time int, api_key_ids? [str], batch? bool, bucket_width? "1m"|"1h"|"1d", end_time? int,
    group_by? ["project_id"|"user_id"|"api_key_id"|"model"|"batch"|"service_tier"|"api_source"], limit? int 0..,
    models? [str], page? str, project_ids? [str], user_ids? [str]}
DecisionsUsage = {input_tokens int, num_model_requests int, object "organization.usage.decisions.result",
  output_tokens int, api_key_id? str, api_source? "agents_api"|"unlabeled", batch? bool, input_audio_tokens? int,
  input_cache_write_12h_tokens? int, input_cache_write_30m_tokens? int, input_cache_write_tokens? int,
  input_cached_audio_tokens? int, input_cached_image_tokens? int, input_cached_text_tokens? int,
  input_cached_tokens? int, input_image_tokens? int, input_text_tokens? int, input_uncached_tokens? int, model? str,
  output_audio_tokens? int, output_image_tokens? int, output_text_tokens? int, project_id? str, service_tier? str,
  user_id? str}

GET /organization/usage/embeddings answers UsagePage
  ? {start_time int, api_key_ids? [str], bucket_width? "1m"|"1h"|"1d", end_time? int, group_by? ["project_id"|
    "user_id"|"api_key_id"|"model"], limit? int 0.., models? [str], page? str, project_ids? [str], user_ids? [str]}

GET /organization/usage/file_search_calls answers UsagePage
  ? {start_time int, api_key_ids? [str], bucket_width? "1m"|"1h"|"1d", end_time? int, group_by? ["project_id"|
    "user_id"|"api_key_id"|"vector_store_id"], limit? int 0.., page? str, project_ids? [str], user_ids? [str],
    vector_store_ids? [str]}

GET /organization/usage/images answers UsagePage
  ? {start_time int, api_key_ids? [str], bucket_width? "1m"|"1h"|"1d", end_time? int, group_by? ["project_id"|
    "user_id"|"api_key_id"|"model"|"size"|"source"], limit? int 0.., models? [str], page? str, project_ids? [str],
    sizes? ["256x256"|"512x512"|"1024x1024"|"1792x1792"|"1024x1792"], sources? ["image.generation"|"image.edit"|
    "image.variation"], user_ids? [str]}

GET /organization/usage/moderations answers UsagePage
  ? {start_time int, api_key_ids? [str], bucket_width? "1m"|"1h"|"1d", end_time? int, group_by? ["project_id"|
    "user_id"|"api_key_id"|"model"], limit? int 0.., models? [str], page? str, project_ids? [str], user_ids? [str]}

GET /organization/usage/vector_stores answers UsagePage
  ? {start_time int, bucket_width? "1m"|"1h"|"1d", end_time? int, group_by? ["project_id"], limit? int 0.., page? str,
    project_ids? [str]}

GET /organization/usage/web_search_calls answers UsagePage
  ? {start_time int, api_key_ids? [str], bucket_width? "1m"|"1h"|"1d", context_levels? ["low"|"medium"|"high"],
    end_time? int, group_by? ["project_id"|"user_id"|"api_key_id"|"model"|"context_level"|"api_source"],
    limit? int 0.., models? [str], page? str, project_ids? [str], user_ids? [str]}

GET /organization/users lists OrganizationUser
  ? {after? str, emails? [str], limit? int 0..}
OrganizationUser = {id str, added_at time, object "organization.user", api_key_last_used_at? time, created? time,
  developer_persona? str, email? str, is_default? bool, is_scale_tier_authorized_purchaser? bool,
  is_scim_managed? bool, is_service_account? bool, name? str, projects? {data [{id? str, name? str, role? str}],
  object "list"}, role? str, technical_level? str, user? {id str, object "user", banned? bool, banned_at? time,
  email? str, enabled? bool, name? str, picture? str}}
GET /organization/users/{user_id} gives OrganizationUser
POST /organization/users/{user_id} updates OrganizationUser
  < {developer_persona? str, role? str, role_id? str, technical_level? str}
DELETE /organization/users/{user_id} deletes {id str, deleted bool, object "organization.user.deleted"}

GET /organization/users/{user_id}/roles lists AssignedRole by next
  ? {after? str, limit? int 0.., order? "asc"|"desc"}
POST /organization/users/{user_id}/roles creates UserRole
  < {role_id str}
UserRole = {object "user.role", role Role, user OrganizationUser}
GET /organization/users/{user_id}/roles/{role_id} gives AssignedRole
DELETE /organization/users/{user_id}/roles/{role_id} deletes UserRoleUnassigned

GET /organization/workload_identity_providers lists WorkloadIdentityProvider
  ? {after? str, limit? int 0.., order? "asc"|"desc"}
WorkloadIdentityProvider = {id str, attribute_transformations [AttributeTransformation], audience str,
  created_at time, description? str, enabled bool, issuer str, name str,
  object "organization.workload_identity_provider", type "oidc", updated_at time, verification {discovery_url? str,
  type "discovery"}|VerificationUploadedJwks}
AttributeTransformation = {attribute str, expression str}
VerificationUploadedJwks = {jwks map any, type "uploaded_jwks"}
POST /organization/workload_identity_providers creates WorkloadIdentityProvider as wip_
  < {audience str, issuer str, name str, type "oidc", attribute_transformations? [AttributeTransformation],
    description? str, enabled? bool, verification? VerificationDiscovery|VerificationUploadedJwks}
VerificationDiscovery = {discovery_url str|null, type "discovery"}
GET /organization/workload_identity_providers/{workload_identity_provider_id} gives WorkloadIdentityProvider
POST /organization/workload_identity_providers/{workload_identity_provider_id} updates WorkloadIdentityProvider
  < {attribute_transformations? [AttributeTransformation], audience? str, description? str, enabled? bool,
    issuer? str, name? str, verification? VerificationDiscovery|VerificationUploadedJwks}
DELETE /organization/workload_identity_providers/{workload_identity_provider_id} deletes {id str, deleted bool,
  object "organization.workload_identity_provider.deleted"}

GET /organization/workload_identity_providers/{workload_identity_provider_id}/federation_rules lists FederationRule
  ? {after? str, limit? int 0.., order? "asc"|"desc", service_account_id? str}
FederationRule = {id str, attribute_matchers map (str|bool|num), created_at time, description? str, enabled bool,
  name? str, object "organization.workload_identity_federation_rule", permissions PermissionsServiceAccountDefault|
  PermissionsRestricted, project_id str, service_account_id str, updated_at time, workload_identity_provider_id str}
PermissionsRestricted = {scopes [str], type "restricted"}
PermissionsServiceAccountDefault = {type "service_account_default"}
POST /organization/workload_identity_providers/{workload_identity_provider_id}/federation_rules creates FederationRule
  as wifr_
  < {attribute_matchers map (str|bool|num), project_id str, service_account_id str, description? str, enabled? bool,
    name? str, permissions? PermissionsServiceAccountDefault|PermissionsRestricted}
GET /organization/workload_identity_providers/{workload_identity_provider_id}/federation_rules/{rule_id}
  gives FederationRule
POST /organization/workload_identity_providers/{workload_identity_provider_id}/federation_rules/{rule_id}
  updates FederationRule
  < {attribute_matchers? map (str|bool|num), description? str, enabled? bool, name? str,
    permissions? PermissionsServiceAccountDefault|PermissionsRestricted}
DELETE /organization/workload_identity_providers/{workload_identity_provider_id}/federation_rules/{rule_id}
  deletes {id str, deleted bool, object "organization.workload_identity_federation_rule.deleted"}

GET /projects/{project_id}/groups/{group_id}/roles lists AssignedRole by next
  ? {after? str, limit? int 0.., order? "asc"|"desc"}
POST /projects/{project_id}/groups/{group_id}/roles creates GroupRole
  < {role_id str}
GET /projects/{project_id}/groups/{group_id}/roles/{role_id} gives AssignedRole
DELETE /projects/{project_id}/groups/{group_id}/roles/{role_id} deletes GroupRoleUnassigned

GET /projects/{project_id}/roles lists Role by next
  ? {after? str, limit? int 0.., order? "asc"|"desc"}
POST /projects/{project_id}/roles creates Role as role_
  < {permissions [str], role_name str, description? str}
GET /projects/{project_id}/roles/{role_id} gives Role
POST /projects/{project_id}/roles/{role_id} updates Role
  < {description? str, permissions? [str], role_name? str}
DELETE /projects/{project_id}/roles/{role_id} deletes RoleDeleted

GET /projects/{project_id}/users/{user_id}/roles lists AssignedRole by next
  ? {after? str, limit? int 0.., order? "asc"|"desc"}
POST /projects/{project_id}/users/{user_id}/roles creates UserRole
  < {role_id str}
GET /projects/{project_id}/users/{user_id}/roles/{role_id} gives AssignedRole
DELETE /projects/{project_id}/users/{user_id}/roles/{role_id} deletes UserRoleUnassigned
"""
