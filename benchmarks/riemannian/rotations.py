"""Rotations: orthogonal Procrustes problems, and the synchronisation of rotations on pose graphs.

The graphs are those of SE-Sync in the format g2o; only their rotations are used, weighted by their information as
there. pymanopt takes steps by its polar retraction, which here is about twice as fast as its default. The reference is
proven optimal by the certificate of the semidefinite relaxation (D. M. Rosen, L. Carlone, A. S.
Bandeira, J. J. Leonard, SE-Sync, Int. J. Robotics Research 38 (2019), Theorem 7, with rotations alone).
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pymanopt
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg
from scipy.spatial.transform import Rotation

from manifolds import Power, Rotations

from .._data import DATA
from .instances import Coordinates, Instance, orthonormality_error
from .instruments import Functions
from .libraries import geoopt
from .references import accurate_point, require_proof

GRAPHS = DATA / "se-sync-pose-graphs"
POSE_GRAPHS = (("small", "smallGrid3D"), ("small", "intel"), ("large", "sphere2500"), ("large", "torus3D"))
"""Size and name of each."""
NOISE = 0.3
"""Standard deviation, in radians and for each axis, by which start points are turned off the spectral solution."""


def procrustes(size: str, n: int) -> Instance:
    """The rotation X with the least norm(A X - B)^2 / 2, with 2 n points."""
    rng = np.random.default_rng(n)
    a = rng.standard_normal((2 * n, n))
    b = a @ Rotations(n).random_point(rng=rng) + 0.1 * rng.standard_normal((2 * n, n))
    gram, cross = a.T @ a, a.T @ b
    u, _, vt = np.linalg.svd(cross)
    best = u @ np.diag([*np.ones(n - 1), np.linalg.det(u @ vt)]) @ vt

    def cost(x):
        residual = a @ x - b
        return 0.5 * np.vdot(residual, residual)

    return Instance(
        problem="Procrustes",
        size=size,
        label=f"n = {n}",
        functions=Functions(cost, lambda x: gram @ x - cross, lambda x, v: gram @ v),
        manifold=lambda: Rotations(n),
        start=lambda seed: Rotations(n).random_point(rng=seed),
        optimum=float(cost(best)),
        infeasibility=orthonormality_error,
        pymanopt=lambda: Coordinates(pymanopt.manifolds.SpecialOrthogonalGroup(n, retraction="polar")),
        geoopt=lambda: Coordinates(geoopt.EuclideanStiefel()),
        direct={"scipy orthogonal_procrustes": lambda start, instrument: scipy.linalg.orthogonal_procrustes(a, b)[0]},
    )


# --------------------------------------------------------------------------------------------------- pose graphs
def read_g2o(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Edges i -> j of a graph with their measured rotations R_ij, shape (edges, d, d), and weights."""
    first, second, rotations, weights = [], [], [], []
    with lzma.open(path, "rt") as lines:
        for line in lines:
            kind, *words = line.split()
            if not kind.startswith("EDGE"):
                continue
            first.append(int(words[0]))
            second.append(int(words[1]))
            numbers = np.array(words[2:], dtype=float)
            if kind.startswith("EDGE_SE2"):
                cosine, sine = np.cos(numbers[2]), np.sin(numbers[2])
                rotations.append([[cosine, -sine], [sine, cosine]])
                weights.append(numbers[8])
            else:
                rotations.append(Rotation.from_quat(numbers[3:7]).as_matrix())
                information = np.zeros((6, 6))
                information[np.triu_indices(6)] = numbers[7:28]
                turn = information[3:, 3:]
                turn = turn + np.triu(turn, 1).T
                weights.append(3 / (2 * np.trace(np.linalg.inv(turn))))
    _, nodes = np.unique([first, second], return_inverse=True)
    i, j = nodes.reshape(2, -1)
    return i, j, np.array(rotations), np.array(weights)


