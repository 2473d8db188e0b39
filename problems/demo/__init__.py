"""The main job on real input: canonical correlations of the halves of image patches, with a report."""
