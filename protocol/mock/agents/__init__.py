"""Agents, their sessions, environments and automations."""
