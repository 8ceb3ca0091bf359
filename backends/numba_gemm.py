"""Loops written in LLVM IR because LLVM's vectoriser misses them: a matrix product that keeps its sums in registers,
and a small constant matrix applied to rows of numbers.

*The product.* A processor multiplies and adds eight or sixteen numbers in one instruction if they are in registers.
One block of the result, ROWS rows of one vector each, therefore stays in registers during the sum over k:

    c[i, :] = Σ_k a[i, k] · b[k, :],   i < ROWS:     each step loads one vector of b and broadcasts ROWS numbers
                                                     of a; nothing is stored before the end of the sum

Such a step loads 13 times for 12 products, and a core loads no faster than it multiplies. Where the result is at least
two vectors wide, a block is half as high and two vectors wide: 8 loads for 12 products.

The rows and columns of `a` may have any strides. This makes convolution possible without unfolding patches
(`numba_conv`): neighbouring patches are overlapping rows. `b` is best stored in *panels* of WIDTH columns, each
contiguous, so that it streams through the first-level cache.

These are intrinsics: Python functions that emit LLVM instructions while Numba compiles their caller. Arrays are flat
float32, offsets count elements, and nothing is checked: callers leave room for whole vectors and rows.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from ca_numpy.jit import cpu_features, parallel, serial
from ca_numpy.threads import get_num_threads

from .numba_elementwise import frozen
from .numba_memory import LINE, POOL

Array = NDArray[Any]

#: Numbers in a register: 16 with AVX-512, else 8 (without AVX, LLVM splits it in two).
WIDTH = 16 if "avx512f" in cpu_features() else 8
#: Sums kept in registers: 12 of the 16 of AVX, one more holds b. Enough to hide the latency of a multiply-add.
ROWS = 12
#: Rows of a block two vectors wide. Twelve would be 24 sums, of which LLVM spills half for Zen 4, and are no faster.
PAIR_ROWS = ROWS // 2

_float, _index, _lane = ir.FloatType(), ir.IntType(64), ir.IntType(32)
_vector = ir.VectorType(_float, WIDTH)


def padded(n: int, multiple: int = WIDTH) -> int:
    """n rounded up to a multiple."""
    return -(-n // multiple) * multiple


def panels(w: Array) -> Array:
    """C K -> ⌈K/WIDTH⌉ C WIDTH: columns in groups as wide as a register, padded with zeros."""
    out = POOL.empty((padded(w.shape[1]) // WIDTH, w.shape[0], WIDTH), w.dtype)
    _panels(frozen(w), out, tasks=len(out))
    return out


@parallel(_nrt=False)
def _panels(w, out, lower, upper):
    for p in range(lower, upper):
        for i in range(w.shape[0]):
            for j in range(WIDTH):
                out[p, i, j] = w[i, p * WIDTH + j] if p * WIDTH + j < w.shape[1] else 0


# ---- emitted code ------------------------------------------------------------------------------------------------
def _pointer(context: Any, builder: ir.IRBuilder, array_type: Any, array: ir.Value, place: ir.Value) -> ir.Value:
    """Address of array[place]."""
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [place])


def _load(builder: ir.IRBuilder, pointer: ir.Value) -> ir.Value:
    return builder.load(builder.bitcast(pointer, _vector.as_pointer()), align=4)


def _store(builder: ir.IRBuilder, value: ir.Value, pointer: ir.Value) -> None:
    builder.store(value, builder.bitcast(pointer, _vector.as_pointer()), align=4)


def _everywhere(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """A number broadcast to a vector."""
    undefined = ir.Constant(_vector, ir.Undefined)
    first = builder.insert_element(undefined, value, _lane(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_lane, WIDTH), [0] * WIDTH))


def _multiply_add(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """a·b + c, rounded once if the processor can."""
    kind = ir.FunctionType(_vector, [_vector] * 3)
    name = f"llvm.fmuladd.v{WIDTH}f32"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a, b, c])


# ---- the product -------------------------------------------------------------------------------------------------
def _product_of_a_block(rows: int, vectors: int, *, listed: bool) -> Any:
    """The intrinsic of the product of one block, over all k < n or, with `listed`, over n values of k from an array."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        c, c0, c_row, c_panel, a, a0, a_row, a_k, b, b0, b_k, b_panel, *which, n, onto = arguments
        c = _pointer(context, builder, signature.args[0], c, c0)
        a = _pointer(context, builder, signature.args[4], a, a0)
        b = _pointer(context, builder, signature.args[8], b, b0)
        places = list(product(range(rows), range(vectors)))

        def c_at(i: int, j: int) -> ir.Value:
            return builder.gep(c, [builder.add(builder.mul(c_row, _index(i)), builder.mul(c_panel, _index(j)))])

        a_rows = [builder.gep(a, [builder.mul(a_row, _index(i))]) for i in range(rows)]
        b_panels = [builder.gep(b, [builder.mul(b_panel, _index(j))]) for j in range(vectors)]
        before = builder.block
        load, loop, after = (builder.append_basic_block(name) for name in ("load", "sum", "store"))
        builder.cbranch(onto, load, loop)

        builder.position_at_end(load)
        held = [_load(builder, c_at(i, j)) for i, j in places]
        builder.branch(loop)

        builder.position_at_end(loop)
        step = builder.phi(_index)
        sums = [builder.phi(_vector) for _ in places]
        k = builder.load(_pointer(context, builder, signature.args[12], which[0], step)) if listed else step
        row_of_b, column_of_a = builder.mul(k, b_k), builder.mul(k, a_k)
        loaded = [_load(builder, builder.gep(panel, [row_of_b])) for panel in b_panels]
        new = []
        for i, row in enumerate(a_rows):
            number = _everywhere(builder, builder.load(builder.gep(row, [column_of_a])))
            for j, vector in enumerate(loaded):
                new.append(_multiply_add(builder, number, vector, sums[i * vectors + j]))
        following = builder.add(step, _index(1))
        for value, start in ((_index(0), before), (_index(0), load), (following, loop)):
            step.add_incoming(value, start)
        for total, was, becomes in zip(sums, held, new, strict=True):
            total.add_incoming(ir.Constant(_vector, [0.0] * WIDTH), before)
            total.add_incoming(was, load)
            total.add_incoming(becomes, loop)
        builder.cbranch(builder.icmp_signed("<", following, n), loop, after)

        builder.position_at_end(after)
        for value, (i, j) in zip(new, places, strict=True):
            _store(builder, value, c_at(i, j))
        return context.get_dummy_value()

    def signature_of(c: Any, a: Any, b: Any, *which: Any) -> Any:
        place = types.intp
        return types.void(
            c, place, place, place, a, place, place, place, b, place, place, place, *which, place, types.boolean
        )

    if listed:

        @intrinsic
        def multiply_listed(
            typing_context, c, c0, c_row, c_panel, a, a0, a_row, a_k, b, b0, b_k, b_panel, which, n, onto
        ):
            return signature_of(c, a, b, which), emit

        return multiply_listed

    @intrinsic
    def multiply_all(typing_context, c, c0, c_row, c_panel, a, a0, a_row, a_k, b, b0, b_k, b_panel, n, onto):
        return signature_of(c, a, b), emit

    return multiply_all


