"""``python -m edgead`` is the command ``edgead``."""

from __future__ import annotations

import sys

from edgead.cli.process import edgead

if __name__ == "__main__":
    sys.exit(edgead())
