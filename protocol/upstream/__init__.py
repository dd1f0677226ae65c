"""Connections to upstreams, shared by the relay and the DashScope translator."""
