"""TLS for sinks: certificates and keys from files, and what is wrong with them in words."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from edgead.files import os_sentence
from edgead.live.sinks.table import Table

_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED
_NOT_YET = 9  # X509_V_ERR_CERT_NOT_YET_VALID
_OTHER_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH


class TLSSettings(NamedTuple):
    """Whether there is TLS, whose certificates are trusted, and who this client is."""

    on: bool
    ca_file: Path | None
    cert_file: Path | None
    key_file: Path | None

    @classmethod
    def read(cls, table: Table) -> TLSSettings:
        """The keys ``tls``, ``ca_file``, ``cert_file`` and ``key_file``; any file turns TLS on."""
        files = {key: table.file(key) for key in ("ca_file", "cert_file", "key_file")}
        named = [key for key, file in files.items() if file is not None]
        on = table.flag("tls", bool(named))
        if named and not on:
            raise table.wrong("tls", f"= false beside {named[0]}: remove one of them")
        if (files["cert_file"] is None) != (files["key_file"] is None):
            missing = "key_file" if files["key_file"] is None else "cert_file"
            raise table.wrong(missing, "is missing: a client's certificate takes both files")
        settings = cls(on, **files)
        if on:
            settings.context(table)
        return settings

    def context(self, table: Table | None = None) -> ssl.SSLContext:
        """For a client; the server's certificate and name are always checked.

        Raises:
            SettingsError: with ``table``: a file that is no certificate or key.
            OSError: the same, without it.
        """
        key, file = "ca_file", self.ca_file
        try:
            made = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file is not None:
                key, file = "cert_file", self.cert_file
                made.load_cert_chain(self.cert_file, self.key_file)
            return made
        except OSError as error:  # SSLError is one
            if table is None:
                raise
            expected = "a certificate in PEM" if key == "ca_file" else "certificate and key in PEM"
            reason = getattr(error, "reason", None) or error.strerror or error
            text = f"= {str(file)!r}: expected {expected} ({reason})"
            raise table.wrong(key, text) from error

    def expired(self) -> str | None:
        """That this client's own certificate is past its time, or before it; else None."""
        if self.cert_file is None:
            return None
        from cryptography.x509 import load_pem_x509_certificate

        now = datetime.now(timezone.utc)
        found = load_pem_x509_certificate(self.cert_file.read_bytes())
        if found.not_valid_after_utc < now:
            ended = f"{found.not_valid_after_utc:%Y-%m-%d}"
            return f"the certificate {self.cert_file} expired on {ended}: renew it"
        if found.not_valid_before_utc > now:
            begins = f"{found.not_valid_before_utc:%Y-%m-%d}"
            clock = f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC"
            return f"the certificate {self.cert_file} begins on {begins}; {clock}: set it"
        return None


def in_network_words(error: Exception, where: str) -> str:
    """Why a connection to ``where`` (host:port) failed, with the cure."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code == _EXPIRED:
            return f"the certificate of {where} has expired: renew it there, or set this clock"
        if error.verify_code == _NOT_YET:
            now = f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC"
            return f"the certificate of {where} is not valid yet: this clock says {now}: set it"
        if error.verify_code in _OTHER_NAME:
            return f"the certificate of {where} is of another host: give the name that it has"
        said = error.verify_message
        return f"the certificate of {where} is not trusted ({said}): give its issuer as ca_file"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).lower().replace("_", " ")
        return f"{where} does not agree on TLS ({reason}): check port, tls and the certificates"
    if isinstance(error, socket.gaierror):
        return f"{where}: host not found: check the name and the network"
    if isinstance(error, ConnectionRefusedError):
        return f"{where} refuses connections: is it running, is the port right?"
    if isinstance(error, TimeoutError):
        return f"{where} does not answer: check address, network and firewall"
    if isinstance(error, OSError):
        if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return f"{where}: {os.strerror(error.errno)}: check the network"
        return f"{where}: {os_sentence(error)}"
    return f"{where}: {error}"
