"""The OpenAI API, described: operations and shapes in the notation of protocol/shape.py."""
