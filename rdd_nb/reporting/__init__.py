"""Reporting: the HTML and PDF report of a run, its data set card, and exports to other tools."""
