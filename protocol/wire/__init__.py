"""Formats on the wire, one a module: bytes to events and back. They know no asyncio and no clock."""
