"""What is said once of all image files that were read: pages left out, orientation not learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgead.images.decoded import ImageFile

ORIENTATION = {"orientation": "exif"}
"""Entry of the provenance of all runs whose images were read with their orientation applied."""


@dataclass
class Remarks:
    """Counts, over image files: those of several pages, those whose orientation was applied."""

    files: int = 0
    of_several_pages: int = 0
    turned: int = 0

    def add(self, file: ImageFile) -> None:
        """Count a file that was read."""
        self.files += 1
        self.of_several_pages += file.pages > 1
        self.turned += file.orientation != 1

    def lines(self, provenance: Mapping[str, Any]) -> list[str]:
        """Sentences for people, none where there is nothing to say.

        Args:
            provenance: of the bundle or run that the images are held against.
        """
        found = []
        if self.of_several_pages:
            found.append(
                f"{self.of_several_pages} of {self.files} files have more than one page: the first "
                f"was read"
            )
        if self.turned and provenance.get("orientation") != ORIENTATION["orientation"]:
            found.append(
                f"{self.turned} of {self.files} files have an orientation tag, which is applied; "
                f"training, before edgead did so, learnt such images as they are stored: train "
                f"again if there were any"
            )
        return found
