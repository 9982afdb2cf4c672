"""Distillation: a config, the first images, what is matched, one step, the loop around it, and the run's folder."""
