"""Low-rank training of neural networks: optimizers of torch made of small values with one formula each."""
