"""The mock: every endpoint of the OpenAI API, answered by itself."""
