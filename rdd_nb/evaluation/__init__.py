"""Evaluation: fresh networks trained on a set, what they predict, and honest statistics of what happened to whom."""
