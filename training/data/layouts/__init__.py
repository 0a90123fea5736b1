"""The layouts that edgead knows, one module each.

To add one: a module with a :class:`Layout`, an element of LAYOUTS, a test on a tiny tree of its
shape, a section in docs/data.md.
"""

from . import folder, frames, ksdd2, mvtec, mvtec3d, oneclass, visa
from .layout import Layout

# The first that fits is taken, so the special ones come first.
_ALL = (visa, mvtec3d, ksdd2, frames, oneclass, mvtec, folder)
LAYOUTS: dict[str, Layout] = {module.LAYOUT.name: module.LAYOUT for module in _ALL}
FALLBACK = folder.LAYOUT  # where no other fits

__all__ = ["FALLBACK", "LAYOUTS", "Layout"]
