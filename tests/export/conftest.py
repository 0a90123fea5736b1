"""Makes ``export_toy`` importable: tests are collected without touching sys.path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

pytest.importorskip("torch", reason="export needs the extra edgead[train]")
