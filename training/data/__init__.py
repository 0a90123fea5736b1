"""Images of good parts, and test images with their masks, found on disk and checked at the door.

    dataset.py    what a data set is: samples, and how they are named
    opening.py    which layout a folder has
    layouts/      one module for each layout; `layouts/__init__.py` says how to add one
    splitting.py  training and calibration
    content.py    what the files hold: digest, decoding, masks
    listing.py    files and folders, in an order that is the same everywhere

Nothing is decoded here before :func:`check_images` or :func:`read_mask` is called. No torch.
"""

from .content import check_images, digest, read_mask
from .dataset import GOOD, TEST_SET_LOOKS_LIKE, Dataset, Sample
from .opening import open_dataset
from .splitting import split

__all__ = [
    "GOOD",
    "TEST_SET_LOOKS_LIKE",
    "Dataset",
    "Sample",
    "check_images",
    "digest",
    "open_dataset",
    "read_mask",
    "split",
]
