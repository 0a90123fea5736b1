"""Sinks: where verdicts go beside stdout, each behind the one ``Sink`` of ``interface``.

``table`` reads the settings, ``fan`` hands a record to all sinks, ``sender`` delivers from a
``spool`` on disk; ``mqtt`` is one kind of sink.
"""
