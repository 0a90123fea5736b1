"""benchmarks/results/scale.json: each of these benchmarks writes its own key, raw samples too."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgead.cpu.processor import cores, processor_name
from edgead.files import write_file
from edgead.installation import __version__

FILE = Path(__file__).parent / "results/scale.json"


def keep(key: str, found: dict[str, Any], path: Path = FILE) -> None:
    """Put ``found`` under ``key``, with the machine and the day; the other keys stay."""
    before = json.loads(path.read_text()) if path.exists() else {}
    about = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "edgead": __version__,
        "processor": processor_name(),
        "cores": cores(),
    }
    text = json.dumps({**before, key: {**about, **found}}, indent=1)
    write_file(path, (text + "\n").encode())
