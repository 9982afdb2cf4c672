"""Interactive explorers for the notebooks: controllers that a person, a notebook and a test drive alike.

Each has its controls as attributes, a pure ``compute(**choices)``, ``draw(state)`` and ``describe(state)``, and a
``panel()`` to display (:class:`rdd_nb.widgets_explorer.Explorer`). A static picture belongs beside each, since widgets
show nothing on GitHub: ``figures.show(explorer.draw(explorer.compute(tail=0.1)), …)``.
"""

from rdd_nb.widgets_tail import TailExplorer

__all__ = ["TailExplorer"]
