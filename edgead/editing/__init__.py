"""Bundles made from bundles: an ignore mask, a new calibration."""
