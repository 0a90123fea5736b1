"""Images of good parts, and test images with their masks, found on disk and checked once.

    dataset.py    what a data set is: samples, and how they are named
    opening.py    which layout a folder has
    layouts/      one module for each layout; `layouts/__init__.py` says how to add one
    splitting.py  training and calibration
    division.py   the same, by what images show: copies once, near-copies on one side
    content.py    what the files hold: digest, decoding, masks
    listing.py    files and folders, in an order that is the same everywhere

Nothing is decoded here before :func:`check_images` or :func:`read_mask` is called. No torch.
"""

from .content import check_images, digest, read_mask
from .dataset import GOOD, TEST_SET_LOOKS_LIKE, Dataset, Sample
from .division import Division, divide, held_apart, overlap_with_test
from .layouts import LAYOUTS
from .opening import open_dataset
from .splitting import Parts, check_halves, count_parts, parts_of, split

__all__ = [
    "GOOD",
    "LAYOUTS",
    "TEST_SET_LOOKS_LIKE",
    "Dataset",
    "Division",
    "Parts",
    "Sample",
    "check_halves",
    "check_images",
    "count_parts",
    "digest",
    "divide",
    "held_apart",
    "open_dataset",
    "overlap_with_test",
    "parts_of",
    "read_mask",
    "split",
]
