"""JSON Schema: what is malformed in one, values checked against one, and texts of its patterns and formats."""
