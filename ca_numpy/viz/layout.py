"""Layered layout of a directed acyclic graph, as by graphviz, for a few dozen nodes.

After K. Sugiyama, S. Tagawa and M. Toda, "Methods for visual understanding of hierarchical system structures", 1981.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Edge = tuple[int, int]  # (the node it enters, the number of that node's source)
Link = tuple[int, int, int]  # (upper node, lower node, the number of the lower node's source)

#: Spacing of a node's sources, relative to the distance between nodes.
_PORT = 1e-3


@dataclass(frozen=True)
class Layout:
    """Positions of all nodes and edges. Layers count from the top; x runs from 0 to `width`.

    layer, middle: of each node. bends: of each edge, (x, layer) in each layer between its ends, from the top.
    """

    layer: list[int]
    middle: list[float]
    bends: dict[Edge, list[tuple[float, int]]]
    width: float
    layers: int


def laid_out(sources: Sequence[Sequence[int]], widths: Sequence[float], *, gap: float, sweeps: int = 12) -> Layout:
    """Assign layers, an order with few crossings, and positions with at least `gap` between boxes of these widths.

    sources: for each node, the nodes its edges come from, all earlier in the list.
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
    """The nodes, plus one for each layer that an edge passes, so that every link joins adjacent layers."""

    layer: list[int]
    widths: list[float]
    links: list[Link]
    passing: dict[Edge, list[int]]

    def neighbours(self) -> tuple[list[list[tuple[int, float]]], list[list[tuple[int, float]]]]:
        """For each node, its neighbours above and below, and the offset of the link's end from their middle."""
        above: list[list[tuple[int, float]]] = [[] for _ in self.layer]
        below: list[list[tuple[int, float]]] = [[] for _ in self.layer]
        for upper, lower, port in self.links:
            above[lower].append((upper, 0.0))
            below[upper].append((lower, port * _PORT))
        return above, below


def _layers(sources: Sequence[Sequence[int]]) -> list[int]:
    """One layer below the lowest source; nodes without sources go directly above their first user."""
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
    """Nodes of each layer from left to right, sorted by the mean position of their neighbours, down and up in turn."""
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
    """The number of pairs of links that cross for this order of each layer's nodes."""
    place = {k: (layer, i) for layer, row in enumerate(rows) for i, k in enumerate(row)}
    ends = np.array([(place[a][0], place[a][1], place[b][1] + port * _PORT) for a, b, port in links]).reshape(-1, 3)
    layer, upper, lower = ends[:, None, :].transpose(2, 0, 1)
    same = layer == layer.T
    return int(np.sum(same & (upper < upper.T) & (lower > lower.T)))


def _placed(graph: _Graph, rows: list[list[int]], sweeps: int, gap: float) -> Floats:
    """x of each node, as near to the mean of its neighbours as the order allows, row by row, down and up in turn."""
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
    """The non-decreasing values nearest to `wanted` (least squares), by pooling adjacent violators."""
    pools: list[tuple[float, int]] = []  # mean, count
    for value in wanted:
        mean, count = float(value), 1
        while pools and pools[-1][0] > mean:
            before, number = pools.pop()
            mean, count = (before * number + mean * count) / (number + count), number + count
        pools.append((mean, count))
    return np.concatenate([np.full(count, mean) for mean, count in pools])
