"""JSON Schema: values made to satisfy one, values checked against one, and the reading of schemas that both need."""
