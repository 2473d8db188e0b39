"""A public benchmark set of Riemannian optimization; ``python -m benchmarks.riemannian`` runs it."""
