"""Undoing: a bundle that was made of another keeps what it takes to write that one again.

Under ``parent/`` lie the manifest of the parent and all its files but the graphs that stay as they
are; those of its own parent are among them. The digest of a bundle is of its manifest, which
has the digests of its files: what is written again is the parent, byte by byte, or an error.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from typing import Any

from edgead.bundle.manifest import Manifest
from edgead.bundle.storage import MANIFEST, Bundle, check_out, write_again
from edgead.errors import BundleError, InputError

FOLDER, PARENT, DIGEST = "parent/", "parent", "bundle_sha256"


def of_parent(parent: Bundle, graphs: Collection[str]) -> tuple[dict[str, bytes], dict[str, Any]]:
    """What a bundle that is made of ``parent`` has of it: files, and entries of the provenance.

    Args:
        parent: as it was opened.
        graphs: names of its graphs that the bundle has too, as they are.

    Returns:
        The files under ``parent/``, and the provenance.

    Raises:
        BundleError: the parent changed since it was opened.
    """
    files = {FOLDER + MANIFEST: parent.read_manifest()}
    files |= {FOLDER + n: parent.read(n) for n in parent.manifest.files if n not in graphs}
    return files, {PARENT: {DIGEST: parent.sha256}}


def lasting_files(bundle: Bundle, graphs: Collection[str]) -> dict[str, bytes]:
    """What a bundle that is made of ``bundle`` has at first: no parent's files, no golden frames,
    which are made anew, and of the graphs those of the names ``graphs``."""
    manifest = bundle.manifest
    anew = {name for frame in manifest.golden for name in (frame.image, frame.map, frame.scored)}
    anew |= set(manifest.models.values()) - set(graphs)
    names = (n for n in manifest.files if n not in anew and not n.startswith(FOLDER))
    return {name: bundle.read(name) for name in names}


def forget(bundle: Bundle, out: str | os.PathLike[str]) -> Bundle:
    """Write the bundle that ``bundle`` was made of, whatever was changed in it since.

    Args:
        bundle: with a parent.
        out: the bundle to write, NAME.edgead; it may be where ``bundle`` is.

    Returns:
        The parent; its digest is the one that the provenance of ``bundle`` has.

    Raises:
        InputError: the bundle has no parent.
        BundleError: it does not hold what its provenance says, or ``out`` cannot be written.
    """
    path, recorded = check_out(out), parent_digest(bundle)
    if recorded is None or FOLDER + MANIFEST not in bundle.manifest.files:
        raise InputError(
            f"bundle {bundle.path} has no parent: nothing was added to it since it was learnt, so "
            "there is nothing to forget"
        )
    manifest = bundle.read(FOLDER + MANIFEST)
    if hashlib.sha256(manifest).hexdigest() != recorded:
        raise BundleError(
            f"bundle {bundle.path}: {FOLDER}{MANIFEST} is not the manifest of its parent "
            f"{recorded[:12]}…; copy the bundle again"
        )
    held = bundle.manifest.files
    names = Manifest.loads(manifest).files
    found = {name: FOLDER + name if FOLDER + name in held else name for name in names}
    return write_again(path, manifest, {name: bundle.read(at) for name, at in found.items()})


def parent_digest(bundle: Bundle) -> str | None:
    """The digest of the bundle that ``bundle`` was made of; None where it has no parent."""
    parent = bundle.manifest.provenance.get(PARENT)
    found = parent.get(DIGEST) if isinstance(parent, Mapping) else None
    return found if isinstance(found, str) else None
