"""The OpenAI API, described: operations and shapes in the notation of protocol/openai/api/notation.py."""
