"""``import rdd_nb`` is quick, and gives every public name."""

from tests.core.helpers import python


def test_importing_the_package_imports_nothing_else_of_any_weight():
    """Counted in modules, not in seconds: what is not of the standard library comes when a name is asked for."""
    said = python(
        "import sys; before = set(sys.modules); import rdd_nb; dir(rdd_nb); "
        "print(*{m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.split() == ["rdd_nb"]


def test_every_public_name_and_layer_is_given_when_it_is_asked_for():
    said = python(
        "import rdd_nb\n"
        "assert callable(rdd_nb.distill) and callable(rdd_nb.evaluate) and rdd_nb.clustering.kmeans\n"
        "assert all(getattr(rdd_nb, name) is not None for name in dir(rdd_nb))\n"
        "try: rdd_nb.nothing\n"
        "except AttributeError as error: print(error)"
    )
    assert said.returncode == 0, said.stderr
    assert "no attribute 'nothing'" in said.stdout


def test_distilling_and_judging_import_no_clustering_library():
    """scikit-learn, and scipy.stats, which it brings, take seconds: they come where something is clustered."""
    said = python(
        "import sys, rdd_nb.distillation.loop, rdd_nb.evaluation.predictions, rdd_nb.evaluation.paired_tests; "
        "print(*{'sklearn', 'scipy.stats', 'torch._dynamo'} & set(sys.modules))"
    )
    assert said.returncode == 0, said.stderr
    assert not said.stdout.split()
