"""Experiments: notebooks run by papermill, sweeps over their parameters, studies, and what a machine will take."""
