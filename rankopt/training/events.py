"""What happened at the refreshes of a training run."""

from __future__ import annotations

from typing import NamedTuple


class RefreshEvent(NamedTuple):
    """One refresh of the subspace of one layer.

    Attributes
    ----------
    step : int
        Step of the layer, from 1.
    position : int
        Of the parameter in the optimizer.
    name : str
        Name of the parameter, or its position where the optimizer was given none.
    rank : int
        Directions that the asked energy needs.
    allocated_rank : int
        Directions kept: the rank rounded up to its bucket.
    captured_energy : float
        Share of the energy of this gradient that the kept directions capture; an estimate under low-rank accumulation.
    gradient_norm : float
        Frobenius norm of this gradient; an estimate under low-rank accumulation.
    reason : str
        ``"first"``, ``"gap"`` (the largest gap was over) or ``"norm"`` (the low-rank gradient had become small).
    """

    step: int
    position: int
    name: str
    rank: int
    allocated_rank: int
    captured_energy: float
    gradient_norm: float
    reason: str


class RefreshLog:
    """A callback that keeps all refreshes in a list, for pictures and reports.

    Attributes
    ----------
    events : list of RefreshEvent

    Examples
    --------
    >>> import torch
    >>> from rankopt import AdaRankGrad, RefreshLog
    >>> log = RefreshLog()
    >>> weight = torch.nn.Parameter(torch.eye(4))
    >>> optimizer = AdaRankGrad([weight], lr=0.1, max_rank=2, on_refresh=log)
    >>> (weight @ torch.arange(4.0)).square().sum().backward()
    >>> optimizer.step()
    >>> log.events[0].rank, log.events[0].reason
    (1, 'first')
    """

    def __init__(self) -> None:
        self.events: list[RefreshEvent] = []

    def __call__(self, event: RefreshEvent) -> None:
        """Keep an event."""
        self.events.append(event)

    def __len__(self) -> int:
        return len(self.events)

    def by_layer(self) -> dict[str, list[RefreshEvent]]:
        """Events of each layer in the order of their steps."""
        layers: dict[str, list[RefreshEvent]] = {}
        for event in self.events:
            layers.setdefault(event.name, []).append(event)
        return layers
