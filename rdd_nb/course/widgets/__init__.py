"""Interactive explorers for the notebooks: controllers that a person, a notebook and a test drive alike.

Each has its controls as attributes, a pure ``compute(**choices)``, ``draw(state)`` and ``describe(state)``, and a
``panel()`` to display (:class:`rdd_nb.course.widgets.explorer.Explorer`). Put a static picture beside each, since
widgets show nothing on GitHub: ``figures.show(explorer.draw(explorer.compute(tail=0.1)), …)``.
"""

from rdd_nb.course.widgets.clusters import ClusterExplorer
from rdd_nb.course.widgets.cockpit import DistillationCockpit
from rdd_nb.course.widgets.compare import RunComparer
from rdd_nb.course.widgets.explorer import Explorer
from rdd_nb.course.widgets.subgroups import SubgroupExplorer
from rdd_nb.course.widgets.tail import TailExplorer

__all__ = ["ClusterExplorer", "DistillationCockpit", "Explorer", "RunComparer", "SubgroupExplorer", "TailExplorer"]
