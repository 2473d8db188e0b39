"""Direct against iterative CCA over the width of the views, with the automatic choice marked; table and picture.

The views have 30,000 rows and correlations that stand out, so that LOBPCG needs about as many passes as the cost model
expects. Times are processor seconds, over all threads, so that other work on the machine matters less; each is the
least of two runs.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from problems import CCA
from problems.cca_choice import Sizes, choose_solver

from ._table import publish
from .cca import P, synthetic

N = 30_000
WIDTHS = (250, 500, 1000, 2000, 3000, 4000)
SOLVERS = ("direct", "lobpcg")
PICTURE = Path(__file__).parent.parent / "docs" / "measured" / "cca_crossover.png"


def seconds(solver, case, runs):
    best, passes = float("inf"), 0
    for _ in range(runs):
        began = time.process_time()
        cca = CCA(P, solver=solver, reg=case.ridge, random_state=0).fit(case.x, case.y)
        best, passes = min(best, time.process_time() - began), cca.n_passes_
    return best, passes, cca.correlations_


def measure(d, runs):
    case = synthetic(N, d)
    found = {solver: seconds(solver, case, runs) for solver in SOLVERS}
    chosen = choose_solver(Sizes(N, d, d, P, ridge=True))
    row = {"columns per view": d}
    row |= {f"{solver}, processor seconds": found[solver][0] for solver in SOLVERS}
    return row | {
        "passes of lobpcg": found["lobpcg"][1],
        "automatic choice": chosen,
        "its time to the better one": found[chosen][0] / min(found[solver][0] for solver in SOLVERS),
        "largest difference of correlations": float(np.abs(found["direct"][2] - found["lobpcg"][2]).max()),
    }


def draw(rows):
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
    widths = [row["columns per view"] for row in rows]
    for solver, label in (("direct", "direct: covariances, Cholesky"), ("lobpcg", "LOBPCG, sketched preconditioner")):
        ax.loglog(widths, [row[f"{solver}, processor seconds"] for row in rows], "o-", label=label)
    chosen = [row[f"{row['automatic choice']}, processor seconds"] for row in rows]
    ax.loglog(widths, chosen, "o", markersize=14, fillstyle="none", color="black", label='solver="auto"')
    ax.set_xticks(widths, [f"{d:,}" for d in widths])
    ax.minorticks_off()
    ax.set_xlabel(f"columns per view ({N:,} rows)")
    ax.set_ylabel("processor seconds")
    ax.grid(alpha=0.3)
    ax.legend()
    figure.savefig(PICTURE, dpi=120)
    print(f"picture of the documentation: {PICTURE}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="*", default=WIDTHS)
    parser.add_argument("--runs", type=int, default=2)
    arguments = parser.parse_args()
    rows = []
    for d in arguments.widths:
        rows.append(measure(d, arguments.runs))
        print(rows[-1], flush=True)
    publish("cca_crossover", f"Five canonical pairs of {N:,} rows, direct and iterative", rows, page=True)
    draw(rows)


if __name__ == "__main__":
    main()
