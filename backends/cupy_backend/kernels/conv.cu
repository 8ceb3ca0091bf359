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
// has the same left factor transposed; the bias's gradient, Σ g[n, i, j, k], is summed along with it.
//
// Rows of the left factor are output pixels, its columns (tap, channel); the right factor is w as stored.
#include "product.cuh"

template <class T> struct Patches {
    const T* x;
    const int* taps;  // dy, dx of each; those in use are before `end`
    int end, height, width, channels, rows, columns, stride, pixels;

    struct Pixel { int top, y, x; };  // of the output's pixel m: rows of the images before, and the pixel of x at tap (0, 0)

    __device__ Pixel pixel(int m) const {
        const int line = m / columns;
        return {line / rows * height, line % rows * stride, m % columns * stride};
    }
    // From one pixel of a thread to its next, for each of the numbers s that it holds: to the neighbour, or by `jump`.
    // Columns carry over to rows, and rows to images. y and x may include those of a tap.
    template <class Mine> __device__ void walk(Pixel& to, int s, const Pixel& jump, int dy, int dx) const {
        if (Mine::beyond(s + 1) == Mine::beyond(s) + 1) {
            to.x += stride;
        } else {
            to.top += jump.top, to.y += jump.y, to.x += jump.x;
        }
        if (to.x >= columns * stride + dx) to.x -= columns * stride, to.y += stride;
        if (to.y >= rows * stride + dy) to.y -= rows * stride, to.top += height;
    }
    __device__ bool holds(int y, int z) const { return unsigned(y) < unsigned(height) && unsigned(z) < unsigned(width); }
    __device__ const T* at(int line, int z, int channel) const { return x + channel + (long long)(line * width + z) * channels; }
};

// The left factor of y: rows are pixels, the sum is over taps and channels. As long as the tap is the same, only `base`
// moves. So it is for whole runs of steps if DEPTH divides the number of channels, else for one.
template <class Tile, int VECTOR> struct PatchRows {
    using T = typename Tile::Number;
    using Mine = Share<Tile::DEPTH, Tile::ROWS, VECTOR, Tile::WITH>;
    static constexpr int NOWHERE = -2147483647 - 1;
    const Patches<T> p;
    const typename Patches<T>::Pixel first, jump;
    const int left;
    int tap, channel, offset[Mine::SLOTS];  // from `base`
    const T* base;
    T numbers[Mine::SLOTS][VECTOR];

    __device__ PatchRows(const Patches<T>& p, int row0, int first_tap)
        : p(p), first(p.pixel(row0 + Mine::outer(0))), jump(p.pixel(Mine::JUMP)), left(p.pixels - row0 - Mine::outer(0)),
          tap(first_tap + Mine::inner() / p.channels), channel(Mine::inner() % p.channels) {}
    __device__ int turn() {
        const bool any = tap < p.end;
        const int dy = any ? p.taps[2 * tap] : 0, dx = any ? p.taps[2 * tap + 1] : 0;
        auto here = first;
        here.y += dy, here.x += dx;
        const int start = (here.top + here.y) * p.width + here.x;
        base = p.at(here.top + here.y, here.x, channel);
#pragma unroll
        for (int s = 0; s < Mine::SLOTS; s++) {
            const bool there = any && Mine::beyond(s) < left && p.holds(here.y, here.x);
            offset[s] = there ? ((here.top + here.y) * p.width + here.x - start) * p.channels : NOWHERE;
            p.template walk<Mine>(here, s, jump, dy, dx);
#pragma unroll
            for (int v = 0; v < VECTOR; v++) numbers[s][v] = 0;  // and so they stay where nothing is loaded
        }
        if (p.channels % Tile::DEPTH == 0) {
            tap++;
            return p.channels / Tile::DEPTH;
        }
        tap += Tile::DEPTH / p.channels, channel += Tile::DEPTH % p.channels;
        if (channel >= p.channels) tap++, channel -= p.channels;
        return 1;
    }
    __device__ void fetch() {
#pragma unroll
        for (int s = 0; s < Mine::SLOTS; s++)
            if (offset[s] != NOWHERE) load<VECTOR>(base + offset[s], numbers[s]);
        base += Tile::DEPTH;
    }
    __device__ void lay_down(typename Tile::Memory& m) const {
#pragma unroll
        for (int s = 0; s < Mine::SLOTS; s += Tile::WITH)
            Tile::template set_a<Tile::WITH, VECTOR>(m, Mine::outer(s), Mine::inner(), [&](int r, int k) { return numbers[s + r][k]; });
    }
};

