"""Kinds of sources, each with a Reader: what a source names, and how it is opened.

Video files, streams and V4L2 cameras (``video``), folders (``folder``), and industrial cameras:
``edgead.live.source.BUILT_IN``, and packages with entry points in the group ``edgead.sources``. An
entry point's name is the kind, as ``mine`` in ``edgead watch mine:7``; its value is called with a
Source and a Setup and returns a Reader.
"""

from __future__ import annotations

from edgead.errors import InputError
from edgead.live import plugins
from edgead.live.source import BUILT_IN, FOLDER, Reader, Source
from edgead.live.sources.folder import FolderReader
from edgead.live.sources.setup import Options, Setup
from edgead.live.sources.video import KINDS, VideoReader


def open_reader(source: Source, setup: Setup) -> Reader:
    """The Reader of a source; nothing is opened yet.

    Raises:
        InputError: an option that the source does not have, or ``every_frame`` for a live one.
        MissingExtraError, ModuleNotFoundError, DeviceError: what it needs is not installed.
    """
    if setup.every_frame and not source.waits:
        raise InputError(
            f"--every-frame with {source.label}: not supported for live sources, only for video "
            f"files and folders; remove the option"
        )
    if source.kind == FOLDER or source.kind in KINDS:
        Options(source, setup.options).finish()
    if source.kind == FOLDER:
        return FolderReader(source, setup.say, bit_depth=setup.bit_depth)
    if source.kind in KINDS:
        return VideoReader(source, stall_s=setup.stall_s, at_once=setup.every_frame)
    kind = plugins.load(plugins.SOURCES, BUILT_IN, source.kind)
    if kind is None:  # it was there when the source was named
        raise InputError(f"{source.label}: no package brings sources of the kind {source.kind}")
    reader: Reader = kind(source, setup)
    return reader
