"""Data: images with labels and groups, where they come from, how a subgroup becomes rare, and the synthetic set.

:mod:`~rdd_nb.data.loading` gives :class:`~rdd_nb.data.dataset.Splits` by name or from a folder;
:mod:`~rdd_nb.data.scenarios` makes subgroups of them rare; :mod:`~rdd_nb.data.validation` says what is wrong with them.
"""
