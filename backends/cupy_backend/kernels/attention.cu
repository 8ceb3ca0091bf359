// Contextual attention in bands of rows: the steps between its matrix products, for which cuBLAS is used.
//
//     P = f bᵀ  ·  S = D_window(P) / ‖patch b‖  ·  Z = D_columns(D_rows(S))  ·  A = softmax(scale · valid · Z) · valid
//     Q[c, c'] = Σ_ε A[c − ε, c' − ε], ε ∈ {0, 1}²  ·  y_blocks = ¼ Q · b_blocks
//
// D_Δ(S)[x, x'] = Σ_{δ ∈ Δ} S[x + δ, x' + δ] is a sum along a diagonal: both positions move together. See
// numpy_attention.py and, for bands and corners, numba_attention.py.
//
// Rows of a matrix are foreground positions, of which only some are stored: slot[x] is the row of position x, −1 if
// none. Columns are all h2 × w2 background positions. A block of threads computes (part of) one row.
#include "common.cuh"

// The position t steps down a column-major walk from (y, x), in row-major order; −1 outside the picture.
__device__ int down(int y, int x, int t, int h, int w) {
    const int walked = x * h + y + t;
    return walked < 0 || walked >= h * w ? -1 : walked % h * w + walked / h;
}

// out[r, x'] = factor[x'] · Σ_δ source[slot[wanted[r] + δ], x' + δ] over the window; factor may be null.
template <class T> __global__ void __launch_bounds__(THREADS) window_sums(
    const T* source, const int* slot, const int* wanted, int low, int high, int h, int w, int h2, int w2,
    const T* factor, T* out) {
    const int y = wanted[blockIdx.x] / w, x = wanted[blockIdx.x] % w, length = h2 * w2;
    const int column = blockIdx.y * THREADS + threadIdx.x, y2 = column / w2, x2 = column % w2;
    if (column >= length) return;
    T sum = 0;
    for (int dy = low; dy <= high; dy++)
        for (int dx = low; dx <= high; dx++) {
            const bool inside = y + dy >= 0 && y + dy < h && x + dx >= 0 && x + dx < w &&
                                y2 + dy >= 0 && y2 + dy < h2 && x2 + dx >= 0 && x2 + dx < w2;
            const int row = inside ? slot[(y + dy) * w + x + dx] : -1;
            if (row >= 0) sum += source[(long long)row * length + (y2 + dy) * w2 + x2 + dx];
        }
    out[(long long)blockIdx.x * length + column] = factor ? sum * factor[column] : sum;
}

// A at wanted[r], as row r of `out`. Z more than −least below the largest are treated as −∞.
template <class T> __global__ void __launch_bounds__(THREADS) attend(
    const T* scores, const int* slot, const int* wanted, int low, int high, int h, int w, int h2, int w2,
    const T* valid, T scale, T least, T* out) {
    __shared__ T memory[THREADS / 32];
    const int y = wanted[blockIdx.x] / w, x = wanted[blockIdx.x] % w, length = h2 * w2;
    T* row = out + (long long)blockIdx.x * length;
    T largest = -1 / T(0), total = 0;
    for (int j = threadIdx.x; j < length; j += THREADS) {
        T sum = 0;
        for (int t = low; t <= high; t++) {
            const int here = down(y, x, t, h, w), there = down(j / w2, j % w2, t, h2, w2);
            if (here < 0 || there < 0) continue;
            for (int s = low; s <= high; s++)
                if (here + s >= 0 && here + s < h * w && there + s >= 0 && there + s < length)
                    sum += scores[(long long)slot[here + s] * length + there + s];
        }
        const T z = sum * (valid[j] * scale);
        row[j] = z;
        largest = z > largest || z != z ? z : largest;
    }
    largest = block_max(largest, memory);
    for (int j = threadIdx.x; j < length; j += THREADS) {
        const T below = row[j] - largest;
        row[j] = below < least ? T(0) : exp(below);
        total += row[j];
    }
    total = block_sum(total, memory);
    for (int j = threadIdx.x; j < length; j += THREADS) row[j] *= valid[j] / total;
}

// out[k, c'] = Q of corner first + k: the sum of A over the four cells around it, each paired with its match around c'.
template <class T> __global__ void __launch_bounds__(THREADS) corner_sums(
    const T* attention, const int* slot, int first, int h, int w, int h2, int w2, T* out) {
    const int corner = first + blockIdx.x, y = corner / (w + 1), x = corner % (w + 1), length = h2 * w2;
    const int columns = (h2 + 1) * (w2 + 1), column = blockIdx.y * THREADS + threadIdx.x;
    if (column >= columns) return;
    const int y2 = column / (w2 + 1), x2 = column % (w2 + 1);
    T sum = 0;
    for (int ey = 0; ey < 2; ey++)
        for (int ex = 0; ex < 2; ex++) {
            const bool inside = y - ey >= 0 && y - ey < h && x - ex >= 0 && x - ex < w &&
                                y2 - ey >= 0 && y2 - ey < h2 && x2 - ex >= 0 && x2 - ex < w2;
            const int row = inside ? slot[(y - ey) * w + x - ex] : -1;
            if (row >= 0) sum += attention[(long long)row * length + (y2 - ey) * w2 + x2 - ex];
        }
    out[(long long)blockIdx.x * columns + column] = sum;
}

