"""Retractions of orthonormal frames: time and loss of orthogonality, against those of pymanopt and geoopt, in one run.

A call takes a point X and a tangent vector V of norm one and gives the new point, by the libraries' public methods. In
a round every retraction runs once, in an order drawn anew; ratios are medians of the ratios within a round: to
pymanopt's QR for numpy arrays and to geoopt's QR for torch tensors, and of ours to our own QR. geoopt's Cayley
transform, the retraction of its canonical Stiefel manifold, solves with n x n matrices, so it is measured for the
fewest rows only; pymanopt has none. Times are those of the processor on one thread, so that other programs count
little.
"""

import random
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import pymanopt
import torch
from threadpoolctl import threadpool_limits

from manifolds import QR, Cayley, CholeskyQR, Polar, Stiefel

from ._table import publish

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # `import geoopt` uses what newer torch deprecates
    import geoopt

SIZES = ((20, 3), (1000, 10), (1000, 100), (4096, 64), (20000, 20))
ROUNDS = 15
SECONDS_PER_ROUND = 0.01
"""A round repeats a call for about as long."""
LARGEST_SQUARE = 20
"""Number of rows up to which a retraction is measured that forms and solves with n x n matrices."""
OUR_QR = "rankopt QR"
PEERS = {"numpy": "pymanopt QR", "torch": "geoopt QR"}


def retractions(library: str, n: int, p: int) -> dict[str, Callable]:
    """Functions (X, V) -> point by name."""
    ours = {
        f"rankopt {type(retraction).__name__}": Stiefel(n, p, retraction=retraction).retraction
        for retraction in (CholeskyQR(), QR(), Polar(), Cayley())
    }
    if library == "torch":
        peers = {"geoopt QR": geoopt.EuclideanStiefel().retr}
        if n <= LARGEST_SQUARE:
            peers["geoopt Cayley"] = geoopt.CanonicalStiefel().retr
    else:
        peers = {
            f"pymanopt {name}": pymanopt.manifolds.Stiefel(n, p, retraction=kind).retraction
            for name, kind in (("QR", "qr"), ("polar", "polar"))
        }
    return peers | ours


def seconds_per_call(retract: Callable, x, v, repeats: int) -> float:
    began = time.process_time()
    for _ in range(repeats):
        retract(x, v)
    return (time.process_time() - began) / repeats


def orthogonality_error(x) -> float:
    x = np.asarray(x, dtype=np.float64)
    return float(np.linalg.norm(x.T @ x - np.eye(x.shape[1])))


def measure(library: str, dtype: str, n: int, p: int, order: random.Random) -> list[dict]:
    """Rows of one size and kind of array."""
    manifold = Stiefel(n, p)
    like = np.empty(0, dtype) if library == "numpy" else torch.empty(0, dtype=getattr(torch, dtype))
    x = manifold.random_point(rng=0, like=like)
    v = manifold.random_tangent_vector(x, rng=1)
    v = v / float(manifold.norm(x, v))
    functions = retractions(library, n, p)
    repeats = {name: max(1, int(SECONDS_PER_ROUND / seconds_per_call(f, x, v, 3))) for name, f in functions.items()}
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(ROUNDS):
        for name in order.sample(list(functions), len(functions)):
            seconds[name].append(seconds_per_call(functions[name], x, v, repeats[name]))

    def ratio(name: str, peer: str) -> float:
        return statistics.median(a / b for a, b in zip(seconds[name], seconds[peer], strict=True))

    return [
        {
            "n": n,
            "p": p,
            "arrays": f"{library} {dtype}",
            "retraction": name,
            "microseconds": 1e6 * statistics.median(seconds[name]),
            "to the peer's QR": ratio(name, PEERS[library]),
            "to rankopt QR": ratio(name, OUR_QR) if name.startswith("rankopt") else None,
            "off orthonormal": orthogonality_error(functions[name](x, v)),
        }
        for name in functions
    ]


def main() -> None:
    torch.set_num_threads(1)
    order = random.Random(0)
    rows = [
        row
        for n, p in SIZES
        for library in PEERS
        for dtype in ("float64", "float32")
        for row in measure(library, dtype, n, p, order)
    ]
    publish(
        "retractions",
        "Retractions of orthonormal frames, processor time of one thread, medians of rounds",
        rows,
        page=True,
    )


if __name__ == "__main__":
    with threadpool_limits(limits=1):
        main()
