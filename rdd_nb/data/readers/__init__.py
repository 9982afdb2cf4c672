"""Readers of the forms in which people keep their data, each a module, all in :mod:`rdd_nb.data.readers.registry`."""
