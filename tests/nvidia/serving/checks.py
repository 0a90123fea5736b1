"""What several tests of serving on a SIMULATED device hold results against."""

from __future__ import annotations

import numpy as np

from edgead import Result
from edgead.bundle.storage import Bundle


def check_same(found: Result, expected: Result, bundle: Bundle) -> None:
    """Score and map within what the bundle allows float16."""
    tolerance = bundle.manifest.tolerance["float16"]
    assert abs(found.score - expected.score) <= tolerance.score
    np.testing.assert_allclose(found.map, expected.map, atol=tolerance.map)
