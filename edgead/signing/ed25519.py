"""Ed25519 (RFC 8032), as the package cryptography has it; it comes with the extra sign."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from edgead.errors import InputError, MissingExtraError
from edgead.files import os_sentence, read_file
from edgead.installation import cure

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PREFIX = "ed25519:"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_EXPECTED = "expected a private key of Ed25519 in PEM, as edgead sign --new-key FILE writes it"


def check_installed() -> None:
    """Raise MissingExtraError where the package is missing; asked before work is done."""
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"signatures need the package cryptography, which is not installed: {cure('sign')}"
        ) from error


def fits(key: bytes, signature: bytes, text: bytes) -> bool:
    """Whether ``signature``, 64 bytes, is that of ``key``, 32 bytes, of ``text``.

    Raises:
        MissingExtraError: the package is not installed.
    """
    check_installed()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    # ValueError: bytes that are not a point of the curve.
    with contextlib.suppress(InvalidSignature, ValueError):
        Ed25519PublicKey.from_public_bytes(key).verify(signature, text)
        return True
    return False


class PrivateKey:
    """A private key, which signs.

    Args:
        key: of the package cryptography.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @property
    def public(self) -> str:
        """Its public key: ``ed25519:`` and 64 digits in hex."""
        return PREFIX + self._key.public_key().public_bytes_raw().hex()

    def sign(self, text: bytes) -> bytes:
        """The signature of ``text``, 64 bytes."""
        return self._key.sign(text)


def new_key(path: str | os.PathLike[str]) -> PrivateKey:
    """Make a key and write it to ``path``, which only its owner may read (mode 0600).

    Args:
        path: of a file that does not exist yet: a key is never written over.

    Raises:
        InputError: there is such a file.
        MissingExtraError: the package cryptography is not installed.
        OSError: it cannot be written.
    """
    check_installed()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise InputError(
            f"{os.fspath(path)} exists: a key is not written over; choose another name"
        ) from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), 0o600)  # whatever the umask and the folder's rules say
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        os.unlink(path)
        raise
    return PrivateKey(key)


def read_key(path: str | os.PathLike[str]) -> PrivateKey:
    """The private key in a file.

    Args:
        path: PEM (PKCS 8) without a passphrase, of ``new_key`` or ``openssl genpkey``.

    Raises:
        InputError: it cannot be read, others may read it too, or it is not a private key.
        MissingExtraError: the package cryptography is not installed.
    """
    check_installed()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    name = Path(path)
    try:
        mode = name.stat().st_mode
        if name.suffix == ".pub":
            raise InputError(f"--key {name} is the list for devices; {_EXPECTED}")
        if stat.S_ISREG(mode) and mode & _OTHERS:
            raise InputError(
                f"--key {name} may be read by others (mode {stat.S_IMODE(mode):04o}): whoever has "
                f"read it can sign. Make a new key, or, if nobody else was there: chmod 600 {name}"
            )
        data = read_file(name)
    except OSError as error:
        raise InputError(f"--key {name}: {os_sentence(error)}") from error
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError as error:
        raise InputError(
            f"--key {name} has a passphrase; {_EXPECTED}, without one: openssl pkey -in {name} "
            "-out OTHER"
        ) from error
    except ValueError as error:
        raise InputError(f"--key {name} is not a private key; {_EXPECTED}") from error
    except Exception as error:  # UnsupportedAlgorithm, which is not a ValueError
        raise InputError(f"--key {name} is a key of another kind; {_EXPECTED}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"--key {name} is a key of another kind; {_EXPECTED}")
    return PrivateKey(key)
