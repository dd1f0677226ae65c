"""The administration of an organization, its log, its usage, its webhooks."""
