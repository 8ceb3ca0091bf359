"""Worked solutions of notebook 06, from loops to Winograd."""


def saving(m, r):
    """m² outputs of r² products each, over one product for each of the (m + r − 1)² places of the tile.

    For large m it tends to r², nine: one product per output. But the points are then many, their powers large, and
    the sums cancel: at m = 6 it is 5.1, and more than a digit is gone.
    """
    return (m * r) ** 2 / (m + r - 1) ** 2


def count_tiles(height, width, m):
    """⌈height/m⌉ · ⌈width/m⌉, the ceiling written as a floor of the negative."""
    return -(-height // m) * -(-width // m)


def kernel_gradient(At, G, Bt, d, g):
    """⟨g, Aᵀ[(G w) ⊙ (Bᵀ d)]⟩ = ⟨A g, (G w) ⊙ (Bᵀ d)⟩ = ⟨w, Gᵀ[(A g) ⊙ (Bᵀ d)]⟩; then the same along columns."""
    A = At.T
    return G.T @ ((A @ g @ A.T) * (Bt @ d @ Bt.T)) @ G


SOLUTIONS = {
    "06.saving": saving,
    "06.count_tiles": count_tiles,
    "06.kernel_gradient": kernel_gradient,
}
