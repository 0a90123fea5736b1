"""What the system tells of a folder: which files arrived, were written to or only touched."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class News:
    """What happened since the last time.

    Args:
        written: names that came, were renamed into place or written to.
        touched: names of which only times, rights or links changed.
        renamed: new name -> old name, both in this folder.
        uncertain: some of it was lost, or happened to the folder itself.
    """

    written: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    renamed: dict[str, str] = field(default_factory=dict)
    uncertain: bool = False


class Notices:
    """Listens to a folder from now on, through inotify.

    ``writing``: names that were written to by a program that has them still open.

    Raises:
        ModuleNotFoundError: inotify_simple is not installed.
        OSError: the system has none for this folder, or too many already.
    """

    def __init__(self, folder: str) -> None:
        from inotify_simple import INotify, flags

        self._flags = flags
        self._inotify = INotify()
        mask = flags.CREATE | flags.MODIFY | flags.CLOSE_WRITE | flags.ATTRIB
        mask |= flags.MOVED_FROM | flags.MOVED_TO | flags.DELETE
        mask |= flags.DELETE_SELF | flags.MOVE_SELF | flags.ONLYDIR
        try:
            self._inotify.add_watch(folder, mask)
        except BaseException:
            self._inotify.close()
            raise
        self.writing: set[str] = set()

    def take(self) -> News:
        """What happened since the last call."""
        flags, news = self._flags, News()
        left: dict[int, str] = {}
        for event in self._inotify.read(timeout=0):
            name, mask = event.name, event.mask
            if not name:  # of the folder itself, or too many to remember
                news.uncertain = True
                self.writing.clear()
            elif mask & flags.MODIFY:
                self.writing.add(name)
                news.written.add(name)
            elif mask & flags.MOVED_FROM:
                left[event.cookie] = name
                self.writing.discard(name)
            elif mask & flags.MOVED_TO and event.cookie in left:
                news.renamed[name] = left.pop(event.cookie)
            elif mask & (flags.CREATE | flags.MOVED_TO):
                news.written.add(name)
            elif mask & flags.CLOSE_WRITE and name in self.writing:
                self.writing.discard(name)
                news.written.add(name)
            elif mask & flags.ATTRIB:
                news.touched.add(name)
            elif not mask & flags.CLOSE_WRITE:  # alone: only opened, or written through memory
                self.writing.discard(name)
        news.touched -= news.written
        return news

    def close(self) -> None:
        """Listen no more; a second call does nothing."""
        self._inotify.close()
