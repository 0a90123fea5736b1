"""A bundle as the files that it is copied by."""

from __future__ import annotations

from edgead.bundle.storage import MANIFEST, SIGNATURES, Bundle


def files_of(bundle: Bundle) -> dict[str, bytes]:
    """Every file of a bundle by its name, digests checked, its signatures too.

    Raises:
        BundleError: a file changed since the bundle was opened.
    """
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    files[MANIFEST] = bundle.read_manifest()
    signatures = bundle.read_signatures()
    return files if signatures is None else {**files, SIGNATURES: signatures}
