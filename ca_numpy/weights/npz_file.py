"""Read NumPy's `.npz`: a zip archive of `.npy` files, each a line of text followed by raw data."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.errors import quoted
from ca_numpy.weights.limits import Archive, RefusedError, refusing

# \x93NUMPY, the version, the header's length in 2 or 4 bytes, and the header.
_START = re.compile(rb"\x93NUMPY(?:\x01\0..|[\x02\x03]\0....)(\{[^{}\n]{0,2000}\} *\n)", re.DOTALL)
_DTYPE = re.compile(r"'descr': '([<>|=]?[?biufcSU]\d*)'")
_ORDER = re.compile(r"'fortran_order': (True|False)")
_SHAPE = re.compile(r"'shape': \(([\d, L]{0,1000})\)")


def read(path: str | PathLike[str], names: Iterable[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file by name, of numbers or text: all, or those of `names`. No Python objects are read.

    Raises UserError for a damaged file, a member that is not such an array, and members that expand to many times
    the file's length.
    """
    path = Path(path)
    with refusing(path, ".npz file"), Archive(path, compressed=True) as archive:
        wanted = archive.names if names is None else {f"{name}.npy" for name in names}.intersection(archive.names)
        return {name.removesuffix(".npy"): _array(name, archive.read(name)) for name in wanted}


def _array(name: str, data: bytes) -> NDArray[Any]:
    """The array in a `.npy` file. Its header is a Python dict, of which only the three known fields are read."""
    start = _START.match(data)
    if start is None:
        raise RefusedError(f"member {quoted(name)} is not an array; save arrays alone, with np.savez")
    descr, order, shape = (field.search(start[1].decode("latin-1")) for field in (_DTYPE, _ORDER, _SHAPE))
    if descr is None or order is None or shape is None:
        raise RefusedError(
            f"member {quoted(name)} holds no plain numbers; Python objects could run code and are not read"
        )
    try:
        dtype, sizes = np.dtype(descr[1]), [int(n) for n in re.findall(r"\d+", shape[1])]
        if math.prod(sizes) * dtype.itemsize != len(data) - start.end():
            raise RefusedError(f"member {quoted(name)} is longer or shorter than its shape; copy or save it again")
        array: NDArray[Any] = np.ndarray(sizes, dtype, data, start.end(), order="F" if order[1] == "True" else "C")
    except (ValueError, TypeError, OverflowError) as error:
        raise RefusedError(f"member {quoted(name)} is no array that NumPy can hold; save it again") from error
    return array.astype(dtype.newbyteorder("="))
