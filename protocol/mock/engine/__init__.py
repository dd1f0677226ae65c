"""The engine: operations read from the description, and what their verbs do to what is remembered."""
