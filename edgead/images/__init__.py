"""Image files: which they are, read into frames, written."""

from edgead.images.decoded import ImageFile
from edgead.images.listing import IMAGE_SUFFIXES, expand, list_images
from edgead.images.reading import decode_image, open_image, read_image
from edgead.images.remarks import ORIENTATION, Remarks
from edgead.images.writing import encode_jpeg, encode_png, write_png

__all__ = [
    "IMAGE_SUFFIXES",
    "ORIENTATION",
    "ImageFile",
    "Remarks",
    "decode_image",
    "encode_jpeg",
    "encode_png",
    "expand",
    "list_images",
    "open_image",
    "read_image",
    "write_png",
]
