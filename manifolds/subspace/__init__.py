"""Subspaces that are moved online: update rules, rank rules, the tracker, and the one-pass sketch of a sum."""
