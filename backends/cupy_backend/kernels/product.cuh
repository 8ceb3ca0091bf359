// The main loop of all products: load the numbers of a step, store them in shared memory, multiply.
//
// While a step is multiplied, the numbers of the next are loaded from global memory into registers. Shared memory is
// double buffered, so one barrier per step is enough.
//
// The factors are objects that load numbers, so a matrix need not exist: the left factor of a convolution reads its
// patches from the picture. VECTOR neighbours are loaded at once:
//
//     A::Row a.row(i), A::Term a.term(k, last)   what to remember of a row, and of a term of the sum
//     a.load<VECTOR>(row, term, numbers)         VECTOR neighbours from there on
#pragma once
#include "tiles.cuh"

enum Direction { ALONG_THE_SUM, ACROSS_THE_SUM };  // of neighbours in A

// The numbers of a step that this thread loads: SLOTS times VECTOR neighbours, of OUTER lines of length INNER, TOGETHER
// neighbouring lines at a time. Neighbouring threads load along a line, which suits global memory.
template <int INNER, int OUTER, int VECTOR, int TOGETHER> struct Share {
    static constexpr int PER_LINE = INNER / VECTOR, PER_SLOT = THREADS / PER_LINE, AT_ONCE = PER_SLOT * TOGETHER;
    static constexpr int SLOTS = (OUTER + AT_ONCE - 1) / AT_ONCE * TOGETHER;
    static_assert(INNER % VECTOR == 0 && THREADS % PER_LINE == 0, "the threads share a step's lines evenly");
    static __device__ int inner() { return threadIdx.x % PER_LINE * VECTOR; }
    static __device__ int outer(int slot) {
        return threadIdx.x / PER_LINE * TOGETHER + slot / TOGETHER * AT_ONCE + slot % TOGETHER;
    }
    static __device__ bool exists(int slot) { return OUTER % AT_ONCE == 0 || outer(slot) < OUTER; }
};

// Adds the products of terms first … last − 1 to `tile`, for rows from row0 and columns from column0 on.
template <class Tile, Direction DIRECTION, int VECTOR_A, int VECTOR_B, class A, class B>
__device__ void sum_products(Tile& tile, const A& a, const B& b, int row0, int column0, int first, int last) {
    using Number = typename Tile::Number;
    constexpr bool ALONG = DIRECTION == ALONG_THE_SUM;
    using ShareA = Share<ALONG ? Tile::DEPTH : Tile::ROWS, ALONG ? Tile::ROWS : Tile::DEPTH, VECTOR_A,
                         ALONG ? Tile::WITH : Tile::DEEP>;
    using ShareB = Share<Tile::COLUMNS, Tile::DEPTH, VECTOR_B, Tile::DEEP>;
    __shared__ typename Tile::Memory memory[2];

    Number fetched_a[ShareA::SLOTS][VECTOR_A], fetched_b[ShareB::SLOTS][VECTOR_B];
    typename A::Row rows[ALONG ? ShareA::SLOTS : 1];
#pragma unroll
    for (int s = 0; s < (ALONG ? ShareA::SLOTS : 1); s++)
        rows[s] = a.row(row0 + (ALONG ? ShareA::outer(s) : ShareA::inner()));

    const auto fetch = [&](int k0) {
        if constexpr (ALONG) {
            const typename A::Term term = a.term(k0 + ShareA::inner(), last);
#pragma unroll
            for (int s = 0; s < ShareA::SLOTS; s++) a.template load<VECTOR_A>(rows[s], term, fetched_a[s]);
        } else {
#pragma unroll
            for (int s = 0; s < ShareA::SLOTS; s++)
                a.template load<VECTOR_A>(rows[0], a.term(k0 + ShareA::outer(s), last), fetched_a[s]);
        }
#pragma unroll
        for (int s = 0; s < ShareB::SLOTS; s++)
            if (ShareB::exists(s)) b.template load<VECTOR_B>(k0 + ShareB::outer(s), last, column0 + ShareB::inner(), fetched_b[s]);
    };
    const auto lay_down = [&](typename Tile::Memory& m) {
#pragma unroll
        for (int s = 0; s < ShareA::SLOTS; s += ALONG ? Tile::WITH : Tile::DEEP)
            if (ShareA::exists(s)) {
                if constexpr (ALONG) {
                    Tile::template set_a<Tile::WITH, VECTOR_A>(
                        m, ShareA::outer(s), ShareA::inner(), [&](int r, int k) { return fetched_a[s + r][k]; });
                } else {
                    Tile::template set_a<VECTOR_A, Tile::DEEP>(
                        m, ShareA::inner(), ShareA::outer(s), [&](int r, int k) { return fetched_a[s + k][r]; });
                }
            }
#pragma unroll
        for (int s = 0; s < ShareB::SLOTS; s += Tile::DEEP)
            if (ShareB::exists(s)) Tile::template set_b<VECTOR_B, Tile::DEEP>(
                m, ShareB::inner(), ShareB::outer(s), [&](int c, int k) { return fetched_b[s + k][c]; });
    };

    if (first >= last) return;
    fetch(first);
    lay_down(memory[0]);
    __syncthreads();
    int turn = 0;
    for (int k0 = first; k0 < last; k0 += Tile::DEPTH, turn ^= 1) {
        const bool more = k0 + Tile::DEPTH < last;
        if (more) fetch(k0 + Tile::DEPTH);
        tile.multiply(memory[turn]);
        if (more) lay_down(memory[turn ^ 1]);
        __syncthreads();
    }
}

// VECTOR neighbours at an aligned address, or zeros.
template <int VECTOR, class T> __device__ void load_or_zero(const T* place, bool there, T (&numbers)[VECTOR]) {
    if constexpr (VECTOR == 4 && sizeof(T) == 4) {
        const float4 v = there ? *reinterpret_cast<const float4*>(place) : float4{0, 0, 0, 0};
        numbers[0] = v.x, numbers[1] = v.y, numbers[2] = v.z, numbers[3] = v.w;
    } else {
#pragma unroll
        for (int v = 0; v < VECTOR; v++) numbers[v] = there ? place[v] : T(0);
    }
}

// Writes the first `count` of a line's numbers. VECTOR: what divides `count` and the place's alignment.
template <int VECTOR, class T, int N> __device__ void store_line(T* place, int count, const T (&line)[N]) {
    if constexpr (VECTOR == 4 && N == 4 && sizeof(T) == 4) {
        if (count > 0) *reinterpret_cast<float4*>(place) = float4{line[0], line[1], line[2], line[3]};
    } else {
#pragma unroll
        for (int i = 0; i < N; i++)
            if (i < count) place[i] = line[i];
    }
}

// A right factor stored in memory: terms × columns, row-major.
template <class T> struct Matrix {
    const T* numbers;
    int columns;
    template <int VECTOR> __device__ void load(int k, int last, int column, T (&to)[VECTOR]) const {
        load_or_zero<VECTOR>(numbers + (long long)k * columns + column, k < last && column < columns, to);
    }
};
