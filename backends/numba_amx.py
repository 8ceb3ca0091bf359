"""Products of bfloat16 on the matrix unit of a processor (AMX: Intel since Sapphire Rapids), as LLVM instructions.

A bfloat16 is the upper half of a float32: its exponent, and 8 digits. The matrix unit has eight *tiles*, registers of
16 rows by 64 bytes, and an instruction that adds products to a tile of 16 × 16 sums in float32

    c[i, j] += Σ_k a[i, k] · b[k, j],   k < 32:      a is 16 × 32 numbers, b 16 × 16 pairs (b[2k, j], b[2k + 1, j])

These are 8192 multiply-adds in 16 cycles; two units for vectors of 16 do 512. A block of the result, four tiles, stays
in registers during the sum over k. The rows of `a` may lie at any distance, as in `numba_gemm`: convolution needs no
unfolding. The unit takes numbers below the smallest normal one for 0.

Numba has no bfloat16: arrays hold its 16 bits as uint16. They are flat, offsets count elements, and nothing is checked.
"""

from __future__ import annotations

import ctypes
import platform
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from ca_numpy.jit import cpu_features, parallel, serial

from .numba_elementwise import FASTMATH, frozen
from .numba_memory import POOL

Array = NDArray[Any]

#: Rows and columns of a tile of sums, and terms of one instruction.
SIDE, DEPTH = 16, 32
#: Sums of a block: two tiles by two.
BLOCK = 2 * SIDE

_byte, _index, _void = ir.IntType(8), ir.IntType(64), ir.VoidType()
_REQUEST_PERMISSION, _TILE_DATA = 0x1023, 18  # Linux: ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA
_ARCH_PRCTL = 158


#: Whether code is compiled for a processor with the unit; the cache of compiled code tells processors apart.
TILES = {"amx-bf16", "amx-tile"} <= cpu_features()


@cache
def supported() -> bool:
    """Whether this process may use the matrix unit: Linux wants to be asked, and may refuse."""
    if not TILES or platform.system() != "Linux":
        return False
    return bool(ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) == 0)


def _layout() -> Array:
    """What `configure` loads: palette 1, eight tiles of 16 rows by 64 bytes."""
    table = np.zeros(64, np.uint8)
    table[0] = 1
    table[16:32].view(np.uint16)[:] = 64
    table[48:56] = SIDE
    return table


#: Every core loads it before its first product.
LAYOUT = _layout()


# ---- rounding ----------------------------------------------------------------------------------------------------
@serial()
def rounded(x):
    """The bits of the bfloat16 nearest to a float32, ties to even; NaN stays NaN."""
    bits = np.float32(x).view(np.uint32)
    near = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.uint16(near if x == x else (bits >> np.uint32(16)) | np.uint32(0x40))


@serial()
def widened(bits):
    """The float32 of a bfloat16's bits."""
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@serial()
def round_line(source, to):
    """to[i] = the bits of source[i] as bfloat16"""
    for i in range(len(to)):
        to[i] = rounded(source[i])


