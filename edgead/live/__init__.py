"""``edgead watch``: verdicts on a camera, stream, video file or folder, frame after frame.

``sources`` read a ``source`` of each kind; ``capture`` keeps its latest frame, in a thread of its
own; ``loop`` scores it and writes a JSON line; ``board``, ``server`` and the pages in HTML are the
page. ``cameras`` are several ``camera``s in one process, as a ``line_file`` says.
"""
