"""Staged update: a bundle is fetched, checked, tried and put in place; it goes back by itself."""