# ---- emitted code ------------------------------------------------------------------------------------------------
def _call(builder: ir.IRBuilder, name: str, *arguments: ir.Value) -> None:
    kind = ir.FunctionType(_void, [argument.type for argument in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}"), arguments)


def _tile(number: int) -> ir.Constant:
    return ir.Constant(_byte, number)


def _pointer(context: Any, builder: ir.IRBuilder, array_type: Any, array: ir.Value, place: ir.Value) -> ir.Value:
    """Address of array[place], in bytes."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [place]), _byte.as_pointer())


@intrinsic
def transpose_tile(typing_context, source, s, s_row, to, t, t_row):
    """to[t + j·t_row + i] = source[s + i·s_row + j],   i, j < SIDE, for arrays of 16 bits

    Four rounds, each of which interleaves row i with row i + 8.
    """
    place = types.intp
    line = ir.VectorType(ir.IntType(16), SIDE)
    halves = [[n // 2 + start + n % 2 * SIDE for n in range(SIDE)] for start in (0, SIDE // 2)]
    masks = [ir.Constant(ir.VectorType(ir.IntType(32), SIDE), half) for half in halves]

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        source, s, s_row, to, t, t_row = arguments
        source = _pointer(context, builder, signature.args[0], source, s)
        to = _pointer(context, builder, signature.args[3], to, t)

        def row(start: ir.Value, step: ir.Value, i: int) -> ir.Value:
            here = builder.gep(start, [builder.mul(step, _index(2 * i))])
            return builder.bitcast(here, line.as_pointer())

        rows = [builder.load(row(source, s_row, i), align=2) for i in range(SIDE)]
        for _ in range(4):
            pairs = [(rows[i], rows[i + SIDE // 2]) for i in range(SIDE // 2)]
            rows = [builder.shuffle_vector(*pair, mask) for pair in pairs for mask in masks]
        for j, value in enumerate(rows):
            builder.store(value, row(to, t_row, j), align=2)
        return context.get_dummy_value()

    return types.void(source, place, place, to, place, place), emit


@intrinsic
def configure(typing_context, layout):
    """Set up the tiles of this core by `LAYOUT`, if it has any."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        if TILES:
            _call(builder, "ldtilecfg", _pointer(context, builder, signature.args[0], arguments[0], _index(0)))
        return context.get_dummy_value()

    return types.void(layout), emit


@intrinsic
def release(typing_context):
    """Give the tiles back, so that a change of threads need not save them."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        if TILES:
            _call(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), emit


def _block(*, columns: int) -> Any:
    """Emitter of a block of two tiles by `columns`. Sums are tiles 0 to 3, then come those of a and those of b."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        c, c0, c_row, a, a0, a_row, places, b, b0, n, onto = arguments
        sums = [(i, j, _tile(2 * i + j)) for i in range(2) for j in range(columns)]
        a_tiles, b_tiles = [_tile(4), _tile(5)], [_tile(6 + j) for j in range(columns)]
        c_bytes, a_bytes = builder.mul(c_row, _index(4)), builder.mul(a_row, _index(2))
        c = _pointer(context, builder, signature.args[0], c, c0)
        a = _pointer(context, builder, signature.args[3], a, a0)
        b = _pointer(context, builder, signature.args[7], b, b0)

        def at(i: int, j: int) -> ir.Value:
            return builder.gep(c, [builder.add(builder.mul(c_bytes, _index(SIDE * i)), _index(4 * SIDE * j))])

        with builder.if_else(onto) as (add, start):
            with add:
                for i, j, total in sums:
                    _call(builder, "tileloadd64", total, at(i, j), c_bytes)
            with start:
                for _, _, total in sums:
                    _call(builder, "tilezero", total)
        with cgutils.for_range(builder, n, intp=_index) as loop:
            place = builder.load(_pointer_to_place(context, builder, signature.args[6], places, loop.index))
            rows = builder.gep(a, [builder.mul(place, _index(2))])
            step = builder.gep(b, [builder.mul(loop.index, _index(2 * DEPTH * SIDE * columns))])
            for i, tile in enumerate(a_tiles):
                _call(
                    builder, "tileloadd64", tile, builder.gep(rows, [builder.mul(a_bytes, _index(SIDE * i))]), a_bytes
                )
            for j, tile in enumerate(b_tiles):
                _call(builder, "tileloadd64", tile, builder.gep(step, [_index(2 * DEPTH * SIDE * j)]), _index(64))
            for i, j, total in sums:
                _call(builder, "tdpbf16ps", total, a_tiles[i], b_tiles[j])
        for i, j, total in sums:
            _call(builder, "tilestored64", total, at(i, j), c_bytes)
        return context.get_dummy_value()

    return emit


def _pointer_to_place(context: Any, builder: ir.IRBuilder, kind: Any, places: ir.Value, k: ir.Value) -> ir.Value:
    return builder.gep(context.make_array(kind)(context, builder, places).data, [k])


@intrinsic
def _tiles_of_one(typing_context, c, c0, c_row, a, a0, a_row, places, b, b0, n, onto):
    place = types.intp
    return types.void(c, place, place, a, place, place, places, b, place, place, types.boolean), _block(columns=1)


@intrinsic
def _tiles_of_two(typing_context, c, c0, c_row, a, a0, a_row, places, b, b0, n, onto):
    place = types.intp
    return types.void(c, place, place, a, place, place, places, b, place, place, types.boolean), _block(columns=2)


@serial()
def _in_loops(columns, c, c0, c_row, a, a0, a_row, places, b, b0, n, onto):
    """The same without a matrix unit: slow, for tests."""
    for i in range(BLOCK):
        for j in range(SIDE * columns):
            total = c[c0 + i * c_row + j] if onto else np.float32(0)
            for s in range(n):
                for k in range(DEPTH):
                    at = b0 + ((s * columns + j // SIDE) * DEPTH // 2 + k // 2) * 2 * SIDE + j % SIDE * 2 + k % 2
                    total += widened(a[a0 + i * a_row + places[s] + k]) * widened(b[at])
            c[c0 + i * c_row + j] = total


@serial()
def _loops_of_one(c, c0, c_row, a, a0, a_row, places, b, b0, n, onto):
    _in_loops(1, c, c0, c_row, a, a0, a_row, places, b, b0, n, onto)


@serial()
def _loops_of_two(c, c0, c_row, a, a0, a_row, places, b, b0, n, onto):
    _in_loops(2, c, c0, c_row, a, a0, a_row, places, b, b0, n, onto)


_block_of_one, _block_of_two = (_tiles_of_one, _tiles_of_two) if TILES else (_loops_of_one, _loops_of_two)


@serial()
def multiply_tiles(c, c0, c_row, a, a0, a_row, places, b, b0, b_panel, n, rows, tiles, onto):
    """c[c0 + i·c_row + j] = Σ_s Σ_k a[a0 + i·a_row + places[s] + k] · b[step s of `pairs`][k, j],   s < n, k < DEPTH

    For i < rows, a multiple of BLOCK, and SIDE · tiles columns j. With `onto`, the sum is added to c. The columns of b
    are in panels of BLOCK, b_panel numbers apart; a last, odd tile of columns is a panel of its own.
    """
    for j in range(0, tiles, 2):
        for i in range(0, rows, BLOCK):
            to, row, panel = c0 + i * c_row + j * SIDE, a0 + i * a_row, b0 + j // 2 * b_panel
            if j + 1 < tiles:
                _block_of_two(c, to, c_row, a, row, a_row, places, b, panel, n, onto)
            else:
                _block_of_one(c, to, c_row, a, row, a_row, places, b, panel, n, onto)


def pairs(w: Array) -> Array:
    """S D K -> the right-hand side of `multiply_tiles`, for S steps of D ≤ DEPTH terms each: ⌈K/BLOCK⌉ panels."""
    steps, _, k = w.shape
    tiles = -(-k // SIDE)
    panels, size = -(-tiles // 2), steps * DEPTH * BLOCK
    out = POOL.zeros((panels, size), np.uint16)
    _pairs(frozen(w), tiles, out, tasks=steps)
    return out


@parallel(fastmath=FASTMATH, _nrt=False)
def _pairs(w, tiles, out, lower, upper):
    depth, k = w.shape[1:]
    for s in range(lower, upper):
        for tile in range(tiles):
            wide = 2 if tile // 2 * 2 + 1 < tiles else 1
            start = (s * wide + tile % 2) * DEPTH * SIDE
            for i in range(DEPTH):
                for j in range(SIDE):
                    inside = i < depth and tile * SIDE + j < k
                    place = start + (i // 2 * SIDE + j) * 2 + i % 2
                    out[tile // 2, place] = rounded(w[s, i, tile * SIDE + j]) if inside else 0
