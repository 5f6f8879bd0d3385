"""Notebooks made from their sources, and classes graded, with nbgrader's formats and steps."""
