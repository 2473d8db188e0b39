"""Solvers as values: methods, line searches and stopping criteria."""