#: c[c0 + i·c_row + p·c_panel + j] = Σ_k a[a0 + i·a_row + k·a_k] · b[b0 + k·b_k + p·b_panel + j],   j < WIDTH, k < n,
#: for i < ROWS and p = 0, or i < PAIR_ROWS and p = 0, 1; n > 0. With `onto`, the sum is added to c.
multiply_block, multiply_pair = (_product_of_a_block(*size, listed=False) for size in ((ROWS, 1), (PAIR_ROWS, 2)))
#: The same, with k the first n numbers in `which`: the other products are known to be 0.
_listed_block, _listed_pair = (_product_of_a_block(*size, listed=True) for size in ((ROWS, 1), (PAIR_ROWS, 2)))


@serial()
def multiply(c, c0, c_row, a, a0, a_row, a_k, b, b0, b_k, b_panel, rows, columns, n, onto):
    """The product of a (rows × n) and b (n × columns) in blocks. rows and columns are multiples of ROWS and WIDTH."""
    for j in range(0, columns - WIDTH, 2 * WIDTH):
        for i in range(0, rows, PAIR_ROWS):
            multiply_pair(c, c0 + i * c_row + j, c_row, WIDTH, a, a0 + i * a_row, a_row, a_k,
                          b, b0 + j // WIDTH * b_panel, b_k, b_panel, n, onto)  # fmt: skip
    if columns // WIDTH % 2:
        j = columns - WIDTH
        for i in range(0, rows, ROWS):
            multiply_block(c, c0 + i * c_row + j, c_row, WIDTH, a, a0 + i * a_row, a_row, a_k,
                           b, b0 + j // WIDTH * b_panel, b_k, b_panel, n, onto)  # fmt: skip


#: Terms and panels of b in a block: 256 KiB, which stay in the second-level cache for all rows of a, while each row of
#: the result is written a kilobyte at a time.
DEPTH, CHUNK = 256, 16


@serial()
def _columns_in_use(a, start, row, n, used, which):
    """Write the columns below n in which ROWS rows of a are not all 0 to `which`, and return their number.

    If there is none, which[0] is 0.
    """
    for k in range(n):
        used[k] = False
    for r in range(ROWS):
        numbers = a[start + r * row : start + r * row + n]
        for k in range(n):
            used[k] |= numbers[k] != 0
    found = 0
    for k in range(n):
        which[found] = k
        found += used[k]
    if found == 0:
        which[0] = 0
    return found


@parallel(_nrt=False)
def _matmul(a, depth, b, result, last, edges, in_use, places, lower, upper):
    (rows, columns), workers, out = result.shape, len(edges), result.reshape(-1)
    whole, count = rows // ROWS * ROWS, (columns + WIDTH - 1) // WIDTH
    for worker in range(lower, upper):
        # Blocks that extend beyond the right or lower edge of `out` are summed in `edge`, the lower ones from `last`.
        edge, used, which = edges[worker], in_use[worker], places[worker]
        first, end = worker * count // workers, (worker + 1) * count // workers
        for k in range(0, depth, DEPTH):
            n = min(DEPTH, depth - k)
            for chunk in range(first, end, CHUNK):
                stop = min(chunk + CHUNK, end)
                for i in range(0, rows, ROWS):
                    source, at = (a, i * depth + k) if i < whole else (last, k)
                    m = _columns_in_use(source, at, depth, n, used, which)
                    if m == 0 and k > 0:
                        continue
                    p = chunk
                    while p < stop:
                        here, place = (p * depth + k) * WIDTH, i * columns + p * WIDTH
                        if i < whole and p + 2 <= min(stop, columns // WIDTH):
                            for r in range(0, ROWS, PAIR_ROWS):
                                _listed_pair(out, place + r * columns, columns, WIDTH, source, at + r * depth, depth, 1,
                                             b, here, WIDTH, depth * WIDTH, which, max(m, 1), k > 0)  # fmt: skip
                            p += 2
                            continue
                        inside = i < whole and (p + 1) * WIDTH <= columns
                        to, start, row = (out, place, columns) if inside else (edge, 0, WIDTH)
                        _listed_block(to, start, row, 0, source, at, depth, 1, b, here, WIDTH, 0, which, max(m, 1),
                                      inside and k > 0)  # fmt: skip
                        if not inside:
                            for r in range(min(ROWS, rows - i)):
                                for c in range(min(WIDTH, columns - p * WIDTH)):
                                    before = out[place + r * columns + c] if k > 0 else 0
                                    out[place + r * columns + c] = before + edge[r * WIDTH + c]
                        p += 1


def matmul(a: Array, b: Array, out: Array) -> Array:
    """out = a · b with b in `panels`, all float32, row-major. The result does not depend on the number of threads.

    Columns in which ROWS rows of a are 0 are skipped.
    """
    workers, rows, depth = get_num_threads(), *a.shape
    last = np.zeros((ROWS, depth), a.dtype)
    last[: rows % ROWS] = a[rows // ROWS * ROWS :]
    edges, used = POOL.zeros((workers, ROWS * WIDTH), a.dtype), POOL.zeros((workers, DEPTH), np.uint8)
    places = POOL.zeros((workers, DEPTH + LINE), np.intp)
    _matmul(a.reshape(-1), depth, b.reshape(-1), out, last.reshape(-1), edges, used, places, tasks=workers)
    return out


# ---- sums of lines -----------------------------------------------------------------------------------------------
@intrinsic
def _sum_vector(typing_context, to, t, source, places, shift, count):
    """to[t + j] = Σ_k source[places[k] + shift + j],   j < WIDTH, k < count"""
    place = types.intp
    signature = types.void(to, place, source, places, place, place)

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        to, t, source, places, shift, count = arguments
        to = _pointer(context, builder, signature.args[0], to, t)
        source = _pointer(context, builder, signature.args[2], source, shift)
        kind = ir.VectorType(context.get_data_type(signature.args[2].dtype), WIDTH)
        total = cgutils.alloca_once_value(builder, ir.Constant(kind, [0.0] * WIDTH))
        with cgutils.for_range(builder, count, intp=_index) as loop:
            start = builder.load(_pointer(context, builder, signature.args[3], places, loop.index))
            here = builder.bitcast(builder.gep(source, [start]), kind.as_pointer())
            builder.store(builder.fadd(builder.load(total), builder.load(here, align=4)), total)
        builder.store(builder.load(total), builder.bitcast(to, kind.as_pointer()), align=4)
        return context.get_dummy_value()

    return signature, emit


@serial()
def sum_of_lines(to, t, n, source, places, lefts, rights, count):
    """to[t + j] = Σ_k source[places[k] + j] over the k < count with lefts[k] ≤ j < rights[k],   j < n

    Sums stay in registers, and `to` is written once. float32 or float64.
    """
    first, last = 0, n
    for k in range(count):
        first, last = max(first, lefts[k]), min(last, rights[k])
    if last - first < WIDTH:
        last = first
    for j in range(first, last, WIDTH):
        j = min(j, last - WIDTH)  # the last vector may overlap the one before
        _sum_vector(to, t + j, source, places, j, count)
    for start, end in ((0, first), (last, n)):
        for j in range(start, min(end, n)):
            total = to.dtype.type(0)
            for k in range(count):
                if lefts[k] <= j < rights[k]:
                    total += source[places[k] + j]
            to[t + j] = total


# ---- small constant matrices -------------------------------------------------------------------------------------
def linear_map(matrix: Array) -> Any:
    """The intrinsic  to[t + i·t_step + j] = Σ_k matrix[i, k] · source[s + k·s_step + j],   j < n, a multiple of WIDTH

    The matrix is part of the emitted code: zeros cost nothing, ones no product.
    """
    rows = [[(k, float(np.float32(m))) for k, m in enumerate(row) if m] for row in matrix]

    @intrinsic
    def apply(typing_context, to, t, t_step, source, s, s_step, n):
        place = types.intp
        signature = types.void(to, place, place, source, place, place, place)

        def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            to, t, t_step, source, s, s_step, n = arguments
            to = _pointer(context, builder, signature.args[0], to, t)
            source = _pointer(context, builder, signature.args[3], source, s)
            with cgutils.for_range_slice(builder, _index(0), n, _index(WIDTH), intp=_index) as (j, _):
                inputs = []
                for k in range(matrix.shape[1]):
                    place = builder.add(builder.mul(s_step, _index(k)), j)
                    inputs.append(_load(builder, builder.gep(source, [place])))
                for i, row in enumerate(rows):
                    place = builder.add(builder.mul(t_step, _index(i)), j)
                    _store(builder, _combination(builder, row, inputs), builder.gep(to, [place]))
            return context.get_dummy_value()

        return signature, emit

    return apply


#: to[t + j] = source[s + j],   j < n, a multiple of WIDTH
copy_vectors = linear_map(np.eye(1))


def _combination(builder: ir.IRBuilder, terms: list[tuple[int, float]], inputs: list[ir.Value]) -> ir.Value:
    """Σ m · inputs[k] over (k, m) in terms."""
    total = None
    for k, m in sorted(terms, key=lambda term: abs(term[1]) != 1):  # ones first: they need no product
        if total is None:
            total = inputs[k] if m == 1 else builder.fmul(ir.Constant(_vector, [m] * WIDTH), inputs[k])
        elif m == 1:
            total = builder.fadd(total, inputs[k])
        elif m == -1:
            total = builder.fsub(total, inputs[k])
        else:
            total = _multiply_add(builder, ir.Constant(_vector, [m] * WIDTH), inputs[k], total)
    return total
