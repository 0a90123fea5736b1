"""Image files: which they are, read into frames, written."""

from edgead.images.listing import (
    IMAGE_SUFFIXES,
    Listing,
    check_regular,
    expand,
    list_images,
    look_below,
    look_in,
    sentence,
)
from edgead.images.mark import Mark, mark_in, own_output
from edgead.images.reading import decode_image, read_image
from edgead.images.writing import encode_jpeg, encode_png, write_png

__all__ = [
    "IMAGE_SUFFIXES",
    "Listing",
    "Mark",
    "check_regular",
    "decode_image",
    "encode_jpeg",
    "encode_png",
    "expand",
    "list_images",
    "look_below",
    "look_in",
    "mark_in",
    "own_output",
    "read_image",
    "sentence",
    "write_png",
]
