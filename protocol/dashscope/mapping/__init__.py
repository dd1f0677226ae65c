"""Alibaba Cloud DashScope's native API and OpenAI's, each way: pure functions and stream translators."""
