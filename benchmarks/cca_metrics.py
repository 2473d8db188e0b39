"""Passes to a relative suboptimality of 1e-6 in three metrics, over ten starting seeds.

Canonical correlations of the halves of 200,000 image patches, five components. The runs work on the covariance
matrices of the dense oracle, where a pass is one product, so that ten seeds take minutes; a run on the data itself
takes the same steps. One pass is added to each count, which the data costs and the matrices do not: the means
(identity), the sketch (sketched) or the covariances (exact).
"""

import statistics

from manifolds import CholeskyPreconditioner
from problems import CCAProblem, CovarianceMatrices, PairedViews
from problems.demo.experiment import ACCURACY, N_COMPONENTS, dense_oracle, first_below, metric
from problems.demo.patches import photograph_patches
from rankopt import MaxEvaluations, TargetCost, minimize

from ._table import publish

SEEDS = range(10)
CAP = 2000


def passes(oracle, preconditioners, seed):
    """Passes to the accuracy, or None if it is not reached within the cap."""
    problem = CCAProblem(CovarianceMatrices(oracle.covariances), N_COMPONENTS, preconditioners=preconditioners)
    target = oracle.cost + ACCURACY * abs(oracle.cost)
    stopping = TargetCost(target) | MaxEvaluations(CAP, counted="n_passes")
    history = minimize(problem, problem.manifold, rng=seed, stopping=stopping).history
    reached = first_below((history.fun - oracle.cost) / abs(oracle.cost), history.n_passes, ACCURACY)
    return None if reached is None else reached + 1


def main():
    views = photograph_patches(200_000, seed=0)
    oracle = dense_oracle(views)
    metrics = {
        "identity": lambda seed: (None, None),
        "sketched": lambda seed: metric("sketched", PairedViews(*views), seed)[0],
        "exact": lambda seed: (
            CholeskyPreconditioner(oracle.covariances.xx),
            CholeskyPreconditioner(oracle.covariances.yy),
        ),
    }
    counts = {name: [passes(oracle, make(seed), seed) for seed in SEEDS] for name, make in metrics.items()}
    medians = {name: statistics.median(count or CAP for count in row) for name, row in counts.items()}
    rows = [
        {
            "metric": name,
            "median passes": medians[name],
            "fewest": min(count or CAP for count in row),
            "most": max(count or CAP for count in row),
            "seeds that reached it": sum(count is not None for count in row),
            "ratio to sketched": medians[name] / medians["sketched"],
        }
        for name, row in counts.items()
    ]
    title = f"Passes to 1e-6, on the oracle's covariance matrices, ten seeds (cut off at {CAP} passes)"
    publish("cca_metrics", title, rows, passes=counts)


if __name__ == "__main__":
    main()
