"""What the test client writes to the terminal."""

from __future__ import annotations

import re
import typing

_CONTROLS = r"[\x00-\x1f\x7f-\x9f]+"
_SECRET_CHARACTERS = 8  # a shorter key is a placeholder such as "any", and a word that answers may hold


class Console:
    """Writes lines and unfinished lines, without the key (`secret`) and in characters that the terminal has."""

    def __init__(self, out: typing.TextIO) -> None:
        self.secret = ""
        self._out = out
        self._line_open = False

    def line(self, text: str = "") -> None:
        """Write a line."""
        self.end_line()
        self._write(self.clean(text) + "\n")

    def begin(self, text: str) -> None:
        """Write the beginning of a line that `more` may continue."""
        self.end_line()
        self.more(text)

    def more(self, text: str) -> None:
        """Write more of an unfinished line."""
        self._line_open = True
        self._write(self.clean(text))

    def end_line(self) -> None:
        """Finish an unfinished line, if there is one."""
        if self._line_open:
            self._line_open = False
            self._write("\n")

    def clean(self, text: str) -> str:
        """Return a text without the key and without control characters."""
        if len(self.secret) >= _SECRET_CHARACTERS:
            text = text.replace(self.secret, "***")
        return re.sub(_CONTROLS, " ", text)

    def _write(self, text: str) -> None:
        # A Windows console or a redirected file may lack a character. A "?" in its place is better than a traceback.
        encoding = self._out.encoding or "utf-8"
        self._out.write(text.encode(encoding, "replace").decode(encoding))
        self._out.flush()
