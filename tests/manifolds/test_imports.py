"""What `import manifolds` brings along, in a fresh process."""

import json
import subprocess
import sys

import pytest

SLOW = ["torch", "pymanopt", "geoopt", "matplotlib", "sklearn", "pandas", "dask", "scipy.stats"]


def loaded(statements):
    """Modules in a process that has run some statements."""
    code = f"import json, sys\n{statements}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_import_leaves_the_slow_libraries_alone():
    modules = loaded("import manifolds")
    assert "manifolds" in modules
    assert not modules & set(SLOW)


def test_work_in_numpy_leaves_torch_alone():
    modules = loaded(
        "import numpy as np\n"
        "from manifolds import GeneralizedStiefel, GaussianSketch, Product, Sphere, check_manifold\n"
        "manifold = Product(a=GeneralizedStiefel(np.diag([1.0, 2.0, 3.0]), 2), b=Sphere(3))\n"
        "assert check_manifold(manifold, rng=0)\n"
        "GaussianSketch(3, 0).apply(np.eye(4))\n"
    )
    assert not modules & {"torch", "pymanopt", "geoopt", "matplotlib", "sklearn"}


@pytest.mark.parametrize("upper", ["rankopt", "problems"])
def test_the_lower_room_does_not_import_the_upper_ones(upper):
    assert upper not in loaded("import manifolds, manifolds.checks, manifolds.objective, manifolds.sketching")


def test_every_public_name_exists():
    import manifolds

    assert sorted(set(manifolds.__all__)) == sorted(manifolds.__all__)
    assert all(hasattr(manifolds, name) for name in manifolds.__all__)
