"""URLs of files that the mock serves. It makes a file anew for each request, so that nothing has to be stored."""

from __future__ import annotations

from protocol.exchange import Request

#: All paths of DashScope's API are below this, and none of OpenAI's.
NATIVE_ROOT = "/api/v1/"
NATIVE_FILES = "/mock-files/"  # below the root; DashScope itself hands out URLs of a storage service


def mock_file_url(request: Request, name: str) -> str:
    """Return the URL of a file that the mock makes anew for each request, from the file's name alone.

    `WIDTHxHEIGHT-SEED.png?text=...` is a picture with that text: sides are 10 to 4096, the seed is eight hex digits.
    """
    scheme = "https" if request.fields.get("x-forwarded-proto") == "https" else "http"
    return f"{scheme}://{request.head.host or '127.0.0.1'}{NATIVE_ROOT[:-1]}{NATIVE_FILES}{name}"
