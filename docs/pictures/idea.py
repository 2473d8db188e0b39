"""The picture of "The idea in one page": one cost, one constraint, two metrics, drawn with the library itself."""

import matplotlib.pyplot as plt
import numpy as np

from manifolds import GeneralizedStiefel
from rankopt import GradientDescent, MaxIterations, Wolfe, minimize

plt.rcParams["contour.negative_linestyle"] = "solid"
PLAIN, MATCHED = "#D55E00", "#0072B2"  # M = I and M = B, told apart by colour-blind readers too
STEEPEST = GradientDescent(line_search=Wolfe(curvature=1e-3))


def path_of(A, B, M, start, steps, method=None):
    """Iterates of the minimization of -x^T A x / 2 on x^T B x = 1 in the metric u^T M v."""
    points = [start]
    minimize(
        lambda x: (-0.5 * np.vdot(x, A @ x), -A @ x),
        GeneralizedStiefel(B, 1, preconditioner=M),
        start[:, None],
        method,
        gradient=True,
        stopping=MaxIterations(steps),
        callback=lambda result: points.append(result.x[:, 0]),
    )
    return np.array(points)


def pencil(spectrum, ratios, basis):
    """Pencil (A, B) with the given spectrum of B and the given generalized eigenvalues."""
    root = basis * np.sqrt(spectrum) @ basis.T
    return root @ (basis * ratios @ basis.T) @ root, root @ root


fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), width_ratios=[1.35, 1], layout="constrained")
c, s = np.cos(0.3), np.sin(0.3)
basis = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
A, B = pencil([1, 1, 9], [3, 1, 1.2], basis)
u, v = np.meshgrid(np.linspace(-1, 1, 401), np.linspace(-0.5, 0.5, 201))
above = 1 - B[1, 1] * u**2 - 2 * B[1, 2] * u * v - B[2, 2] * v**2
x = np.stack([np.sqrt(np.maximum(above, 0)), u, v])
cost = np.where(above > 0, -0.5 * np.einsum("i...,ij,j...", x, A, x), np.nan)
left.contour(u, v, cost, -1.5 + 0.95 * np.linspace(0.08, 1, 11) ** 2, colors="0.8", linewidths=1)
left.contour(u, v, above, [0], colors="0.25", linewidths=1.8)
start = basis @ np.array([np.sqrt(1 - 0.66**2 - 9 * 0.095**2), 0.66, 0.095])
for M, color, name, at in ((np.eye(3), PLAIN, "$M = I$", (0.49, 0.1)), (B, MATCHED, "$M = B$", (0.2, 0.21))):
    path = path_of(A, B, M, start, 12 if color == PLAIN else 3, STEEPEST)[:, 1:]
    left.plot(*path.T, "o-", color=color, markersize=4, linewidth=1.4)
    left.annotate("", path[1], path[0], arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 2.2})
    left.text(*at, name, color=color, fontsize=12)
left.set(aspect="equal", title="Steepest descent on $x^T B x = 1$, seen from above")
left.axis("off")

start, *square = np.random.default_rng(0).standard_normal((61, 60))
A, B = pencil(np.geomspace(1, 1e-4, 60), np.append(1, np.linspace(0.8, 0, 59)), np.linalg.qr(square)[0])
for M, color, name in ((np.eye(60), PLAIN, "$M = I$"), (B, MATCHED, "$M = B$")):
    path = path_of(A, B, M, start / np.sqrt(start @ B @ start), 150)
    gap = 1 - np.einsum("ki,ij,kj->k", path, A, path)
    gap = gap[: np.argmax(gap < 1e-11) or None]  # below that, rounding errors
    right.semilogy(gap, color=color, linewidth=2.2, label=name)
right.set(xlabel="iteration", ylabel="relative suboptimality", title="Conjugate gradients, 60 unknowns")
right.legend(title="metric $u^T M v$", frameon=False)
right.grid(color="0.92")
right.spines[["top", "right"]].set_visible(False)
