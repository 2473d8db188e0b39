"""The code of README, CONTRIBUTING and the pages runs as it stands; examples of the gallery are short and checked."""

import ast
import doctest
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent


def blocks(name):
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture(scope="module")
def readme():
    names = [{} for _ in range(5)]
    examples = blocks("README.md")
    assert len(examples) == 5
    for source, namespace in zip(examples, names, strict=True):
        exec(compile(source, "README.md", "exec"), namespace)
    return names


def test_readme_finds_the_leading_eigenspace(readme):
    assert readme[0]["result"].fun == pytest.approx(-(100 + 99 + 98), rel=1e-6)


def test_readme_solves_the_generalized_eigenproblem(readme):
    from scipy.linalg import eigh

    a, b, result = (readme[1][name] for name in ("A", "B", "result"))
    optimum = -0.5 * eigh(a, b, eigvals_only=True)[-3:].sum()
    assert result.success
    assert result.fun == pytest.approx(optimum, rel=1e-5)


def test_readme_solves_ten_thousand_procrustes_problems(readme):
    a, b, result = (readme[2][name] for name in ("A", "B", "result"))
    u, _, vt = np.linalg.svd(b @ a.mT, full_matrices=False)
    assert result.success.all()
    np.testing.assert_allclose(result.x, u @ vt, atol=1e-3)


def test_readme_correlates_the_halves_of_digits(readme):
    cca, x_scores, y_scores = (readme[3][name] for name in ("cca", "X_scores", "Y_scores"))
    found = [np.corrcoef(x_scores[:, i], y_scores[:, i])[0, 1] for i in range(3)]
    # The ridge makes the regularised correlations a little smaller than those of the scores.
    np.testing.assert_allclose(found, cca.correlations_, atol=0.02)


def test_readme_trains_a_network(readme):
    loss, optimizer = readme[4]["loss"], readme[4]["optimizer"]
    report = readme[4]["memory_report"](optimizer)
    assert loss.item() < 0.02
    assert report.projected_state < 0.5 * report.projected_adam_state


def test_the_solver_of_contributing_solves():
    from manifolds import Sphere
    from rankopt import minimize

    source = next(block for block in blocks("CONTRIBUTING.md") if "SteepestDescent" in block)
    namespace = {}
    exec(compile(source, "CONTRIBUTING.md", "exec"), namespace)
    a = np.diag([1.0, 2.0, 4.0])
    method = namespace["SteepestDescent"]()
    result = minimize(lambda x: x @ a @ x, Sphere(3), method=method, gradient=lambda x: 2 * a @ x, rng=0)
    assert result.success
    assert result.fun == pytest.approx(1.0, abs=1e-9)


def lines_of_code(source):
    """Lines that hold code: without blank ones, comments and the text that opens the file."""
    opening = ast.parse(source).body[0].end_lineno
    return [line for line in source.splitlines()[opening:] if line.strip() and not line.lstrip().startswith("#")]


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "gallery").glob("*.py")), ids=lambda path: path.stem)
def test_examples_of_the_gallery_are_short_and_checked(path):
    source = path.read_text(encoding="utf-8")
    assert len(lines_of_code(source)) <= 30
    assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(source)))


@pytest.mark.parametrize(
    "path",
    [page for page in sorted((ROOT / "docs").glob("*.rst")) if ">>> " in page.read_text(encoding="utf-8")],
    ids=lambda path: path.stem,
)
def test_examples_of_the_pages_hold(path):
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testfile(str(path), module_relative=False, encoding="utf-8", optionflags=flags).failed == 0


def test_the_gallery_runs_every_file():
    names = [path.name for path in (ROOT / "docs" / "gallery").glob("*.py")]
    assert len(names) >= 10
    assert all(name.startswith("plot_") for name in names)
