"""Signed bundles: who made a bundle, and whether this device trusts that one."""
