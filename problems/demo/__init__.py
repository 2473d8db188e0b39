"""The main jobs on real input: correlations of image patches and the training of a language model, with a report."""
