"""Whether records could be kept in a folder now; nothing is made or changed there."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from edgead.errors import EdgeadError
from edgead.files import hold, os_sentence
from edgead.records.pruning import used_bytes
from edgead.records.schema import FILE, connect
from edgead.records.store import RecordsSettings


def why_not(settings: RecordsSettings) -> str | None:
    """Why no records could be kept with these settings; None where they could."""
    folder, there = settings.folder, settings.folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return f"{there} is not a folder: choose another one"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"no permission to write in {there}: let edgead's user write there"
    try:
        return _why_not_free(folder) or _why_no_room(settings, there)
    except EdgeadError as error:
        return str(error)
    except OSError as error:
        return os_sentence(error)


def _why_not_free(folder: Path) -> str | None:
    if sys.platform == "win32" or not folder.exists():
        return None
    if (held := hold(folder)) is None:
        return f"another edgead saves in {folder}: end it, or choose another folder"
    os.close(held)
    return None


def _why_no_room(settings: RecordsSettings, there: Path) -> str | None:
    """Whether the disk could hold all that ``limit_mb`` allows."""
    used = 0
    if (settings.folder / FILE).exists():
        # The watch that is to come brings an older schema to its own.
        store = connect(settings.folder / FILE, writes=False, older=True)
        used = used_bytes(store)
        store.close()
    free, missing = shutil.disk_usage(there).free, 1e6 * settings.limit_mb - used
    if free >= missing:
        return None
    return (
        f"{there} has {free / 1e6:.0f} MB free, and the records may grow by {missing / 1e6:.0f} MB "
        f"until they reach limit_mb = {settings.limit_mb:g}: free some, or lower limit_mb"
    )
