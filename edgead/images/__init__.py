"""Image files: which they are, read into frames, written."""

from edgead.images.decoded import ImageFile
from edgead.images.listing import (
    IMAGE_SUFFIXES,
    Listing,
    check_regular,
    expand,
    images_of,
    list_images,
    look_below,
    look_in,
    sentence,
    walk,
)
from edgead.images.mark import Mark, mark_in, own_output
from edgead.images.reading import decode_image, open_image, read_image
from edgead.images.remarks import ORIENTATION, Remarks
from edgead.images.writing import encode_jpeg, encode_png, write_png

__all__ = [
    "IMAGE_SUFFIXES",
    "ORIENTATION",
    "ImageFile",
    "Listing",
    "Mark",
    "Remarks",
    "check_regular",
    "decode_image",
    "encode_jpeg",
    "encode_png",
    "expand",
    "images_of",
    "list_images",
    "look_below",
    "look_in",
    "mark_in",
    "open_image",
    "own_output",
    "read_image",
    "sentence",
    "walk",
    "write_png",
]
