"""How long the mock's answers are, and what time their words take."""
