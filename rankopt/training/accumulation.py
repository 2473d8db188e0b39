"""Gradient accumulation in the low-rank space: microbatches are projected as they arrive and their gradients freed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from manifolds.subspace.one_pass_sketch import OnePassSketch, sketch_once
from rankopt.training.layers import Layer, compute_dtype, seeded_generator


class Accumulator:
    """The sum of a layer's gradients over the microbatches of one step, in the subspace or as a sketch.

    Between refreshes it holds sum Q^T G_i, of shape b x n. Where a refresh is due it holds the one-pass sketch of
    sum G_i, which is linear in the gradients. A full gradient lives only until its microbatch has been added.

    Attributes
    ----------
    low : tensor of shape (b, n) or None
    sketch : OnePassSketch or None
    """

    def __init__(self) -> None:
        self.low: Tensor | None = None
        self.sketch: OnePassSketch | None = None

    def add(self, layer: Layer, gradient: Tensor) -> None:
        """Add one microbatch's gradient, a tensor of the parameter's shape."""
        matrix = layer.oriented(gradient).to(compute_dtype(layer.parameter))
        if layer.state.get("refresh", True):
            self._add_sketch(layer, matrix)
            return
        basis = layer.state["basis"]
        if self.low is None:
            self.low = basis.mT @ matrix
        else:
            self.low.addmm_(basis.mT, matrix)

    def _add_sketch(self, layer: Layer, matrix: Tensor) -> None:
        options = layer.options
        k = min(options["max_rank"] + options["oversampling"], *matrix.shape)
        # The same Omega and Psi for every microbatch of the step: only then do the sketches add up.
        generator = seeded_generator(matrix.device, options["seed"], layer.position, layer.state.get("refreshes", 0))
        new = sketch_once(matrix, k, generator)
        if self.sketch is None:
            self.sketch = new
        else:
            self.sketch.range_sketch.add_(new.range_sketch)
            self.sketch.corange_sketch.add_(new.corange_sketch)

    def norm(self) -> Tensor:
        """Norm of what has been accumulated: not finite where a gradient was not."""
        held: Any = self.low if self.sketch is None else self.sketch.corange_sketch
        return torch.linalg.vector_norm(held)

    def tensors(self) -> list[Tensor]:
        """All that it stores."""
        return [t for t in (self.low, *(self.sketch or ())) if t is not None]
