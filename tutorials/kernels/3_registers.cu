// Rung 3: a thread keeps TM × TN sums in registers, so that a number read from shared memory serves several products.
//
// Rung 2 with every line in a loop: where a thread had one pixel m, it has pixels m, m + 16, m + 32, …, TM of them;
// where it had one kernel k, it has TN. Of TM + TN numbers read, it makes TM·TN products:
//
//                     b[c][column]  b[c][column + 16]  …                TN numbers
//     a[row][c]           ·               ·
//     a[row + 16][c]      ·               ·                 TM × TN sums, an outer product added in each term
//     …
//     TM numbers
//
// The loops over i and j have fixed lengths and are unrolled: registers have no addresses, so that sums[i][j] lies in
// one only if i and j are known when the kernel is compiled.

constexpr int THREADS = 256, DEPTH = 16;  // DEPTH: terms of the sum to a step

// The channels of the pixel that tap (dy, dx) of the patch around m falls on; null outside the picture.
__device__ const float* pixel_at(
    const float* x, int m, int dy, int dx, int images, int height, int width, int channels) {
    const int line = m / width, i = line % height + dy, j = m % width + dx;
    if (m >= images * height * width || i < 0 || i >= height || j < 0 || j >= width) return nullptr;
    return x + ((long long)(line + dy) * width + j) * channels;
}

template <int TM, int TN>
__global__ void __launch_bounds__(THREADS) convolve(
    const float* x, const float* w, float* y, int images, int height, int width, int channels, int kernels, int kh,
    int kw, int top, int left) {
    __shared__ float a[16 * TM][DEPTH], b[DEPTH][16 * TN];
    const int row = threadIdx.x / 16, column = threadIdx.x % 16;
    const int m = blockIdx.x * 16 * TM + row, k = blockIdx.y * 16 * TN + column;  // the first of each
    float sums[TM][TN] = {};
    for (int tap = 0; tap < kh * kw; tap++) {
        const float* pixels[TM];
#pragma unroll
        for (int i = 0; i < TM; i++)
            pixels[i] = pixel_at(x, m + 16 * i, tap / kw - top, tap % kw - left, images, height, width, channels);
        const float* weights = w + (long long)tap * channels * kernels;
        for (int c0 = 0; c0 < channels; c0 += DEPTH) {
            const int ca = c0 + column, cb = c0 + row;
#pragma unroll
            for (int i = 0; i < TM; i++) a[row + 16 * i][column] = pixels[i] && ca < channels ? pixels[i][ca] : 0;
#pragma unroll
            for (int j = 0; j < TN; j++) {
                const bool there = cb < channels && k + 16 * j < kernels;
                b[row][column + 16 * j] = there ? weights[(long long)cb * kernels + k + 16 * j] : 0;
            }
            __syncthreads();
            for (int c = 0; c < DEPTH; c++) {
                float of_a[TM], of_b[TN];
#pragma unroll
                for (int i = 0; i < TM; i++) of_a[i] = a[row + 16 * i][c];
#pragma unroll
                for (int j = 0; j < TN; j++) of_b[j] = b[c][column + 16 * j];
#pragma unroll
                for (int i = 0; i < TM; i++)
#pragma unroll
                    for (int j = 0; j < TN; j++) sums[i][j] += of_a[i] * of_b[j];
            }
            __syncthreads();
        }
    }
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++)
            if (m + 16 * i < images * height * width && k + 16 * j < kernels)
                y[(long long)(m + 16 * i) * kernels + k + 16 * j] = sums[i][j];
}
