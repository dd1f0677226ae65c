"""OpenAI's shapes, as plain values and bytes."""
