"""The process of a cold start: opens a bundle, scores one image, prints the verdict.

    python -m edgead.bench.first_verdict BUNDLE IMAGE SETTINGS

SETTINGS is a JSON object of the arguments of the Detector.
"""

from __future__ import annotations

import json
import sys

from edgead.cli.main import guard
from edgead.detector import Detector
from edgead.images import read_image


def main() -> int:
    """Score one image and print the verdict."""
    bundle, image, settings = sys.argv[1:]
    detector = Detector(bundle, **json.loads(settings))
    result = detector.score(read_image(image, bit_depth=detector.bit_depth))
    print(f"verdict {result!r}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(guard(main))
