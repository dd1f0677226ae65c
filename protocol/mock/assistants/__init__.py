"""Assistants, threads and their runs; ChatKit."""
