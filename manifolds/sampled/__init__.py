"""Manifolds known only by samples: moving least squares in place of formulas."""
