"""``python -m edgead.bench`` is the command ``edgead-bench``."""

from __future__ import annotations

import sys

from edgead.bench.command import main

if __name__ == "__main__":
    sys.exit(main())
