"""``python -m edgead.bench`` is the command ``edgead-bench``."""

from __future__ import annotations

import sys

from edgead.cli.process import bench

if __name__ == "__main__":
    sys.exit(bench())
