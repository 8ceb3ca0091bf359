// One block of a matrix product, D = A·B, summed in registers, by plain multiply-adds or on tensor cores.
//
// A block of THREADS threads computes ROWS × COLUMNS numbers of D, in steps of DEPTH terms whose parts of A and B are
// copied to shared memory. Both kinds of tile have the same interface:
//
//     Number           the type of the matrices in global memory
//     Memory           a step's part of A and B in shared memory
//     set_a, set_b     write one number of A (row, k) or of B (k, column) to it
//     set_a_line       write neighbours of A along k to it; set_b_line, neighbours of B along the columns
//     multiply         add the step's products to the sums of this thread
//     each             store(place(row), column, sum) for all sums of this thread, with one call of place per row
#pragma once
#include "common.cuh"

// ---- plain multiply-adds ------------------------------------------------------------------------------------------
// 16 × 16 threads with TM × TN sums each: TM + TN numbers read from shared memory make TM · TN products.
template <class T, int TM, int TN> struct PlainTile {
    using Number = T;
    static constexpr int ROWS = 16 * TM, COLUMNS = 16 * TN, DEPTH = 16;
    struct Memory {
        T a[ROWS][DEPTH + 1];  // padded, so that a column is spread over all banks
        T b[DEPTH][COLUMNS];
    };

    T sums[TM][TN] = {};

    static __device__ void set_a(Memory& m, int row, int k, T value) { m.a[row][k] = value; }
    static __device__ void set_b(Memory& m, int k, int column, T value) { m.b[k][column] = value; }
    template <int N> static __device__ void set_a_line(Memory& m, int row, int k, const T (&values)[N]) {
#pragma unroll
        for (int i = 0; i < N; i++) set_a(m, row, k + i, values[i]);
    }
    template <int N> static __device__ void set_b_line(Memory& m, int k, int column, const T (&values)[N]) {
#pragma unroll
        for (int i = 0; i < N; i++) set_b(m, k, column + i, values[i]);
    }

    __device__ void multiply(const Memory& m) {
        const int row = threadIdx.x / 16, column = threadIdx.x % 16;
        for (int k = 0; k < DEPTH; k++) {
            T a[TM], b[TN];
#pragma unroll
            for (int i = 0; i < TM; i++) a[i] = m.a[row + 16 * i][k];
#pragma unroll
            for (int j = 0; j < TN; j++) b[j] = m.b[k][column + 16 * j];
#pragma unroll
            for (int i = 0; i < TM; i++)
#pragma unroll
                for (int j = 0; j < TN; j++) sums[i][j] = fma(a[i], b[j], sums[i][j]);
        }
    }

    template <class P, class S> __device__ void each(P place, S store) const {
        const int row = threadIdx.x / 16, column = threadIdx.x % 16;
#pragma unroll
        for (int i = 0; i < TM; i++) {
            const auto here = place(row + 16 * i);
#pragma unroll
            for (int j = 0; j < TN; j++) store(here, column + 16 * j, sums[i][j]);
        }
    }
};

// ---- tensor cores -------------------------------------------------------------------------------------------------
// A warp multiplies 16 × 8 words of A by 8 × 8 words of B in one instruction. A word is one number in TF32 (float32
// with the last 13 bits of its fraction rounded off), or two neighbours along the sum in BF16. Sums are float32.
//
// Lane l holds, with g = l / 4 and t = l % 4:   A's words (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4);
// B's words (t, g), (t + 4, g);   and of the result (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
#ifndef __CUDACC__
// The instruction on the CPU: lanes exchange their words, then each sums its four numbers of the result.
template <class Dot> static inline void emulated_mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], Dot dot) {
    struct Shown { unsigned a[4], b[2]; };
    const Shown mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    cpu::show(mine);
    for (int i = 0; i < 4; i++) {
        const int row = cpu::lane() / 4, column = cpu::lane() % 4 * 2 + i % 2;
        for (int k = 0; k < 8; k++) {
            const unsigned x = cpu::shown_by<Shown>(row * 4 + k % 4).a[i / 2 + k / 4 * 2];
            const unsigned y = cpu::shown_by<Shown>(column * 4 + k % 4).b[k / 4];
            d[i] += dot(x, y);
        }
    }
    cpu::seen();
}
#endif

