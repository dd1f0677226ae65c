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
            check=True, capture_output=True, timeout=100,
        )  # fmt: skip

    def server_context(self) -> ssl.SSLContext:
        """Return a context that shows the certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert_file, self.key_file)
        return context

    def client_context(self) -> ssl.SSLContext:
        """Return a context that trusts the certificate alone."""
        return ssl.create_default_context(cafile=self.cert_file)


class Authority:
    """A certificate authority of the test's own, and a server's certificate by it for localhost and 127.0.0.1."""

    def __init__(self, folder: pathlib.Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("needs the openssl program to make certificates")
        self.ca_file, ca_key = str(folder / "ca.pem"), str(folder / "ca-key.pem")
        self.cert_file, self.key_file = str(folder / "cert.pem"), str(folder / "key.pem")
        request, extensions = str(folder / "request.pem"), folder / "extensions"
        extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        _openssl(
            "req", "-x509", *new_key, "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", ca_key,
            "-out", self.ca_file, "-days", "2", "-subj", "/CN=test CA",
        )  # fmt: skip
        _openssl("req", *new_key, "-keyout", self.key_file, "-out", request, "-subj", "/CN=localhost")
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.ca_file, "-CAkey", ca_key, "-CAcreateserial",
            "-out", self.cert_file, "-days", "2", "-extfile", str(extensions),
        )  # fmt: skip

    def server(self) -> ssl.SSLContext:
        """Return a context that shows the certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert_file, self.key_file)
        return context


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=100)
