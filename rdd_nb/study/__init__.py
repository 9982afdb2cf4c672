"""Studies: scenario × method × seed from one file, run to one table, and what that table says.

Read :mod:`~rdd_nb.study.plan` first (a file becomes units), then :mod:`~rdd_nb.study.units` (a unit becomes numbers),
:mod:`~rdd_nb.study.run` (many of them, stopped and resumed), :mod:`~rdd_nb.study.tables` (one table of all) and
:mod:`~rdd_nb.study.results` (means, intervals, paired gains). :mod:`~rdd_nb.study.factorial` reads full factorials.
"""