// The left factor of dw: rows are taps and channels, the sum is over pixels first … last − 1.
template <class Tile, int VECTOR> struct PatchColumns {
    using T = typename Tile::Number;
    using Mine = Share<Tile::ROWS, Tile::DEPTH, VECTOR, Tile::DEEP>;
    const Patches<T> p;
    const typename Patches<T>::Pixel jump;
    typename Patches<T>::Pixel here;
    int dy, dx, channel, left;
    T numbers[Mine::SLOTS][VECTOR];

    __device__ PatchColumns(const Patches<T>& p, int row0, int first, int last)
        : p(p), jump(p.pixel(Mine::JUMP)), here(p.pixel(first + Mine::outer(0))) {
        const int row = row0 + Mine::inner(), tap = row / p.channels;
        const bool any = tap < p.end;
        dy = any ? p.taps[2 * tap] : 0, dx = any ? p.taps[2 * tap + 1] : 0, channel = row % p.channels;
        here.y += dy, here.x += dx, left = any ? last - first - Mine::outer(0) : 0;
    }
    __device__ int turn() const { return 1 << 30; }
    __device__ void fetch() {
#pragma unroll
        for (int s = 0; s < Mine::SLOTS; s++) {
#pragma unroll
            for (int v = 0; v < VECTOR; v++) numbers[s][v] = 0;
            if (Mine::beyond(s) < left && p.holds(here.y, here.x)) load<VECTOR>(p.at(here.top + here.y, here.x, channel), numbers[s]);
            p.template walk<Mine>(here, s, jump, dy, dx);
        }
        left -= Tile::DEPTH;
    }
    __device__ void lay_down(typename Tile::Memory& m) const {
#pragma unroll
        for (int s = 0; s < Mine::SLOTS; s += Tile::DEEP)
            Tile::template set_a<VECTOR, Tile::DEEP>(m, Mine::inner(), Mine::outer(s), [&](int r, int k) { return numbers[s + k][r]; });
    }
};

// Phase z = blockIdx.z of y: y[n, i·step + z / step, j·step + z % step, k], so all of y at step 1. Its taps are those from
// starts[z] to starts[z + 1] − 1, and w begins with those of phase 0. Where a phase has fewer rows or columns than `rows`
// and `columns`, the rest is not written. With an activation, after bias: 1 is ELU, 2 leaky ReLU with slope alpha.
template <class Tile, int VECTOR_X, int VECTOR_W>
__global__ void __launch_bounds__(THREADS, VECTOR_X == 4 && VECTOR_W == 4 ? Tile::BLOCKS : 0) convolve(
    const typename Tile::Number* x, const typename Tile::Number* w, const typename Tile::Number* bias,
    typename Tile::Number* y, const int* taps, const int* starts, int images, int height, int width, int channels,
    int rows, int columns, int stride, int kernels, int y_height, int y_width, int step, int activation,
    typename Tile::Number alpha) {
    using T = typename Tile::Number;
    const int start = starts[blockIdx.z], end = starts[blockIdx.z + 1];
    const int pixels = images * rows * columns, depth = (end - start) * channels;
    const int m0 = blockIdx.x * Tile::ROWS, k0 = blockIdx.y * Tile::COLUMNS;
    PatchRows<Tile, VECTOR_X> a({x, taps, end, height, width, channels, rows, columns, stride, pixels}, m0, start);
    Matrix<Tile, VECTOR_W> b(w + (long long)start * channels * kernels, kernels, k0, 0, depth);
    Tile tile;
    sum_products(tile, a, b, depth);
    const auto place = [&](int i) -> long long {
        const int m = m0 + i, line = m / columns;
        const int row = line % rows * step + blockIdx.z / step, column = m % columns * step + blockIdx.z % step;
        const bool inside = m < pixels && row < y_height && column < y_width;
        return inside ? (((long long)(line / rows) * y_height + row) * y_width + column) * kernels : -1;
    };
    tile.each(place, [&](long long at, int j, T (&line)[Tile::LINE]) {
        const int k = k0 + j, count = at < 0 ? 0 : kernels - k;
        if (activation) {
#pragma unroll
            for (int i = 0; i < Tile::LINE; i++)
                if (i < count) {
                    const T z = line[i] + bias[k + i];
                    line[i] = z > 0 || activation == 2 ? leaky_relu_of(z, alpha) : elu_of(z);
                }
        }
        store_line<VECTOR_W>(y + at + k, count, line);
    });
}

