"""Bundles measured on labelled images: figures and report."""