def connection_laplacian(i: np.ndarray, j: np.ndarray, rotations: np.ndarray, weights: np.ndarray) -> Any:
    """Sparse L with tr(X^T L X) = sum of w_ij norm(R_j - R_i R_ij)^2 for the rows X_i = R_i^T stacked."""
    nodes, d = max(i.max(), j.max()) + 1, rotations.shape[-1]
    one, w = np.eye(d), weights[:, None, None]
    blocks = {
        (0, 0): w * one,
        (1, 1): w * one,
        (0, 1): -w * rotations,
        (1, 0): -w * rotations.mT,
    }
    ends, offsets = (i, j), np.arange(d)
    parts = []
    for (row, column), values in blocks.items():
        rows = (d * ends[row][:, None, None] + offsets[:, None]) + 0 * offsets
        columns = d * ends[column][:, None, None] + offsets + 0 * offsets[:, None]
        parts.append((values.ravel(), rows.ravel(), columns.ravel()))
    values, rows, columns = (np.concatenate(part) for part in zip(*parts, strict=True))
    return scipy.sparse.csr_array(scipy.sparse.coo_array((values, (rows, columns)), shape=(d * nodes, d * nodes)))


def spectral_rotations(laplacian: Any, d: int) -> np.ndarray:
    """The nearest rotations to the relaxation sum of X_i^T X_i = m I: eigenvectors of the d least eigenvalues."""
    size = laplacian.shape[0]
    shift = -1e-6 * float(laplacian.diagonal().mean())
    _, vectors = scipy.sparse.linalg.eigsh(laplacian.tocsc(), k=d, sigma=shift, v0=np.ones(size))
    blocks = vectors.reshape(-1, d, d) * (size / d) ** 0.5
    if np.linalg.det(blocks).mean() < 0:
        blocks = blocks * np.array([*np.ones(d - 1), -1.0])
    return Rotations(d).nearest_point(blocks)


def turned(x: np.ndarray, seed: int) -> np.ndarray:
    """Rotations, each turned by a random small one."""
    rng, d = np.random.default_rng(seed), x.shape[-1]
    if d == 2:
        angle = NOISE * rng.standard_normal(len(x))
        return x @ np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=-1).reshape(-1, 2, 2)
    return x @ Rotation.from_rotvec(NOISE * rng.standard_normal((len(x), 3))).as_matrix()


def synchronisation(size: str, path: Path) -> Instance:
    """The least sum of w_ij norm(R_j - R_i R_ij)^2 / 2 over rotations R_i, all in one array of shape (m, d, d)."""
    edges, graph = read_g2o(path), path.name.partition(".")[0]
    laplacian, d = connection_laplacian(*edges), edges[2].shape[-1]
    m = laplacian.shape[0] // d

    def product(x):
        return (laplacian @ x.reshape(m * d, d)).reshape(m, d, d)

    functions = Functions(lambda x: 0.5 * np.vdot(x, product(x)), product, lambda x, v: product(v))
    spectral = spectral_rotations(laplacian, d)
    x = accurate_point(functions, Power(Rotations(d), m), spectral)
    multipliers = product(x) @ x.mT
    certificate = laplacian - scipy.sparse.block_diag(list((multipliers + multipliers.mT) / 2))
    return Instance(
        problem="synchronisation",
        size=size,
        label=f"{graph}, SO({d})^{m}",
        functions=functions,
        manifold=lambda: Power(Rotations(d), m),
        start=lambda seed: turned(spectral, seed),
        optimum=require_proof(graph, float(functions.cost(x)), certificate, m * d),
        infeasibility=orthonormality_error,
        pymanopt=lambda: Coordinates(pymanopt.manifolds.SpecialOrthogonalGroup(d, k=m, retraction="polar")),
        geoopt=lambda: Coordinates(geoopt.EuclideanStiefel()),
    )


def instances(graphs: Path = GRAPHS) -> Iterator[tuple[str, Any]]:
    """Size and maker of every instance; graphs that are not in the folder are left out."""
    for size, n in (("tiny", 3), ("small", 10), ("small", 40), ("large", 150)):
        yield size, partial(procrustes, size, n)
    absent = missing(graphs)
    for size, graph in POSE_GRAPHS:
        path = graph_file(graphs, graph)
        if path not in absent:
            yield size, partial(synchronisation, size, path)


def graph_file(graphs: Path, graph: str) -> Path:
    """File of a pose graph."""
    return graphs / f"{graph}.g2o.xz"


def missing(graphs: Path = GRAPHS) -> list[Path]:
    """Files of pose graphs that are not there."""
    return [path for _, graph in POSE_GRAPHS if not (path := graph_file(graphs, graph)).exists()]
