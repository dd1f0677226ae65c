"""Certificates for tests of TLS, made when they are needed: no key lies about in the source."""

from __future__ import annotations

import pathlib
import shutil
import ssl
import subprocess

import pytest


class Certificate:
    """A self-signed certificate for localhost and 127.0.0.1, for two days."""

    def __init__(self, folder: pathlib.Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("needs the openssl program to make a certificate")
        self.cert_file, self.key_file = str(folder / "cert.pem"), str(folder / "key.pem")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-keyout", self.key_file, "-out", self.cert_file, "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
            check=True, capture_output=True, timeout=20,
        )  # fmt: skip

    def server_context(self) -> ssl.SSLContext:
        """Return a context that shows the certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert_file, self.key_file)
        return context

    def client_context(self) -> ssl.SSLContext:
        """Return a context that trusts the certificate alone."""
        return ssl.create_default_context(cafile=self.cert_file)