// dZ = scale · a · (valid · dA − Σ a · dA), with dA gathered from dQ around each cell; row r of A is cell first + r.
template <class T> __global__ void __launch_bounds__(THREADS) softmax_vjp(
    const T* d_weights, const T* attention, int first, int first_corner, int w, int h2, int w2, const T* valid, T scale,
    T* out) {
    __shared__ T memory[THREADS / 32];
    const int cell = first + blockIdx.x, corner = cell / w * (w + 1) + cell % w - first_corner;
    const int length = h2 * w2, columns = (h2 + 1) * (w2 + 1);
    const T* a = attention + (long long)blockIdx.x * length;
    T* row = out + (long long)blockIdx.x * length;
    T mean = 0;
    for (int j = threadIdx.x; j < length; j += THREADS) {
        T sum = 0;
        for (int ey = 0; ey < 2; ey++)
            for (int ex = 0; ex < 2; ex++)
                sum += d_weights[(long long)(corner + ey * (w + 1) + ex) * columns + (j / w2 + ey) * (w2 + 1) + j % w2 + ex];
        row[j] = sum;
        mean += sum * a[j];
    }
    mean = block_sum(mean, memory);
    for (int j = threadIdx.x; j < length; j += THREADS) row[j] = scale * a[j] * (valid[j] * row[j] - mean);
}

// Adjoint of the propagation in `attend`, divided by the norm: back along the row, then up the column. At wanted[r], as
// row r of `out`.
template <class T> __global__ void __launch_bounds__(THREADS) propagate_adjoint(
    const T* d_logits, const int* slot, const int* wanted, int low, int high, int h, int w, int h2, int w2, const T* norm,
    T* out) {
    const int position = wanted[blockIdx.x], length = h2 * w2, column = blockIdx.y * THREADS + threadIdx.x;
    if (column >= length) return;
    T sum = 0;
    for (int s = low; s <= high; s++) {
        const int here = position - s, there = column - s;
        if (here < 0 || here >= h * w || there < 0 || there >= length) continue;
        for (int t = low; t <= high; t++) {
            const int x = down(here / w, here % w, -t, h, w), x2 = down(there / w2, there % w2, -t, h2, w2);
            const int row = x < 0 || x2 < 0 ? -1 : slot[x];
            if (row >= 0) sum += d_logits[(long long)row * length + x2];
        }
    }
    out[(long long)blockIdx.x * length + column] = sum / norm[column];
}

// out[x'] = Σ_δ x[x' + δ] over the window, zero outside.
template <class T> __global__ void box_sums(const T* x, int low, int high, int h2, int w2, T* out) {
    for (long long i = first_index(); i < (long long)h2 * w2; i += index_step()) {
        const int y2 = int(i / w2), x2 = int(i % w2);
        T sum = 0;
        for (int dy = max(low, -y2); dy <= min(high, h2 - 1 - y2); dy++)
            for (int dx = max(low, -x2); dx <= min(high, w2 - 1 - x2); dx++) sum += x[(y2 + dy) * w2 + x2 + dx];
        out[i] = sum;
    }
}

// H W C -> h + 1, w + 1, rate·rate·C: the pixels around each corner of the grid of cells, zero outside.
template <class T> __global__ void to_blocks(const T* x, int height, int width, int channels, int rate, T* blocks) {
    const int h = height / rate, w = width / rate, size = rate * rate * channels;
    const long long n = (long long)(h + 1) * (w + 1) * size;
    for (long long i = first_index(); i < n; i += index_step()) {
        const int corner = int(i / size), within = int(i % size), in_y = within / channels / rate;
        const int y = corner / (w + 1) * rate + in_y - rate / 2;
        const int z = corner % (w + 1) * rate + within / channels % rate - rate / 2;
        const bool inside = y >= 0 && y < height && z >= 0 && z < width;
        blocks[i] = inside ? x[((long long)y * width + z) * channels + within % channels] : T(0);
    }
}

// The adjoint of to_blocks, times a factor.
template <class T> __global__ void from_blocks(const T* blocks, int height, int width, int channels, int rate, T factor, T* x) {
    const int w = width / rate;
    const long long n = (long long)height * width * channels;
    for (long long i = first_index(); i < n; i += index_step()) {
        const int y = int(i / channels / width) + rate / 2, z = int(i / channels % width) + rate / 2;
        const long long corner = (long long)(y / rate) * (w + 1) + z / rate;
        x[i] = factor * blocks[((corner * rate + y % rate) * rate + z % rate) * channels + i % channels];
    }
}
