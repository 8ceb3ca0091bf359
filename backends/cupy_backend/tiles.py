"""Which instance of a kernel serves a product: the twin of the table at the end of `kernels/tiles.cuh`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Tile(NamedTuple):
    """name in C++, and the rows and columns of the result that one block of threads makes."""

    name: str
    rows: int
    columns: int


PLAIN = (Tile("PlainNarrow", 128, 16), Tile("PlainWide", 128, 64))
DOUBLE = (Tile("DoubleNarrow", 64, 16), Tile("DoubleWide", 64, 64))
TENSOR = {
    precision: (
        Tile(f"TensorNarrow<{format}>", 128, 16),
        Tile(f"TensorSmall<{format}>", 128, 32),
        Tile(f"TensorMedium<{format}>", 128, 64),
        Tile(f"TensorWide<{format}>", 128, 128),
    )
    for precision, format in (("tf32", "TF32"), ("bf16", "BF16"))
}


#: Blocks of threads that keep a large GPU busy: two on each of 132 multiprocessors. A constant, so that how sums are
#: divided does not depend on the GPU.
BUSY = 264


def tile_for(dtype: Any, precision: str, rows: int, columns: int) -> Tile:
    """The narrowest tile that holds all columns, or the widest: columns that do not exist are multiplied too.

    But a narrower one where the widest would make so few blocks that multiprocessors stand idle.
    """
    tiles = DOUBLE if dtype == np.float64 else TENSOR.get(precision, PLAIN)
    tile = next((tile for tile in tiles if columns <= tile.columns), tiles[-1])
    blocks = -(-rows // tile.rows) * -(-columns // tile.columns)
    return tiles[-2] if tile.columns > 64 and blocks < BUSY else tile


def vector_for(dtype: Any, *, lengths: tuple[int, ...], addresses: tuple[int, ...]) -> int:
    """How many neighbours are fetched at once: four float32 if all rows begin where four may, on 16 bytes."""
    aligned = all(n % 4 == 0 for n in lengths) and all(address % 16 == 0 for address in addresses)
    return 4 if dtype == np.float32 and aligned else 1


def every_instance() -> dict[str, list[str]]:
    """All kernels by file, as C++ names them: what is compiled ahead, and what the tests compile for each GPU."""
    tiles = [*DOUBLE, *PLAIN, *TENSOR["tf32"], *TENSOR["bf16"]]
    products = [
        f"{kernel}<{tile.name}, {v}, {v}>"
        for kernel in ("convolve", "correlate")
        for tile in tiles
        for v in ((1,) if tile in DOUBLE else (1, 4))
    ]
    simple = {
        "activations.cu": ["elu", "elu_slope", "leaky_relu", "leaky_relu_slope"],
        "pixels.cu": ["resize", "resize_adjoint", "unfold", "fold", "scatter_add"],
        "sums.cu": ["sum_rows"],
        "adam.cu": ["adam"],
        "attention.cu": [
            "window_sums", "attend", "corner_sums", "softmax_vjp", "propagate_adjoint", "box_sums", "to_blocks",
            "from_blocks",
        ],
    }  # fmt: skip
    instances = {
        file: [f"{name}<{t}>" for name in names for t in ("float", "double")] for file, names in simple.items()
    }
    return {"conv.cu": products, **instances}
