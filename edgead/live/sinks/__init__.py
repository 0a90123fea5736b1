"""Sinks: where verdicts go beside stdout, each behind the one ``Sink`` of ``interface``.

``table`` reads the settings, ``sender`` delivers from a ``spool`` on disk, ``tls`` opens what is
encrypted; each other module is a kind of sink.
"""
