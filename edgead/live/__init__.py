"""``edgead watch``: verdicts on a camera, stream, video file or folder, frame after frame.

``video`` and ``folder`` read a ``source``; ``capture`` keeps its latest frame, in a thread of its
own; ``loop`` scores it and writes a JSON line; ``board``, ``server`` and page.html are the page.
"""
