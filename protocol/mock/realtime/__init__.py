"""Conversations over WebSocket: Realtime, translations, Responses, live sessions."""
