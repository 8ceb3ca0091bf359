"""The choice of a kernel's instance for a product; mirrors the table at the end of `kernels/tiles.cuh`."""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np


class Tile(NamedTuple):
    """Name in C++, and the rows and columns of the result computed by one block of threads."""

    name: str
    rows: int
    columns: int


PLAIN = (Tile("PlainNarrow", 128, 16), Tile("PlainWide", 128, 64))
DOUBLE = (Tile("DoubleNarrow", 64, 16), Tile("DoubleWide", 64, 64))
TENSOR = {
    precision: (
        Tile(f"TensorNarrow<{format}>", 256, 16),
        Tile(f"TensorSmall<{format}>", 256, 32),
        Tile(f"TensorMedium<{format}>", 128, 64),
        Tile(f"TensorWide<{format}>", 128, 128),
    )
    for precision, format in (("tf32", "TF32"), ("bf16", "BF16"))
}


#: Blocks of threads that keep a large GPU busy: two per multiprocessor of 132. Fixed, so that results do not depend on
#: the GPU.
BUSY = 264


def tile_for(dtype: Any, precision: str, rows: int, columns: int) -> Tile:
    """The narrowest tile that holds all columns, because padding is multiplied too, else the widest.

    A narrower one if the widest would leave multiprocessors idle.
    """
    tiles = DOUBLE if dtype == np.float64 else TENSOR.get(precision, PLAIN)
    tile = next((tile for tile in tiles if columns <= tile.columns), tiles[-1])
    blocks = -(-rows // tile.rows) * -(-columns // tile.columns)
    return tiles[-2] if tile.columns > 64 and blocks < BUSY else tile


def vector_for(dtype: Any, *, length: int, address: int) -> int:
    """Numbers of a factor loaded at once: four float32 if all its rows are aligned to 16 bytes, else one."""
    return 4 if dtype == np.float32 and length % 4 == 0 and address % 16 == 0 else 1


def every_instance() -> dict[str, list[str]]:
    """All kernel instances by file, as C++ expressions: the emulation and the tests compile them."""
    tiles = [*DOUBLE, *PLAIN, *TENSOR["tf32"], *TENSOR["bf16"]]
    products = [
        f"{kernel}<{tile.name}, {a}, {b}>"
        for kernel in ("convolve", "correlate")
        for tile in tiles
        for a, b in product((1,) if tile in DOUBLE else (1, 4), repeat=2)
    ]
    simple = {
        "activations.cu": ["elu", "elu_vjp", "leaky_relu", "leaky_relu_vjp", "clip", "clip_vjp"],
        "pixels.cu": ["resize", "resize_adjoint", "unfold", "fold", "scatter_add", "turn_kernels", "crop", "uncrop"],
        "sums.cu": ["sum_rows"],
        "adam.cu": ["adam", "norm"],
        "patches.cu": ["patch_distance", "improve_field", "patch_vote", "patch_source"],
        "attention.cu": [
            "diagonal_sums", "softmax_rows", "softmax_vjp", "column_products", "inverse_norms", "inverse_norms_vjp",
            "to_blocks", "from_blocks",
        ],
    }  # fmt: skip
    instances = {
        file: [f"{name}<{t}>" for name in names for t in ("float", "double")] for file, names in simple.items()
    }
    return {"conv.cu": products, **instances}
