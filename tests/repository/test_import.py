"""``import rdd_nb`` is quick, and gives every public name."""

import time

from tests.core.helpers import python


def test_importing_the_package_is_quick_and_does_not_import_torch():
    start = time.perf_counter()
    said = python("import sys, rdd_nb; assert 'torch' not in sys.modules; print(len(dir(rdd_nb)))")
    assert said.returncode == 0, said.stderr
    assert time.perf_counter() - start < 5


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
