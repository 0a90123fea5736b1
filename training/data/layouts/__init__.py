"""The layouts that edgead knows, one module each.

To add one: a module with a :class:`Layout`, an element of LAYOUTS, a test on a tiny tree of its
shape, a section in docs/data.md.
"""

from . import folder, mvtec
from .layout import Layout

LAYOUTS = {layout.name: layout for layout in (mvtec.LAYOUT, folder.LAYOUT)}
FALLBACK = folder.LAYOUT  # where no other fits

__all__ = ["FALLBACK", "LAYOUTS", "Layout"]
