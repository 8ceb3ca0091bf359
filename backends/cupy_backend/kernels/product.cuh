// The main loop of all products: load the numbers of a step, store them in shared memory, multiply.
//
// While a step is multiplied, the numbers of the next are loaded from global memory into registers. Shared memory is
// double buffered, so one barrier per step is enough.
//
// A factor is an object that loads this thread's numbers step by step, so a matrix need not exist: the left factor of a
// convolution reads its patches from the picture.
//
//     turn()       finds the next steps' numbers, and returns how many steps that holds for; the left factor only
//     fetch()      loads a step's numbers into registers, and moves on by one step, without a division
//     lay_down(m)  stores them in shared memory
#pragma once
#include "tiles.cuh"

// The numbers of a step that this thread loads: SLOTS times VECTOR neighbours, of OUTER lines of length INNER, TOGETHER
// neighbouring lines at a time. Neighbouring threads load along a line, which suits global memory.
template <int INNER, int OUTER, int VECTOR, int TOGETHER> struct Share {
    static constexpr int PER_LINE = INNER / VECTOR, PER_SLOT = THREADS / PER_LINE, AT_ONCE = PER_SLOT * TOGETHER;
    static constexpr int SLOTS = (OUTER + AT_ONCE - 1) / AT_ONCE * TOGETHER, JUMP = AT_ONCE - TOGETHER + 1;
    static_assert(INNER % VECTOR == 0 && THREADS % PER_LINE == 0, "the threads share a step's lines evenly");
    static __device__ int inner() { return threadIdx.x % PER_LINE * VECTOR; }
    static __device__ int outer(int slot) { return threadIdx.x / PER_LINE * TOGETHER + beyond(slot); }
    static __device__ int beyond(int slot) { return slot / TOGETHER * AT_ONCE + slot % TOGETHER; }
    static __device__ bool exists() { return OUTER % AT_ONCE == 0 || outer(0) < OUTER; }
};

// Adds the products of so many terms to `tile`.
template <class Tile, class A, class B> __device__ void sum_products(Tile& tile, A& a, B& b, int terms) {
    __shared__ typename Tile::Memory memory[2];
    if (terms <= 0) return;
    int turn = 0, left = (terms - 1) / Tile::DEPTH, run = a.turn() - 1;  // after the first step
    a.fetch(), b.fetch();
    a.lay_down(memory[0]), b.lay_down(memory[0]);
    __syncthreads();
    while (left > 0) {
        if (run == 0) run = a.turn();
        run = min(run, left);
        left -= run;
        for (; run > 0; run--, turn ^= 1) {
            a.fetch(), b.fetch();
            tile.multiply(memory[turn]);
            a.lay_down(memory[turn ^ 1]), b.lay_down(memory[turn ^ 1]);
            __syncthreads();
        }
    }
    tile.multiply(memory[turn]);
}

// VECTOR neighbours at an aligned address.
template <int VECTOR, class T> __device__ void load(const T* place, T (&numbers)[VECTOR]) {
    if constexpr (VECTOR == 4 && sizeof(T) == 4) {
        const float4 v = *reinterpret_cast<const float4*>(place);
        numbers[0] = v.x, numbers[1] = v.y, numbers[2] = v.z, numbers[3] = v.w;
    } else {
#pragma unroll
        for (int v = 0; v < VECTOR; v++) numbers[v] = place[v];
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

// A right factor stored in memory: terms × columns, row-major. From column0 on, terms first … last − 1.
template <class Tile, int VECTOR> struct Matrix {
    using T = typename Tile::Number;
    using Mine = Share<Tile::COLUMNS, Tile::DEPTH, VECTOR, Tile::DEEP>;
    const int columns;
    int left;
    const T* at;
    T numbers[Mine::SLOTS][VECTOR];

    __device__ Matrix(const T* numbers, int columns, int column0, int first, int last)
        : columns(columns), left(column0 + Mine::inner() < columns ? last - first - Mine::outer(0) : 0),
          at(numbers + (long long)(first + Mine::outer(0)) * columns + column0 + Mine::inner()) {}
    __device__ void fetch() {
        if (!Mine::exists()) return;
#pragma unroll
        for (int s = 0; s < Mine::SLOTS; s++) {
#pragma unroll
            for (int v = 0; v < VECTOR; v++) numbers[s][v] = 0;
            if (Mine::beyond(s) < left) load<VECTOR>(at + Mine::beyond(s) * columns, numbers[s]);
        }
        at += (long long)Tile::DEPTH * columns, left -= Tile::DEPTH;
    }
    __device__ void lay_down(typename Tile::Memory& m) const {
        if (!Mine::exists()) return;
#pragma unroll
        for (int s = 0; s < Mine::SLOTS; s += Tile::DEEP)
            Tile::template set_b<VECTOR, Tile::DEEP>(m, Mine::inner(), Mine::outer(s), [&](int c, int k) { return numbers[s + k][c]; });
    }
};
