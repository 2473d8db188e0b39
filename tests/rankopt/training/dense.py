"""AdaRankGrad on one matrix, written out from the paper in numpy float64; only the bases are given to it."""

from __future__ import annotations

import math

import numpy as np


def carried_moments(rule, r, m, v, mass, t, betas):
    """Moments and mass in new coordinates for R = Q_new^T Q_old, after t steps of Adam; sums written out."""
    first, second = 1 - betas[0] ** t, 1 - betas[1] ** t
    rotated = np.einsum("ik,kj->ij", r, m)
    if rule == "variance":
        m_hat, v_hat = m / first, v / second
        spread = np.einsum("ik,ik,kj->ij", r, r, v_hat - m_hat**2)
        return rotated, second * np.abs(spread + np.einsum("ik,kj->ij", r, m_hat) ** 2), mass
    if rule == "mass":
        return rotated, np.einsum("ik,ik,kj->ij", r, r, v), np.einsum("ik,ik,k->i", r, r, mass)
    if rule == "completed":
        square = np.einsum("ik,ik,kj->ij", r, r, v)
        for i, row in enumerate(r):
            square[i] += max(1 - np.sum(row**2), 0) * v[min(i, len(v) - 1)]
        return rotated, square, mass
    if rule == "linear":
        return rotated, np.abs(np.einsum("ik,kj->ij", r, v)), mass
    kept_m, kept_v = np.zeros((len(r), m.shape[1])), np.zeros((len(r), m.shape[1]))
    if rule == "keep":
        rows = min(len(r), len(m))
        kept_m[:rows], kept_v[:rows] = m[:rows], v[:rows]
    return kept_m, kept_v, mass


class DenseLayer:
    """State of one layer, and its step. ``right``: the basis belongs to the rows, so everything is transposed."""

    def __init__(self, weight, *, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, scale=1.0, rule="keep",
                 residual=None, residual_scale=1.0, right=False, sign=-1.0):  # fmt: skip
        self.w = weight.detach().double().numpy().copy()
        self.lr, self.betas, self.eps, self.weight_decay, self.scale = lr, betas, eps, weight_decay, scale
        self.rule, self.residual, self.residual_scale = rule, residual, residual_scale
        self.right, self.sign = right, sign
        self.q = self.m = self.v = self.mass = self.limit = None
        self.t = 0

    def project(self, gradient, basis):
        """Q^T G, and G, with the moments carried over where the basis is a new one."""
        g, q = gradient.double().numpy(), basis.double().numpy().copy()
        g = g.T if self.right else g
        if self.q is None:
            self.m, self.v, self.mass = np.zeros((q.shape[1], g.shape[1])), np.zeros((q.shape[1], g.shape[1])), None
            self.mass = np.zeros(q.shape[1])
        elif self.q.shape != q.shape or not np.array_equal(self.q, q):
            r = q.T @ self.q
            self.m, self.v, self.mass = carried_moments(self.rule, r, self.m, self.v, self.mass, self.t, self.betas)
            self.t = 0 if self.rule == "reset" else self.t
        self.q = q
        return q.T @ g, g

    def step(self, gradient, basis, clip=1.0):
        """Blocks 2 to 4."""
        low, g = self.project(gradient, basis)
        (b1, b2), low = self.betas, clip * low
        self.t += 1
        self.m = b1 * self.m + (1 - b1) * low
        self.v = b2 * self.v + (1 - b2) * low**2
        self.mass = b2 * self.mass + (1 - b2)
        seen = self.mass[:, None] if self.rule == "mass" else 1 - b2**self.t
        update = self.m / (1 - b1**self.t) / (np.sqrt(self.v / seen) + self.eps)
        change = self.scale * self.q @ update
        if self.residual is not None and self.q.shape[1] < min(g.shape):
            change += self.dropped(g, low / clip, update)
        elif self.residual is not None:
            self.limit = None
        self.w *= 1 - self.lr * self.weight_decay
        self.w += self.sign * self.lr * (change.T if self.right else change)
        return self.w

    def dropped(self, g, low, update):
        """What the residual adds."""
        s = g - self.q @ low
        if self.residual == "sign":
            noise = 64 * np.finfo(np.float64).eps * np.linalg.norm(low) / math.sqrt(g.size)
            return self.residual_scale * np.where(np.abs(s) <= noise, 0, np.sign(s))
        for j in range(g.shape[1]):
            size = np.linalg.norm(low[:, j])
            s[:, j] *= np.linalg.norm(update[:, j]) / size if size > 0 else 0
        norm = np.linalg.norm(s)
        if self.limit is not None and norm > 1.01 * self.limit:
            s *= 1.01 * self.limit / norm
        self.limit = np.linalg.norm(s)
        return self.scale * self.residual_scale * s
