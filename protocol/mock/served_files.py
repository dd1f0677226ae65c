"""URLs of files that the mock serves: a file is made anew whenever it is asked for, so nothing has to be stored."""

from __future__ import annotations

from protocol.exchange import Request

#: All that DashScope has lies below this, and nothing of OpenAI's does.
NATIVE_ROOT = "/api/v1/"
NATIVE_FILES = "/mock-files/"  # below the root; DashScope itself hands out URLs of a storage service


def mock_file_url(request: Request, name: str) -> str:
    """Return the URL of a file that the mock makes anew whenever it is asked for: its name says all about it.

    `WIDTHxHEIGHT-SEED.png?text=...` is a picture with that text: sides are 10 to 4096, the seed is eight hex digits.
    """
    scheme = "https" if request.fields.get("x-forwarded-proto") == "https" else "http"
    return f"{scheme}://{request.head.host or '127.0.0.1'}{NATIVE_ROOT[:-1]}{NATIVE_FILES}{name}"
