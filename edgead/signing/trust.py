"""Whether a bundle is signed by a key that is trusted, by the rules of ``csrc/bundle``."""

from __future__ import annotations

import os

from edgead import _cpu
from edgead.bundle.storage import Bundle, open_bundle
from edgead.errors import InputError, SignatureError
from edgead.files import os_sentence, read_file
from edgead.signing.ed25519 import check_installed, fits

MOST_BYTES = 2**20
"""Of a list of keys: ten thousand lines."""


def read_trusted_keys(path: str | os.PathLike[str]) -> _cpu.TrustedKeys:
    """A list of keys: lines ``trust KEY NAME``, ``revoke KEY REASON`` and ``# comment``.

    Args:
        path: of the file; several are joined by ``cat``. A key that is revoked anywhere in it is
            not trusted.

    Raises:
        InputError: it cannot be read, has another line, or trusts no key.
    """
    name = os.fspath(path)
    try:
        data = read_file(path)
    except OSError as error:
        raise InputError(f"the list of trusted keys: {os_sentence(error)}") from error
    if len(data) > MOST_BYTES:
        raise InputError(f"{name} has {len(data)} bytes; expected a list of keys, 1 MiB at most")
    try:
        return _cpu.TrustedKeys(data.decode(), name)
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not a list of keys: it is not UTF-8") from error


def check_signature(bundle: Bundle, trusted: _cpu.TrustedKeys | None) -> _cpu.Signed | None:
    """Hold a bundle against the keys that are trusted.

    Args:
        bundle: an opened one, so that the manifest's digests hold for its files.
        trusted: of ``read_trusted_keys``; None: by any key, but the signatures have to fit.

    Returns:
        Who signed it; None for an unsigned bundle, where ``trusted`` is None.

    Raises:
        SignatureError: it is not signed, by none of these keys, or a signature does not fit.
        MissingExtraError: the extra sign is not installed.
    """
    text = bundle.read_signatures()
    if text is None and trusted is None:
        return None
    check_installed()
    try:
        return _cpu.check_signatures(text, bundle.sha256, trusted, fits)
    except SignatureError as error:
        raise SignatureError(f"bundle {bundle.path} {error}") from error


def open_trusted(
    engine: str | bytes | os.PathLike[str] | Bundle,
    trusted_keys: str | os.PathLike[str] | None,
) -> tuple[Bundle, _cpu.Signed | None]:
    """Open a bundle that one of ``trusted_keys`` has to have signed; None: signatures do not count.

    Raises:
        BundleError: as ``open_bundle``; its SignatureError as ``check_signature``.
        InputError: as ``read_trusted_keys``.
    """
    trusted = None if trusted_keys is None else read_trusted_keys(trusted_keys)
    bundle = engine if isinstance(engine, Bundle) else open_bundle(engine)
    return bundle, None if trusted is None else check_signature(bundle, trusted)


def signatures_of(bundle: Bundle) -> tuple[int, list[str]]:
    """Counter and keys of a bundle that is signed, as they stand there, not checked.

    Raises:
        SignatureError: the signatures are damaged.
    """
    try:
        counter, each = _cpu.read_signatures(bundle.read_signatures() or b"")
    except SignatureError as error:
        raise SignatureError(f"bundle {bundle.path}: {error}") from error
    return counter, list(each)


def note_unsigned(bundle: Bundle, out: object) -> list[str]:
    """A line for people where ``bundle`` is signed, and what is made of it at ``out`` will not be.

    To be asked before ``out`` is written, which may be where ``bundle`` is.
    """
    if bundle.read_signatures() is None:
        return []
    return [f"note   {bundle.path} is signed, and {out} is not: edgead sign {out} --key FILE"]


def signed_info(signed: _cpu.Signed | None) -> dict[str, str]:
    """Who signed a bundle, for ``Detector.info``; nothing where no keys were given."""
    return {} if signed is None else {"signed_by": signed.by, "counter": str(signed.counter)}
