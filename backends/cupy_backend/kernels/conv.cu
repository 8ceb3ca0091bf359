// Convolution as a matrix product whose left factor is never stored (implicit GEMM), in N H W C.
//
//     y[n, i, j, :] = Σ_t x[n, i·stride + dy_t, j·stride + dx_t, :] · w[t, :, :]                    t: a *tap*
//
// A convolution is a list of taps. The forward pass has KH·KW of them, at (u·d − top, v·d − left). The gradient with
// respect to x is the same sum over the output's gradient, with the kernel transposed; at stride s, each of the s × s
// phases of x has its own list of taps. If x is magnified twice, so has each of the 2 × 2 phases of y. So one kernel
// computes all of these. The gradient with respect to w,
//
//     dw[t, c, k] = Σ_{n, i, j} x[n, i·stride + dy_t, j·stride + dx_t, c] · g[n, i, j, k],
//
// has the same left factor transposed.
//
// Rows of the left factor are output pixels, its columns (tap, channel); the right factor is w as stored.
#include "product.cuh"

// Addresses the numbers of a patch.
template <class T> struct Patches {
    const T* x;
    const int* taps;  // dy, dx of each
    int height, width, channels, rows, columns, stride, pixels, depth;

    struct Pixel { int image, y, x; };       // image −1: none
    struct Place { int dy, dx, channel; };  // channel −1: none

    __device__ Pixel pixel(int m) const {
        if (m >= pixels) return {-1, 0, 0};
        const int line = m / columns;
        return {line / rows, line % rows * stride, m % columns * stride};
    }
    __device__ Place place(int k) const {
        if (k >= depth) return {0, 0, -1};
        const int tap = k / channels;
        return {taps[2 * tap], taps[2 * tap + 1], k - tap * channels};
    }
    template <int VECTOR> __device__ void load(const Pixel& pixel, const Place& place, T (&to)[VECTOR]) const {
        const int y = pixel.y + place.dy, z = pixel.x + place.dx;
        const bool there = pixel.image >= 0 && place.channel >= 0 && y >= 0 && y < height && z >= 0 && z < width;
        const long long at = ((long long)pixel.image * height + y) * width + z;
        load_or_zero<VECTOR>(x + at * channels + place.channel, there, to);
    }
};

// The left factor of y: rows are pixels, the sum is over places.
template <class T> struct PatchRows : Patches<T> {
    using Row = typename Patches<T>::Pixel;
    using Term = typename Patches<T>::Place;
    __device__ PatchRows(const Patches<T>& p) : Patches<T>(p) {}
    __device__ Row row(int m) const { return this->pixel(m); }
    __device__ Term term(int k, int) const { return this->place(k); }
};

// The left factor of dw: rows are places, the sum is over pixels.
template <class T> struct PatchColumns : Patches<T> {
    using Row = typename Patches<T>::Place;
    using Term = typename Patches<T>::Pixel;
    __device__ PatchColumns(const Patches<T>& p) : Patches<T>(p) {}
    __device__ Row row(int k) const { return this->place(k); }
    __device__ Term term(int m, int last) const { return m < last ? this->pixel(m) : Term{-1, 0, 0}; }
    template <int VECTOR> __device__ void load(const Row& place, const Term& pixel, T (&to)[VECTOR]) const {
        Patches<T>::template load<VECTOR>(pixel, place, to);
    }
};

// Writes y[n, i·step + row0, j·step + column0, k]: all of y at step 1, one phase of it at step s. With `activate`, after
// bias and ELU.
template <class Tile, int VECTOR_X, int VECTOR_W>
__global__ void __launch_bounds__(THREADS) convolve(
    const typename Tile::Number* x, const typename Tile::Number* w, const typename Tile::Number* bias,
    typename Tile::Number* y, const int* taps, int number_of_taps, int images, int height, int width, int channels,
    int rows, int columns, int stride, int kernels, int y_height, int y_width, int step, int row0, int column0, int activate) {
    using T = typename Tile::Number;
    const int pixels = images * rows * columns, depth = number_of_taps * channels;
    const PatchRows<T> a{{x, taps, height, width, channels, rows, columns, stride, pixels, depth}};
    const Matrix<T> b{w, kernels};
    const int m0 = blockIdx.x * Tile::ROWS, k0 = blockIdx.y * Tile::COLUMNS;
    Tile tile;
    sum_products<Tile, ALONG_THE_SUM, VECTOR_X, VECTOR_W>(tile, a, b, m0, k0, 0, depth);
    const auto place = [&](int i) -> long long {
        const int m = m0 + i, line = m / columns;
        const long long row = (long long)(line / rows) * y_height + line % rows * step + row0;
        return m < pixels ? (row * y_width + m % columns * step + column0) * kernels : -1;
    };
    tile.each(place, [&](long long at, int j, T (&line)[Tile::LINE]) {
        const int k = k0 + j, count = at < 0 ? 0 : kernels - k;
        if (activate) {
#pragma unroll
            for (int i = 0; i < Tile::LINE; i++)
                if (i < count) line[i] = elu_of(line[i] + bias[k + i]);
        }
        store_line<VECTOR_W>(y + at + k, count, line);
    });
}

// Part z = blockIdx.z of the sum over pixels: parts[z][t, c, k]. The parts are added afterwards, in order.
template <class Tile, int VECTOR_X, int VECTOR_G>
__global__ void __launch_bounds__(THREADS) correlate(
    const typename Tile::Number* x, const typename Tile::Number* g, typename Tile::Number* parts, const int* taps,
    int number_of_taps, int images, int height, int width, int channels, int rows, int columns, int stride,
    int kernels, int pixels_to_a_part) {
    using T = typename Tile::Number;
    const int pixels = images * rows * columns, depth = number_of_taps * channels;
    const PatchColumns<T> a{{x, taps, height, width, channels, rows, columns, stride, pixels, depth}};
    const Matrix<T> b{g, kernels};
    const int m0 = blockIdx.x * Tile::ROWS, k0 = blockIdx.y * Tile::COLUMNS, first = blockIdx.z * pixels_to_a_part;
    Tile tile;
    sum_products<Tile, ACROSS_THE_SUM, VECTOR_X, VECTOR_G>(tile, a, b, m0, k0, first, min(first + pixels_to_a_part, pixels));
    const auto place = [&](int i) { return m0 + i < depth ? ((long long)blockIdx.z * depth + m0 + i) * kernels : -1LL; };
    tile.each(place, [&](long long at, int j, T (&line)[Tile::LINE]) {
        store_line<VECTOR_G>(parts + at + k0 + j, at < 0 ? 0 : kernels - k0 - j, line);
    });
}
