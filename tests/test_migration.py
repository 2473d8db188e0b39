"""The scripts of the migration page run as they stand, and those that stand side by side agree."""

import re
import textwrap
from pathlib import Path

import numpy as np
import pymanopt
import pytest

import manifolds
import rankopt

PAGE = (Path(__file__).parent.parent / "docs" / "migration.rst").read_text(encoding="utf-8")


def scripts():
    """Bodies of the code blocks, in order."""
    lines, found = PAGE.splitlines(), []
    for number, line in enumerate(lines):
        if ".. code-block:: python" not in line:
            continue
        indent = line.index("..") + 3
        body = []
        for text in lines[number + 1 :]:
            if text.strip() and not text.startswith(" " * indent):
                break
            body.append(text)
        found.append(textwrap.dedent("\n".join(body)))
    return found


@pytest.fixture(scope="module")
def results():
    names = [{} for _ in scripts()]
    for source, namespace in zip(scripts(), names, strict=True):
        exec(compile(source, "migration.rst", "exec"), namespace)
    return names


def test_pymanopt_beside_ours(results):
    theirs, ours = results[0], results[1]
    assert theirs["value"] == pytest.approx(-9.0, abs=1e-8)
    assert ours["value"] == pytest.approx(-9.0, abs=1e-8)
    np.testing.assert_allclose(ours["x"] @ ours["x"].T, theirs["x"] @ theirs["x"].T, atol=1e-5)


def test_geoopt_beside_ours(results):
    theirs, ours = results[2], results[3]
    assert theirs["value"] == pytest.approx(-9.0, abs=1e-3)
    assert ours["value"] == pytest.approx(-9.0, abs=1e-8)


def test_the_layer_learns_and_stays_on_its_manifold(results):
    data, target, b, weight = (results[4][name] for name in ("data", "target", "b", "weight"))
    weight, head = weight.detach(), results[4]["head"].detach()
    assert ((data @ weight @ head - target) ** 2).mean() < 0.02 * (target**2).mean()
    np.testing.assert_allclose(weight.T @ b @ weight, np.eye(2), atol=1e-4)


def test_theirs_and_ours_in_one_product(results):
    result, goal = results[5]["result"], results[5]["goal"]
    assert result.success
    np.testing.assert_allclose(result.x.place, goal.place, atol=1e-5)


def test_the_tables_name_what_there_is():
    names = re.findall(r":(?:class|func):`(rankopt\.)?(\w+)`", PAGE)
    assert all(hasattr(rankopt if package else manifolds, name) for package, name in names)
    for name in (*pymanopt.manifolds.__all__, *pymanopt.optimizers.__all__):
        assert f"``{name}" in PAGE, name
