"""Places for the nodes of a directed graph without cycles, in layers: what graphviz would do, for some dozens of nodes.

After K. Sugiyama, S. Tagawa and M. Toda, "Methods for visual understanding of hierarchical system structures", 1981.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Edge = tuple[int, int]  # (the node that it enters, which of that node's sources it comes from)
Link = tuple[int, int, int]  # (upper node, lower node, at which of the lower one's sources it enters)

#: What lies between two sources of a node, in parts of the distance to the next node.
_PORT = 1e-3


@dataclass(frozen=True)
class Layout:
    """Where everything is. Layers count from the top; x runs from 0 to `width`.

    layer, middle: of each node. bends: of each edge, (x, layer) where it passes a layer between its ends, downwards.
    """

    layer: list[int]
    middle: list[float]
    bends: dict[Edge, list[tuple[float, int]]]
    width: float
    layers: int


def laid_out(sources: Sequence[Sequence[int]], widths: Sequence[float], *, gap: float, sweeps: int = 12) -> Layout:
    """Layers, an order with few crossings, and places such that boxes of these widths keep `gap` between them.

    sources: of each node, the nodes that its edges come from, all before it in the list.
    """
    layer = _layers(sources)
    graph = _with_bends(sources, layer, widths, gap)
    rows = _ordered(graph, sweeps)
    x = _placed(graph, rows, sweeps, gap)
    left = min(x[k] - graph.widths[k] / 2 for k in range(len(x)))
    right = max(x[k] + graph.widths[k] / 2 for k in range(len(x)))
    x = x - left
    bends = {edge: [(float(x[k]), graph.layer[k]) for k in passing] for edge, passing in graph.passing.items()}
    return Layout(layer, [float(value) for value in x[: len(sources)]], bends, right - left, max(layer) + 1)


@dataclass
class _Graph:
    """The nodes, then one more for each layer that an edge passes: every link then joins neighbouring layers."""

    layer: list[int]
    widths: list[float]
    links: list[Link]
    passing: dict[Edge, list[int]]

    def neighbours(self) -> tuple[list[list[tuple[int, float]]], list[list[tuple[int, float]]]]:
        """Of each node, those linked to it above and below, and how far to the right of their middle the link ends."""
        above: list[list[tuple[int, float]]] = [[] for _ in self.layer]
        below: list[list[tuple[int, float]]] = [[] for _ in self.layer]
        for upper, lower, port in self.links:
            above[lower].append((upper, 0.0))
            below[upper].append((lower, port * _PORT))
        return above, below


def _layers(sources: Sequence[Sequence[int]]) -> list[int]:
    """One below the lowest source; what has no source goes right above the first that uses it."""
    layer = [0] * len(sources)
    for k, its in enumerate(sources):
        layer[k] = 1 + max((layer[source] for source in its), default=-1)
    users: list[list[int]] = [[] for _ in sources]
    for k, its in enumerate(sources):
        for source in its:
            users[source].append(k)
    for k, its in enumerate(sources):
        if not its and users[k]:
            layer[k] = min(layer[user] for user in users[k]) - 1
    return layer


def _with_bends(sources: Sequence[Sequence[int]], layer: list[int], widths: Sequence[float], gap: float) -> _Graph:
    graph = _Graph(list(layer), list(widths), [], {})
    for k, its in enumerate(sources):
        for port, source in enumerate(its):
            passing = []
            before = source
            for between in range(layer[source] + 1, layer[k]):
                passing.append(len(graph.layer))
                graph.layer.append(between)
                graph.widths.append(gap / 2)
                graph.links.append((before, passing[-1], 0))
                before = passing[-1]
            graph.links.append((before, k, port))
            graph.passing[k, port] = passing
    return graph


def _ordered(graph: _Graph, sweeps: int) -> list[list[int]]:
    """Nodes of each layer from left to right: sorted by the mean place of their neighbours, down and up in turn."""
    above, below = graph.neighbours()
    rows: list[list[int]] = [[] for _ in range(max(graph.layer) + 1)]
    for k, its in enumerate(graph.layer):
        rows[its].append(k)
    best, fewest = [list(row) for row in rows], crossings(rows, graph.links)
    for sweep in range(sweeps):
        linked = below if sweep % 2 else above
        for row in reversed(rows) if sweep % 2 else rows:
            place = {k: (i + 0.5) / len(other) for other in rows for i, k in enumerate(other)}
            wanted = {k: np.mean([place[n] + port for n, port in linked[k]]) if linked[k] else place[k] for k in row}
            row.sort(key=wanted.__getitem__)
        now = crossings(rows, graph.links)
        if now < fewest:
            best, fewest = [list(row) for row in rows], now
    return best


def crossings(rows: Sequence[Sequence[int]], links: Sequence[Link]) -> int:
    """How many pairs of links cross when each layer's nodes stand in that order."""
    place = {k: (layer, i) for layer, row in enumerate(rows) for i, k in enumerate(row)}
    ends = np.array([(place[a][0], place[a][1], place[b][1] + port * _PORT) for a, b, port in links]).reshape(-1, 3)
    layer, upper, lower = ends[:, None, :].transpose(2, 0, 1)
    same = layer == layer.T
    return int(np.sum(same & (upper < upper.T) & (lower > lower.T)))


def _placed(graph: _Graph, rows: list[list[int]], sweeps: int, gap: float) -> Floats:
    """x of each node: as near as its order allows to the mean of its neighbours, row by row, down and up in turn."""
    above, below = graph.neighbours()
    widths = np.array(graph.widths)
    apart = [np.cumsum([0.0, *(gap + (widths[row[1:]] + widths[row[:-1]]) / 2)]) for row in map(np.array, rows)]
    x = np.zeros(len(widths))
    for row, distances in zip(rows, apart, strict=True):
        x[row] = distances - distances[-1] / 2
    for sweep in range(sweeps + 1):  # the last one goes down
        linked = below if sweep % 2 else above
        numbered = list(zip(rows, apart, strict=True))
        for row, distances in reversed(numbered) if sweep % 2 else numbered:
            wanted = np.array([np.mean([x[n] for n, _ in linked[k]]) if linked[k] else x[k] for k in row])
            x[row] = ascending(wanted - distances) + distances
    return x


def ascending(wanted: Floats) -> Floats:
    """The values nearest to `wanted` (least squares) that never descend: neighbours that would are pooled."""
    pools: list[tuple[float, int]] = []  # mean, how many
    for value in wanted:
        mean, count = float(value), 1
        while pools and pools[-1][0] > mean:
            before, number = pools.pop()
            mean, count = (before * number + mean * count) / (number + count), number + count
        pools.append((mean, count))
    return np.concatenate([np.full(count, mean) for mean, count in pools])