// The right factor of dw. If `summing`, this thread also adds up its numbers of each column: what the bias's gradient needs.
template <class Tile, int VECTOR> struct SummedMatrix : Matrix<Tile, VECTOR> {
    using Base = Matrix<Tile, VECTOR>;
    using typename Base::Mine, typename Base::T;
    const bool summing;
    T sums[VECTOR] = {};

    __device__ SummedMatrix(bool summing, const T* numbers, int columns, int column0, int first, int last)
        : Base(numbers, columns, column0, first, last), summing(summing && Mine::exists()) {}
    __device__ void fetch() {
        Base::fetch();
        if (!summing) return;
#pragma unroll
        for (int s = 0; s < Mine::SLOTS; s++)
#pragma unroll
            for (int v = 0; v < VECTOR; v++) sums[v] += this->numbers[s][v];
    }
    // The sum of each column, of which there are `count`, over all threads of the block.
    __device__ void store(T* place, int count) const {
        __shared__ T memory[THREADS * VECTOR];
#pragma unroll
        for (int v = 0; v < VECTOR; v++) memory[threadIdx.x * VECTOR + v] = sums[v];
        __syncthreads();
        const int j = threadIdx.x;
        if (j >= min(count, Tile::COLUMNS)) return;
        T sum = 0;
        for (int i = 0; i < Mine::PER_SLOT; i++) sum += memory[i * Mine::PER_LINE * VECTOR + j];
        place[j] = sum;
    }
};

// Part z = blockIdx.z of the sum over pixels: parts[z][t, c, k]. The parts are added afterwards, in order. With `bias`,
// they have one row more, Σ g[n, i, j, k].
template <class Tile, int VECTOR_X, int VECTOR_G>
__global__ void __launch_bounds__(THREADS) correlate(
    const typename Tile::Number* x, const typename Tile::Number* g, typename Tile::Number* parts, const int* taps,
    int number_of_taps, int images, int height, int width, int channels, int rows, int columns, int stride,
    int kernels, int pixels_to_a_part, int bias) {
    using T = typename Tile::Number;
    const int pixels = images * rows * columns, depth = number_of_taps * channels;
    const int m0 = blockIdx.x * Tile::ROWS, k0 = blockIdx.y * Tile::COLUMNS;
    const int first = blockIdx.z * pixels_to_a_part, last = min(first + pixels_to_a_part, pixels);
    PatchColumns<Tile, VECTOR_X> a({x, taps, number_of_taps, height, width, channels, rows, columns, stride, pixels}, m0, first, last);
    SummedMatrix<Tile, VECTOR_G> b(bias && m0 == 0, g, kernels, k0, first, last);
    Tile tile;
    sum_products(tile, a, b, last - first);
    T* const part = parts + (long long)blockIdx.z * (depth + bias) * kernels;
    const auto place = [&](int i) { return m0 + i < depth ? (long long)(m0 + i) * kernels : -1LL; };
    tile.each(place, [&](long long at, int j, T (&line)[Tile::LINE]) {
        store_line<VECTOR_G>(part + at + k0 + j, at < 0 ? 0 : kernels - k0 - j, line);
    });
    if (bias && m0 == 0) b.store(part + (long long)depth * kernels + k0, kernels - k0);
}
