"""What can fail besides the tests: `python tests/check` runs it all."""
