"""Fetch a bundle: signature first, then what is not here yet, never more than was said."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgead import _cpu
from edgead.bundle.manifest import Manifest
from edgead.bundle.storage import MANIFEST, SIGNATURES, Bundle
from edgead.errors import BundleError, SignatureError, UpdateError
from edgead.files import sync_directory, write_file
from edgead.signing.ed25519 import check_installed, fits
from edgead.updating.sources import Interrupted, Source

MOST_MANIFEST, MOST_SIGNATURES = 2**26, 2**16  # bytes
TRIES = 4
PAUSE_S = 0.5
"""Before the second try; twice as long before each further one."""


@dataclass(frozen=True)
class Offer:
    """What a source offers, before anything large is fetched: its signature is trusted."""

    source: Source
    manifest: Manifest
    manifest_bytes: bytes
    signatures: bytes
    signed: _cpu.Signed

    @property
    def sha256(self) -> str:
        """Of the manifest: the digest of the bundle."""
        return hashlib.sha256(self.manifest_bytes).hexdigest()


@dataclass
class Fetched:
    """How many files came, and their bytes; how many were here already."""

    files: int = 0
    bytes: int = 0
    here: int = 0
    retries: int = field(default=0)


def read_offer(source: Source, trusted: _cpu.TrustedKeys) -> Offer:
    """Read manifest and signatures, and hold them against the keys that are trusted.

    Nothing of the manifest is looked at before its signature fits.

    Raises:
        SignatureError: it is not signed, or by none of these keys.
        UpdateError: there is no bundle, or the source does not answer.
        BundleError: a manifest that this edgead does not read.
    """
    check_installed()
    data = _small(source, MANIFEST, MOST_MANIFEST)
    if data is None:
        raise UpdateError(f"{source.name} is not a bundle: it has no {MANIFEST}")
    signatures = _small(source, SIGNATURES, MOST_SIGNATURES)
    digest = hashlib.sha256(data).hexdigest()
    try:
        signed = _cpu.check_signatures(signatures, digest, trusted, fits)
    except SignatureError as error:
        raise SignatureError(f"bundle {source.name} {error}") from error
    try:
        manifest = Manifest.loads(data)
        manifest.core.check_names()
    except BundleError as error:
        raise BundleError(f"bundle {source.name}: {error}") from error
    return Offer(source, manifest, data, signatures or b"", signed)


def fetch(
    offer: Offer,
    folder: Path,
    here: Sequence[Bundle],
    most_bytes: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Fetched:
    """Make ``folder / "bundle"`` the bundle that is offered, whole and synced.

    What an earlier call that was killed left there is gone on with: whole files by their digest,
    parts by their length, and the digest at the end.

    Args:
        offer: of ``read_offer``.
        folder: for this alone; made where it is not there.
        here: bundles of this device, whose equal files are copied.
        most_bytes: of the whole bundle.
        progress: gets files done and files in all.

    Returns:
        What was fetched.

    Raises:
        UpdateError: a file is missing, is not the one of the manifest, or more than was said or
            than ``most_bytes``; a transfer that ends early again and again.
        OSError: it cannot be written.
    """
    target, parts = folder / "bundle", folder / "parts"
    digests, found, total = offer.manifest.files, Fetched(), 0
    _remove_others(target, parts, digests)
    known = {digest: (one, name) for one in here for name, digest in one.manifest.files.items()}
    for done, (name, digest) in enumerate(digests.items()):
        progress(done, len(digests))
        path = target / name
        if _digest(path) == digest:
            found.here += 1
        elif digest in known:
            _write(path, known[digest][0].read(known[digest][1]))
            found.here += 1
        else:
            part = parts / digest
            _download(offer, name, digest, part, most_bytes - total, found)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(part, path)
            found.files += 1
        total += path.stat().st_size
        if total > most_bytes:
            raise UpdateError(
                f"bundle {offer.source.name} has more than {most_bytes} bytes (--most-mb): refused"
            )
    _write(target / SIGNATURES, offer.signatures)
    _write(target / MANIFEST, offer.manifest_bytes)
    for place in [target, *(p for p in target.rglob("*") if p.is_dir())]:
        sync_directory(place)
    progress(len(digests), len(digests))
    return found


def _small(source: Source, name: str, most: int) -> bytes | None:
    """A whole file of at most ``most`` bytes, tried again where the transfer ends early."""
    for attempt in range(TRIES):
        try:
            stream = source.open(name, 0)
            if stream is None:
                return None
            if stream.total > most:
                raise UpdateError(
                    f"{source.name}/{name} has {stream.total} bytes; expected at most {most}"
                )
            return b"".join(stream.chunks)
        except Interrupted:
            if attempt + 1 == TRIES:
                raise
            time.sleep(PAUSE_S * 2**attempt)
    raise AssertionError("the last try returns or raises")


def _download(offer: Offer, name: str, digest: str, part: Path, most: int, found: Fetched) -> None:
    """Bring ``part`` to the whole file ``name``; what is there of it is kept."""
    for attempt in range(TRIES):
        began = part.stat().st_size if part.exists() else 0
        try:
            _transfer(offer.source, name, part, most, found)
        except Interrupted as error:
            if attempt + 1 == TRIES:
                raise UpdateError(
                    f"{error}, {TRIES} times; what came is kept, and the same command goes on"
                ) from error
            found.retries += 1
            time.sleep(PAUSE_S * 2**attempt)
            continue
        if _digest(part) == digest:
            return
        part.unlink()
        if not began:
            break
    raise UpdateError(
        f"{offer.source.name}/{name} is not the file that the signed manifest names (SHA-256 "
        f"{digest[:12]}…): what is published there is damaged or half uploaded"
    )


def _transfer(source: Source, name: str, part: Path, most: int, found: Fetched) -> None:
    """Append to ``part`` what is missing, as the source says how much that is."""
    start = part.stat().st_size if part.exists() else 0
    stream = source.open(name, start)
    if stream is None:
        raise UpdateError(f"{source.name}/{name} is missing: it is half uploaded, or was removed")
    if stream.total > most:
        raise UpdateError(
            f"{source.name}/{name} has {stream.total} bytes, and {max(most, 0)} are left of what "
            "a bundle may have (--most-mb): refused"
        )
    with open(part, "r+b" if stream.start else "wb") as file:
        file.seek(stream.start)
        for chunk in stream.chunks:
            file.write(chunk)
            found.bytes += len(chunk)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, data)


def _digest(path: Path) -> str | None:
    """SHA-256 of a file; None where there is none."""
    found = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while data := stream.read(2**20):
                found.update(data)
            return found.hexdigest()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def _remove_others(target: Path, parts: Path, digests: Mapping[str, str]) -> None:
    """Make both folders, and remove what an earlier offer left that this one does not have."""
    for place in (target, parts):
        place.mkdir(parents=True, exist_ok=True)
    for part in parts.iterdir():
        if part.name not in digests.values():
            part.unlink()
    folders = {str(parent) for name in digests for parent in Path(name).parents}
    for path in sorted(target.rglob("*"), reverse=True):  # files before their folders
        name = path.relative_to(target).as_posix()
        if path.is_dir() and not path.is_symlink():
            if name not in folders:
                shutil.rmtree(path)
        elif name not in digests:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
