"""The backend that translates: OpenAI's requests to DashScope's native API, and its answers back."""
