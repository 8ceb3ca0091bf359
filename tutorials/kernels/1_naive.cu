// Rung 1: one thread to an output number, everything read from global memory.
//
//     y[n, i, j, k] = Σ_{u, v, c} x[n, i + u − top, j + v − left, c] · w[u, v, c, k]          zero outside x
//
// All rungs have this signature. Pixels of all images are counted through: m = (n·height + i)·width + j. A block's 256
// threads make 16 pixels × 16 kernels of y; neighbouring threads make neighbouring kernels, so that a warp reads
// neighbouring weights.

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
    const int row = threadIdx.x / TILE, column = threadIdx.x % TILE;
    const int m = blockIdx.x * TILE + row, k = blockIdx.y * TILE + column;
    if (m >= images * height * width || k >= kernels) return;
    float sum = 0;
    for (int tap = 0; tap < kh * kw; tap++) {
        const float* pixel = pixel_at(x, m, tap / kw - top, tap % kw - left, images, height, width, channels);
        if (!pixel) continue;
        const float* weights = w + (long long)tap * channels * kernels + k;
        for (int c = 0; c < channels; c++) sum += pixel[c] * weights[(long long)c * kernels];
    }
    y[(long long)m * kernels + k] = sum;
}
