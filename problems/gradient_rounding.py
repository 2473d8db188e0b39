"""What rounding alone leaves of the gradient of a problem whose cost is made of products with covariances.

An entry of a product is known to a few machine epsilons of its size. In the norm of M^{-1} these errors grow by the
root of the condition number of the covariances: along directions of small variance a gradient is divided by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from manifolds.linalg import Array, inner_product, machine_epsilon, namespace, standard_normal

_EPSILONS = 4
"""Errors of an entry: measured norms that no run gets below are 1.7 to 2.7 machine epsilons of all entries."""

_MOST_EPSILONS = 2**14
"""Epsilons above which a norm is never rounding: the root of the largest condition number, and to spare."""


def gradient_rounding(norm: float, products: Sequence[Array], metrics: Sequence[Any]) -> float:
    """Norm in M^{-1} of what rounding leaves of a gradient: that of 4 eps E * P with random signs E.

    Parameters
    ----------
    norm : float
        Norm of the gradient. Where it is far from rounding, as it is in double precision, the answer is zero at no
        cost; else there is a solve with each metric.
    products : sequence of array of shape (d_i, p)
        P, the products with the covariances that nearly cancel in the gradient, for each view.
    metrics : sequence of object with ``solve``
        M of each view.
    """
    epsilon = machine_epsilon(products[0])
    if not norm <= _MOST_EPSILONS * epsilon:
        return 0.0
    squares: Any = 0.0
    for seed, (product, metric) in enumerate(zip(products, metrics, strict=True)):
        xp = namespace(product)
        noise = product * xp.sign(standard_normal(seed, product.shape, product))
        squares = squares + inner_product(noise, metric.solve(noise))
    return _EPSILONS * epsilon * max(float(squares), 0.0) ** 0.5
