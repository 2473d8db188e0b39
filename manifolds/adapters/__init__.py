"""Manifolds of pymanopt and geoopt among ours, and ours among theirs."""
