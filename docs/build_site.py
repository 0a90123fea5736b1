"""The documentation as a site that works without a network, and as one file: make site

python docs/build_site.py FOLDER    writes FOLDER/site and FOLDER/edgead-docs.zip
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Build both beside each other, and put them in place when they are whole."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        made = Path(temporary) / "site"
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir"]
        # Its successor is announced at every build.
        environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
        done = subprocess.run(
            [*command, str(made.absolute())], cwd=ROOT, env=environment, check=False
        )
        if done.returncode:
            return done.returncode
        packed = shutil.make_archive(str(Path(temporary) / "edgead-docs"), "zip", made)
        shutil.rmtree(folder / "site", ignore_errors=True)
        made.rename(folder / "site")
        Path(packed).replace(folder / "edgead-docs.zip")
    print(f"wrote  {folder / 'site' / 'index.html'} and {folder / 'edgead-docs.zip'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
