// One block of a matrix product, D = A·B, summed in registers, by plain multiply-adds or on tensor cores.
//
// A block of THREADS threads computes ROWS × COLUMNS numbers of D, in steps of DEPTH terms whose parts of A and B are
// copied to shared memory. Both kinds of tile have the same interface:
//
//     Number           the type of the matrices in global memory
//     BLOCKS           that must fit on a multiprocessor at once, which limits the registers; 0: as the compiler likes
//     Memory           a step's part of A and B in shared memory
//     WITH, DEEP       rows of A, and terms of the sum, that one thread should write to it together
//     set_a<R, K>      write R rows by K terms of A to it, of the numbers value(r, k)
//     set_b<C, K>      write C columns by K terms of B to it, of the numbers value(c, k)
//     multiply         add the step's products to the sums of this thread
//     each             store(place(row), column, line) for all sums of this thread, LINE neighbouring columns at a time,
//                      with one call of place per row
#pragma once
#include "common.cuh"

// ---- plain multiply-adds ------------------------------------------------------------------------------------------
// 16 × 16 threads with TM × TN sums each: TM + TN numbers read from shared memory make TM · TN products.
template <class T, int TM, int TN> struct PlainTile {
    using Number = T;
    static constexpr int ROWS = 16 * TM, COLUMNS = 16 * TN, DEPTH = 16;
    static constexpr int WITH = 1, DEEP = 1, LINE = 1, BLOCKS = 0;
    struct Memory {
        T a[ROWS][DEPTH + 1];  // padded, so that a column is spread over all banks
        T b[DEPTH][COLUMNS];
    };

    T sums[TM][TN] = {};

    template <int R, int K, class F> static __device__ void set_a(Memory& m, int row, int k, F value) {
#pragma unroll
        for (int i = 0; i < R * K; i++) m.a[row + i / K][k + i % K] = value(i / K, i % K);
    }
    template <int C, int K, class F> static __device__ void set_b(Memory& m, int column, int k, F value) {
#pragma unroll
        for (int i = 0; i < C * K; i++) m.b[k + i / C][column + i % C] = value(i % C, i / C);
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
            for (int j = 0; j < TN; j++) {
                T line[LINE] = {sums[i][j]};
                store(here, column + 16 * j, line);
            }
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
template <class Dot> static inline void emulated_mma(float (&d)[4], const unsigned* a, const unsigned* b, Dot dot) {
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
    template <class F> static __device__ unsigned word_of(F value) { return word(value(0)); }
    static __device__ void multiply(float (&d)[4], const unsigned* a, const unsigned* b) {
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
    template <class F> static __device__ unsigned word_of(F value) { return pair(value(0), value(1)); }
    static __device__ void multiply(float (&d)[4], const unsigned* a, const unsigned* b) {
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
//
// Which rows, columns and terms make up a product is free. Here rows g and g + 8 of A are neighbours, so are words t and
// t + 4 along the sum, and columns g of two products. Then a lane's four words of A, or of B for two products, lie side
// by side in shared memory, in the order in which the instruction needs them in registers.
template <class Format, int WM, int WN, int FM, int FN> struct TensorTile {
    using Number = float;
    static_assert(WM * WN * 32 == THREADS && FN % 2 == 0, "WM × WN warps make a block, products come in pairs");
    static constexpr int WORDS = 16;  // along the sum, per step
    static constexpr int ROWS = WM * FM * 16, COLUMNS = WN * FN * 8, DEPTH = WORDS * Format::NUMBERS;
    static constexpr int WITH = 2, DEEP = 2 * Format::NUMBERS, LINE = 4, BLOCKS = Format::NUMBERS == 1 ? 2 : 0;
    struct alignas(16) Four { unsigned word[4]; };
    struct Memory {
        Four a[WORDS / 2][ROWS / 2 + 2];     // two rows by two words; padded, so that what eight lanes read at once
        Four b[WORDS / 2][COLUMNS / 2 + 2];  // is in 32 different banks
    };

    float sums[FM][FN][4] = {};

    template <int R, int K, class F> static __device__ void set_a(Memory& m, int row, int k, F value) {
        set<R, K, 1, 2>(&m.a[0][0], ROWS / 2 + 2, row, k, value);
    }
    template <int C, int K, class F> static __device__ void set_b(Memory& m, int column, int k, F value) {
        set<C, K, 2, 1>(&m.b[0][0], COLUMNS / 2 + 2, column, k, value);
    }
    // Two rows or columns by two words along the sum are four; within four, i and k advance by STEP_I and STEP_K.
    // Neighbouring fours along the sum lie far apart, so that threads that hold two of them write to different banks.
    static __device__ int line(int k) { return k / DEEP / 2 + k / DEEP % 2 * (WORDS / 4); }
    template <int I, int K, int STEP_I, int STEP_K, class F>
    static __device__ void set(Four* fours, int length, int i0, int k0, F value) {
        if constexpr (I % 2 == 0 && K % DEEP == 0) {
#pragma unroll
            for (int i = 0; i < I; i += 2)
#pragma unroll
                for (int k = 0; k < K; k += DEEP) {
                    Four four;
#pragma unroll
                    for (int n = 0; n < 4; n++)
                        four.word[n % 2 * STEP_I + n / 2 * STEP_K] =
                            Format::word_of([&](int l) { return value(i + n % 2, k + n / 2 * Format::NUMBERS + l); });
                    fours[(line(k0) + line(k)) * length + (i0 + i) / 2] = four;
                }
        } else {
#pragma unroll
            for (int n = 0; n < I * K; n++) {
                const int i = i0 + n % I, k = k0 + n / I, place = i % 2 * STEP_I + k % DEEP / Format::NUMBERS * STEP_K;
                unsigned& word = fours[line(k) * length + i / 2].word[place];
                if constexpr (Format::NUMBERS == 1) {
                    word = Format::word(value(n % I, n / I));
                } else {
                    reinterpret_cast<unsigned short*>(&word)[k % 2] = (unsigned short)Format::half(value(n % I, n / I));
                }
            }
        }
    }

    __device__ void multiply(const Memory& m) {
        __syncwarp();  // lanes may have diverged, and the instruction needs them together
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
        const int row = warp / WN * FM * 8 + g, column = warp % WN * FN * 4 + g;
#pragma unroll
        for (int k = t; k < WORDS / 2; k += 4) {
            Four a[FM], b[FN / 2];
#pragma unroll
            for (int i = 0; i < FM; i++) a[i] = m.a[k][row + 8 * i];
#pragma unroll
            for (int j = 0; j < FN / 2; j++) b[j] = m.b[k][column + 8 * j];
#pragma unroll
            for (int i = 0; i < FM; i++)
#pragma unroll
                for (int j = 0; j < FN; j++) Format::multiply(sums[i][j], a[i].word, b[j / 2].word + j % 2 * 2);
        }
    }

    template <class P, class S> __device__ void each(P place, S store) const {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        const int row = warp / WN * FM * 16 + lane / 4 * 2, column = warp % WN * FN * 8 + lane % 4 * 4;
#pragma unroll
        for (int i = 0; i < 2 * FM; i++) {
            const auto here = place(row + i / 2 * 16 + i % 2);
#pragma unroll
            for (int j = 0; j < FN; j += 2) {
                const float* const one = sums[i / 2][j] + i % 2 * 2;
                const float* const next = sums[i / 2][j + 1] + i % 2 * 2;
                float line[LINE] = {one[0], next[0], one[1], next[1]};
                store(here, column + 8 * j, line);
            }
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
