"""The parts of oaiserve: wire formats at the bottom, backends above them, the server on top."""
