"""The former place of ``edgead.bundle.manifest``; kept for programs that import it."""

from edgead.bundle.manifest import Manifest

__all__ = ["Manifest"]
