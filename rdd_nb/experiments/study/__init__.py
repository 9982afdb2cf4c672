"""Studies: scenario × method × seed from one file, run to one table, and what that table says.

Read :mod:`~rdd_nb.experiments.study.plan` first (a file becomes units), then :mod:`~rdd_nb.experiments.study.units` (a
unit becomes numbers), :mod:`~rdd_nb.experiments.study.run` (many of them, stopped and resumed),
:mod:`~rdd_nb.experiments.study.tables` (one table of all) and :mod:`~rdd_nb.evaluation.results` (means, intervals,
paired gains). :mod:`~rdd_nb.experiments.study.factorial` reads full factorials.
"""
