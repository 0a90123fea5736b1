"""``edgead watch``: verdicts on a camera, stream, video file or folder, frame after frame.

``source`` says what is watched; ``video`` and ``folder`` read it; ``capture`` keeps the latest
frame, in a thread of its own; ``loop`` scores it and writes one JSON line per verdict; ``checks``
look at the camera and at the drift of the scores; ``evidence`` saves anomalous frames; ``board``,
``server``, ``access`` and page.html are the page.
"""
