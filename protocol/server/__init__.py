"""The asyncio shell: connections, their answers, their ends."""
