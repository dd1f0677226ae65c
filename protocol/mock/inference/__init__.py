"""Endpoints that answer at once: chat, completions, embeddings, images, sound, moderations, videos, decisions."""
