// Rung 4: a warp's 32 threads multiply together, 16 × 8 numbers of A by 8 × 8 of B in one instruction.
//
// The instruction is mma.sync.m16n8k8 in TF32: factors are float32 with the last 13 bits of the fraction rounded off,
// sums are float32. What each lane must hold of A, B and the sums is laid down in the PTX manual; with g = lane / 4
// and l = lane % 4:
//
//     A, 16 × 8:   (g, l), (g + 8, l), (g, l + 4), (g + 8, l + 4)
//     B, 8 × 8:    (l, g), (l + 4, g)
//     sums, 16×8:  (g, 2l), (g, 2l + 1), (g + 8, 2l), (g + 8, 2l + 1)
//
// Fetching is rung 3's. In the header, `TF32::multiply` is the one line of assembly, `TF32::word` the rounding; without
// a GPU the lanes show one another their words instead.
#include "tiles.cuh"

constexpr int DEPTH = 16, WARPS_DOWN = 4, WARPS_ACROSS = 2;  // 8 warps, as a block of 256 threads has

// The channels of the pixel that tap (dy, dx) of the patch around m falls on; null outside the picture.
__device__ const float* pixel_at(
    const float* x, int m, int dy, int dx, int images, int height, int width, int channels) {
    const int line = m / width, i = line % height + dy, j = m % width + dx;
    if (m >= images * height * width || i < 0 || i >= height || j < 0 || j >= width) return nullptr;
    return x + ((long long)(line + dy) * width + j) * channels;
}

// A warp has FM × FN of these products side by side.
template <int FM, int FN>
__global__ void __launch_bounds__(THREADS) convolve(
    const float* x, const float* w, float* y, int images, int height, int width, int channels, int kernels, int kh,
    int kw, int top, int left) {
    constexpr int ROWS = WARPS_DOWN * FM * 16, COLUMNS = WARPS_ACROSS * FN * 8;
    __shared__ unsigned a[ROWS][DEPTH + 4];     // with these paddings the 32 words that a warp reads at once
    __shared__ unsigned b[DEPTH][COLUMNS + 8];  // lie in 32 different banks

    // what this thread fetches, as in rung 3
    const int m0 = blockIdx.x * ROWS, k0 = blockIdx.y * COLUMNS, row = threadIdx.x / 16, column = threadIdx.x % 16;
    // what it multiplies
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, l = lane % 4;
    const int down = warp / WARPS_ACROSS * FM * 16, across = warp % WARPS_ACROSS * FN * 8;
    float sums[FM][FN][4] = {};

    for (int tap = 0; tap < kh * kw; tap++) {
        const float* pixels[ROWS / 16];
#pragma unroll
        for (int i = 0; i < ROWS / 16; i++) {
            const int m = m0 + row + 16 * i;
            pixels[i] = pixel_at(x, m, tap / kw - top, tap % kw - left, images, height, width, channels);
        }
        const float* weights = w + (long long)tap * channels * kernels;
        for (int c0 = 0; c0 < channels; c0 += DEPTH) {
            const int ca = c0 + column, cb = c0 + row;
#pragma unroll
            for (int i = 0; i < ROWS / 16; i++)
                a[row + 16 * i][column] = TF32::word(pixels[i] && ca < channels ? pixels[i][ca] : 0);
#pragma unroll
            for (int j = 0; j < COLUMNS / 16; j++) {
                const int k = k0 + column + 16 * j;
                const bool there = cb < channels && k < kernels;
                b[row][column + 16 * j] = TF32::word(there ? weights[(long long)cb * kernels + k] : 0);
            }
            __syncthreads();
#pragma unroll
            for (int c = 0; c < DEPTH; c += 8) {
                unsigned of_a[FM][4], of_b[FN][2];
#pragma unroll
                for (int i = 0; i < FM; i++)
#pragma unroll
                    for (int q = 0; q < 4; q++) of_a[i][q] = a[down + 16 * i + g + q % 2 * 8][c + l + q / 2 * 4];
#pragma unroll
                for (int j = 0; j < FN; j++)
#pragma unroll
                    for (int q = 0; q < 2; q++) of_b[j][q] = b[c + l + 4 * q][across + 8 * j + g];
#pragma unroll
                for (int i = 0; i < FM; i++)
#pragma unroll
                    for (int j = 0; j < FN; j++) TF32::multiply(sums[i][j], of_a[i], of_b[j]);
            }
            __syncthreads();
        }
    }
#pragma unroll
    for (int i = 0; i < FM; i++)
#pragma unroll
        for (int j = 0; j < FN; j++)
#pragma unroll
            for (int q = 0; q < 4; q++) {
                const int m = m0 + down + 16 * i + g + q / 2 * 8, k = k0 + across + 8 * j + 2 * l + q % 2;
                if (m < images * height * width && k < kernels) y[(long long)m * kernels + k] = sums[i][j][q];
            }
}
