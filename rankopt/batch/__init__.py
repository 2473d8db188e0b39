"""The parts of ``minimize_batch``: rows of problems, their objective, directions, line search and rounds."""
