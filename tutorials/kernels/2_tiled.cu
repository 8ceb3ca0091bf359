// Rung 2: what a block's threads read in common is read once, into shared memory.
//
// Convolution is a matrix product, y = patches · w, whose left side is never stored (*implicit GEMM*):
//
//     a row m of the left side     an output pixel
//     a term of the sum            a tap (u, v) and a channel c
//     a column k of the right      a kernel
//
// A block makes a tile of 16 × 16 numbers of y and walks the sum 16 channels of one tap at a time. In each step a
// thread fetches one number of the patches and one of w, and reads 16 of each.

constexpr int THREADS = 256, TILE = 16;

// The channels of the pixel that tap (dy, dx) of the patch around m falls on; null outside the picture.
__device__ const float* pixel_at(
    const float* x, int m, int dy, int dx, int images, int height, int width, int channels) {
    const int line = m / width, i = line % height + dy, j = m % width + dx;
    if (m >= images * height * width || i < 0 || i >= height || j < 0 || j >= width) return nullptr;
    return x + ((long long)(line + dy) * width + j) * channels;
}

__global__ void __launch_bounds__(THREADS) convolve(
    const float* x, const float* w, float* y, int images, int height, int width, int channels, int kernels, int kh,
    int kw, int top, int left) {
    __shared__ float a[TILE][TILE], b[TILE][TILE];  // patches: pixel, channel; weights: channel, kernel
    const int row = threadIdx.x / TILE, column = threadIdx.x % TILE;
    const int m = blockIdx.x * TILE + row, k = blockIdx.y * TILE + column;
    float sum = 0;
    for (int tap = 0; tap < kh * kw; tap++) {
        const float* pixel = pixel_at(x, m, tap / kw - top, tap % kw - left, images, height, width, channels);
        const float* weights = w + (long long)tap * channels * kernels;
        for (int c0 = 0; c0 < channels; c0 += TILE) {
            const int ca = c0 + column, cb = c0 + row;  // the channel that this thread fetches of each
            a[row][column] = pixel && ca < channels ? pixel[ca] : 0;
            b[row][column] = cb < channels && k < kernels ? weights[(long long)cb * kernels + k] : 0;
            __syncthreads();  // nobody reads before all have written
            for (int c = 0; c < TILE; c++) sum += a[row][c] * b[c][column];
            __syncthreads();  // nobody writes the next step before all have read this one
        }
    }
    if (m < images * height * width && k < kernels) y[(long long)m * kernels + k] = sum;
}
