"""Regular expressions whose time is bounded: read, matched, and written from."""
