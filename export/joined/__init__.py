"""A trained method and the statistics of ``edgead learn`` in one bundle."""