struct TF32 {
    static constexpr int NUMBERS = 1;  // per word
    // Rounded to nearest: ties go to even on sm_90, where this is one instruction; elsewhere away from 0, in four.
    static __device__ unsigned word(float x) {
#ifdef __CUDACC__
        unsigned bits;
#if __CUDA_ARCH__ >= 900
        asm("cvt.rn.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
#else
        asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
#endif
        return bits;
#else
        const unsigned bits = __float_as_uint(x);
        return (bits & 0x7f800000u) == 0x7f800000u ? bits : (bits + 0x1000u) & ~0x1fffu;
#endif
    }
    static __device__ void multiply(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef __CUDACC__
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
        emulated_mma(d, a, b, [](unsigned x, unsigned y) { return __uint_as_float(x) * __uint_as_float(y); });
#endif
    }
};

struct BF16 {
    static constexpr int NUMBERS = 2;
    static __device__ unsigned pair(float low, float high) {  // rounded to nearest, ties to even; NaN is preserved
#ifdef __CUDACC__
        unsigned word;
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
        return word;
#else
        return half(low) | half(high) << 16;
#endif
    }
    static __device__ unsigned half(float x) {
#ifdef __CUDACC__
        return pair(x, 0) & 0xffffu;
#else
        const unsigned bits = __float_as_uint(x);
        if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc0u;
        return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
#endif
    }
    static __device__ void multiply(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef __CUDACC__
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
        emulated_mma(d, a, b, [](unsigned x, unsigned y) {
            return __uint_as_float(x << 16) * __uint_as_float(y << 16) +
                   __uint_as_float(x & 0xffff0000u) * __uint_as_float(y & 0xffff0000u);
        });
#endif
    }
};

// WM × WN warps, each with FM × FN of these products side by side.
template <class Format, int WM, int WN, int FM, int FN> struct TensorTile {
    using Number = float;
    static_assert(WM * WN * 32 == THREADS, "WM × WN warps make a block");
    static constexpr int WORDS = 16;  // along the sum, per step
    static constexpr int ROWS = WM * FM * 16, COLUMNS = WN * FN * 8, DEPTH = WORDS * Format::NUMBERS;
    struct alignas(16) Memory {
        unsigned a[ROWS][WORDS + 4];     // padded, so that the 32 words that a warp reads at once
        unsigned b[WORDS][COLUMNS + 8];  // are in 32 different banks
    };

    float sums[FM][FN][4] = {};

    static __device__ void set_a(Memory& m, int row, int k, float value) { set(m.a[row][k / Format::NUMBERS], k, value); }
    static __device__ void set_b(Memory& m, int k, int column, float value) {
        set(m.b[k / Format::NUMBERS][column], k, value);
    }
    template <int N> static __device__ void set_a_line(Memory& m, int row, int k, const float (&x)[N]) {
        if constexpr (N == 4 && Format::NUMBERS == 1) {
            *reinterpret_cast<uint4*>(&m.a[row][k]) = four_words(x);
        } else if constexpr (N == 4) {
            *reinterpret_cast<uint2*>(&m.a[row][k / 2]) = uint2{Format::pair(x[0], x[1]), Format::pair(x[2], x[3])};
        } else {
#pragma unroll
            for (int i = 0; i < N; i++) set_a(m, row, k + i, x[i]);
        }
    }
    template <int N> static __device__ void set_b_line(Memory& m, int k, int column, const float (&x)[N]) {
        if constexpr (N == 4 && Format::NUMBERS == 1) {
            *reinterpret_cast<uint4*>(&m.b[k][column]) = four_words(x);
        } else {
#pragma unroll
            for (int i = 0; i < N; i++) set_b(m, k, column + i, x[i]);
        }
    }
    static __device__ uint4 four_words(const float (&x)[4]) {
        return uint4{Format::word(x[0]), Format::word(x[1]), Format::word(x[2]), Format::word(x[3])};
    }
    static __device__ void set(unsigned& word, int k, float value) {
        if constexpr (Format::NUMBERS == 1) {
            word = Format::word(value);
        } else {
            reinterpret_cast<unsigned short*>(&word)[k % 2] = (unsigned short)Format::half(value);
        }
    }

    __device__ void multiply(const Memory& m) {
        __syncwarp();  // lanes may have diverged, and the instruction needs them together
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
        const int row = warp / WN * FM * 16 + g, column = warp % WN * FN * 8 + g;
#pragma unroll
        for (int k = t; k < WORDS; k += 8) {
            unsigned a[FM][4], b[FN][2];
#pragma unroll
            for (int i = 0; i < FM; i++)
#pragma unroll
                for (int q = 0; q < 4; q++) a[i][q] = m.a[row + 16 * i + q % 2 * 8][k + q / 2 * 4];
#pragma unroll
            for (int j = 0; j < FN; j++)
#pragma unroll
                for (int q = 0; q < 2; q++) b[j][q] = m.b[k + 4 * q][column + 8 * j];
#pragma unroll
            for (int i = 0; i < FM; i++)
#pragma unroll
                for (int j = 0; j < FN; j++) Format::multiply(sums[i][j], a[i], b[j]);
        }
    }

    template <class P, class S> __device__ void each(P place, S store) const {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        const int row = warp / WN * FM * 16 + lane / 4, column = warp % WN * FN * 8 + lane % 4 * 2;
#pragma unroll
        for (int i = 0; i < 2 * FM; i++) {
            const auto here = place(row + 8 * i);
#pragma unroll
            for (int j = 0; j < FN; j++)
#pragma unroll
                for (int q = 0; q < 2; q++) store(here, column + 8 * j + q, sums[i / 2][j][i % 2 * 2 + q]);
        }
    }
};

// ---- the tiles in use, for many output channels and for few -------------------------------------------------------
using PlainWide = PlainTile<float, 8, 4>;          // 128 × 64
using PlainNarrow = PlainTile<float, 8, 1>;        // 128 × 16
using DoubleWide = PlainTile<double, 4, 4>;        // 64 × 64
using DoubleNarrow = PlainTile<double, 4, 1>;      // 64 × 16
template <class Format> using TensorWide = TensorTile<Format, 2, 4, 4, 4>;    // 128 × 128
template <class Format> using TensorMedium = TensorTile<Format, 4, 2, 2, 4>;  // 128 × 64
template <class Format> using TensorSmall = TensorTile<Format, 8, 1, 2, 4>;   // 256 × 32
template <class Format> using TensorNarrow = TensorTile<Format, 8, 1, 2, 2>;  // 256 × 16
