"""Which images a bundle has learnt from and is calibrated with, by the digests of their content.

``provenance.contents`` has, for each of ``LEARNT`` and ``CALIBRATED``, how many images there were
and the first 8 bytes of each digest: as many as ``MOST``, the lowest, so that also of a large set
an image can be told with a known chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

CONTENTS, LEARNT, CALIBRATED = "contents", "learnt", "calibrated"
PREFIX = 8  # bytes: two of a million images agree by chance once in 37 million sets
MOST = 4096  # of each kind: 64 KiB of the manifest


def note(digests: Iterable[bytes]) -> dict[str, Any]:
    """What a bundle keeps of images.

    Args:
        digests: of their contents, see ``edgead.images.content.digest_of``.

    Returns:
        Plain JSON: ``images``, how many there were, and ``digests``, hexadecimal, one after the
        other in rising order.
    """
    prefixes = sorted({digest[:PREFIX] for digest in digests})
    return {"images": len(prefixes), "digests": b"".join(prefixes[:MOST]).hex()}


def contents_of(learnt: Iterable[bytes], calibrated: Iterable[bytes]) -> dict[str, Any]:
    """The entry of the provenance that tells of both kinds of images.

    Args:
        learnt, calibrated: digests of their contents.
    """
    return {CONTENTS: {LEARNT: note(learnt), CALIBRATED: note(calibrated)}}


def learnt_more(provenance: Mapping[str, Any], digests: Iterable[bytes]) -> dict[str, Any]:
    """``provenance`` that tells of more images that were learnt from.

    Args:
        provenance: of a manifest; what cannot be read in it is as if it were not there.
        digests: as for ``note``, of images that it does not tell of.
    """
    contents, new = _contents(provenance), {digest[:PREFIX] for digest in digests}
    old = contents.get(LEARNT)
    before = old.get("images", 0) if isinstance(old, Mapping) else 0
    told = {**note(new | _read(old)), "images": before + len(new)}
    return {**provenance, CONTENTS: {**contents, LEARNT: told}}


def calibrated_with(provenance: Mapping[str, Any], digests: Iterable[bytes]) -> dict[str, Any]:
    """``provenance`` that tells what the bundle is calibrated with; what was learnt stays.

    Args:
        provenance: of a manifest; what cannot be read in it is as if it were not there.
        digests: as for ``note``.
    """
    return {**provenance, CONTENTS: {**_contents(provenance), CALIBRATED: note(digests)}}


class Known:
    """The images that a bundle tells of.

    Args:
        provenance: of its manifest; what cannot be read in it is as if it were not there.
    """

    def __init__(self, provenance: Mapping[str, Any]) -> None:
        contents = _contents(provenance)
        self._prefixes = {key: _read(contents.get(key)) for key in (LEARNT, CALIBRATED)}
        self.share = min(
            (_share(contents[key], found) for key, found in self._prefixes.items() if found),
            default=1.0,
        )
        """Of the images, how many can be told: 1 unless they are more than ``MOST``."""

    def tells(self, kind: str) -> bool:
        """Whether the images of a kind are kept; bundles of earlier versions have none."""
        return bool(self._prefixes[kind])

    def kind_of(self, digest: bytes) -> str | None:
        """``LEARNT``, ``CALIBRATED``, or None for an image that is not among those kept."""
        return next((k for k, known in self._prefixes.items() if digest[:PREFIX] in known), None)


def _contents(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    contents = provenance.get(CONTENTS)
    return contents if isinstance(contents, Mapping) else {}


def _read(entry: Any) -> frozenset[bytes]:
    try:
        data = bytes.fromhex(entry["digests"])
    except (TypeError, KeyError, ValueError):
        return frozenset()
    return frozenset(data[i : i + PREFIX] for i in range(0, len(data), PREFIX))


def _share(entry: Mapping[str, Any], found: frozenset[bytes]) -> float:
    count = entry.get("images")
    return min(1.0, len(found) / count) if isinstance(count, int) and count > 0 else 1.0
