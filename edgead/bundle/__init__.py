"""The bundle: a directory ``NAME.edgead`` of plain files, described by its manifest."""

from edgead.bundle.manifest import Manifest
from edgead.bundle.storage import Bundle, open_bundle, write_bundle

__all__ = ["Bundle", "Manifest", "open_bundle", "write_bundle"]
