"""The layouts that edgead knows.

To add one: a :class:`Layout` in a module, an element of LAYOUTS, a test on a tiny tree of its
shape, a section in docs/data.md.
"""

from ..dataset import Layout
from . import frames, ksdd2, sorted_parts, visa
from .folders import FOLDER, MVTEC, MVTEC3D, ONECLASS

# The first that fits is taken, so the special ones come first.
SORTED = sorted_parts.LAYOUT
_ALL = (visa.LAYOUT, MVTEC3D, ksdd2.LAYOUT, frames.LAYOUT, MVTEC, SORTED, ONECLASS, FOLDER)
LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in _ALL}

__all__ = ["FOLDER", "LAYOUTS", "SORTED"]
