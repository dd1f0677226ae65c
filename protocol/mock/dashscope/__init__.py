"""DashScope's native API as the mock answers it: generation, media, tasks, embeddings and ranking."""
