"""How many rows sketches of data have."""

SKETCH_FACTOR = 4
"""Rows of a sketch for each column of the data, or of the widest of several views, at first."""

MAX_SKETCHED_CONDITION = 20.0
"""Condition number relative to a sketched preconditioner above which the sketch is doubled."""
