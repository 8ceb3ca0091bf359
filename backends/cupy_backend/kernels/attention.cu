// Contextual attention in bands of rows: the steps between its matrix products, for which cuBLAS is used.
//
//     P = f bᵀ  ·  S = D_window(P) / ‖patch b‖  ·  Z = D_columns(D_rows(S))  ·  A = softmax(scale · valid · Z) · valid
//     Q[c, c'] = Σ_ε A[c − ε, c' − ε], ε ∈ {0, 1}²  ·  y_blocks = ¼ Q · b_blocks
//
// Arrays hold a batch of images. A block of threads works on one: blockIdx.z, or .y where the grid has two dimensions.
#include "common.cuh"

constexpr int ROWS = 16;   // that a block of diagonal_sums computes
constexpr int PART = 128;  // rows that a block of column_products adds up

// A sum along diagonals, in which positions of both pictures move together: of rows × columns numbers,
//
//     out[r, j] = scale · factor[j] · Σ_t source[from_rows[r, t], from_columns[t, j]]
//
// Terms with −1 for their row or column are left out. Where sums lead was looked up on the host, so no thread divides.
// A thread keeps its column's terms for ROWS rows. Successive rows read nearly the same numbers, which are then cached.
//
// With few terms, and at most 2³⁰ numbers per image in `source`, a place there is the sum of two integers, negative if
// either of them is NONE.
constexpr int NONE = -(1 << 30);

template <class T, int TERMS> __device__ void few_terms(
    const T* source, int source_columns, const int* from_rows, const int* from_columns, int rows, int columns,
    int column, T weight, T* out) {
    __shared__ const T* origin;  // else the compiler takes the address apart, and puts it together for each number
    __shared__ int begins[ROWS * TERMS];  // of the rows that the terms are taken from
    const int first = blockIdx.x * ROWS, last = min(rows - first, ROWS);
    for (int i = threadIdx.x; i < ROWS * TERMS; i += THREADS) {
        const int row = i < last * TERMS ? from_rows[(long long)first * TERMS + i] : -1;
        begins[i] = row < 0 ? NONE : row * source_columns;
    }
    if (threadIdx.x == 0) origin = source;
    __syncthreads();
    if (column >= columns) return;
    source = origin;
    __builtin_assume(__isGlobal(source));
    int at[TERMS];
#pragma unroll
    for (int t = 0; t < TERMS; t++) {
        at[t] = from_columns[(long long)t * columns + column];
        if (at[t] < 0) at[t] = NONE;
    }
    out += (long long)first * columns + column;
#pragma unroll 4
    for (int r = 0; r < ROWS; r++, out += columns) {
        T sum = 0;
#pragma unroll
        for (int t = 0; t < TERMS; t++) {
            const int place = begins[r * TERMS + t] + at[t];
            if (place >= 0) sum += source[place];
        }
        if (r < last) *out = weight * sum;
    }
}

template <class T> __global__ void __launch_bounds__(THREADS) diagonal_sums(
    const T* source, int source_rows, int source_columns, const int* from_rows, const int* from_columns, int terms,
    int rows, int columns, const T* factor, T scale, T* out) {
    const int column = blockIdx.y * THREADS + threadIdx.x;
    const long long image = blockIdx.z, numbers = (long long)source_rows * source_columns;
    const bool small = numbers <= 1LL << 30;
    source += image * numbers;
    out += image * rows * columns;
    const T weight = factor && column < columns ? factor[image * columns + column] * scale : scale;
    if (terms == 9 && small)
        return few_terms<T, 9>(source, source_columns, from_rows, from_columns, rows, columns, column, weight, out);
    if (terms == 4 && small)
        return few_terms<T, 4>(source, source_columns, from_rows, from_columns, rows, columns, column, weight, out);
    for (int r = blockIdx.x * ROWS; column < columns && r < min((int(blockIdx.x) + 1) * ROWS, rows); r++) {
        T sum = 0;
        for (int t = 0; t < terms; t++) {
            const int row = from_rows[(long long)r * terms + t], place = from_columns[(long long)t * columns + column];
            if ((row | place) >= 0) sum += source[(long long)row * source_columns + place];
        }
        out[(long long)r * columns + column] = weight * sum;
    }
}

// Logits to A, in place, a row for each block. Logits more than −least below the largest are treated as −∞.
template <class T> __global__ void __launch_bounds__(THREADS) softmax_rows(
    int length, const T* valid, T least, T* logits) {
    __shared__ T memory[THREADS / 32];
    T* row = logits + ((long long)blockIdx.y * gridDim.x + blockIdx.x) * length;
    valid += (long long)blockIdx.y * length;
    T largest = -1 / T(0), total = 0;
    for (int j = threadIdx.x; j < length; j += THREADS) {
        const T z = row[j];
        largest = z > largest || z != z ? z : largest;
    }
    largest = block_max(largest, memory);
    for (int j = threadIdx.x; j < length; j += THREADS) {
        const T below = row[j] - largest;
        row[j] = below < least ? T(0) : exp(below);
        total += row[j];
    }
    total = block_sum(total, memory);
    const T part = 1 / total;
    for (int j = threadIdx.x; j < length; j += THREADS) row[j] *= valid[j] * part;
}

// dA to dZ = scale · a · (valid · dA − Σ a · dA), in place.
template <class T> __global__ void __launch_bounds__(THREADS) softmax_vjp(
    const T* attention, int length, const T* valid, T scale, T* d) {
    __shared__ T memory[THREADS / 32];
    const long long first = ((long long)blockIdx.y * gridDim.x + blockIdx.x) * length;
    const T* a = attention + first;
    T* row = d + first;
    valid += (long long)blockIdx.y * length;
    T mean = 0;
    for (int j = threadIdx.x; j < length; j += THREADS) mean += row[j] * a[j];
    mean = block_sum(mean, memory);
    for (int j = threadIdx.x; j < length; j += THREADS) row[j] = scale * a[j] * (valid[j] * row[j] - mean);
}

// out[first_part + p, j] = Σ_r a[r, j] · b[r, j] over the rows r of part p; there are `parts` in all.
template <class T> __global__ void __launch_bounds__(THREADS) column_products(
    const T* a, const T* b, int rows, int columns, int first_part, int parts, T* out) {
    const int column = blockIdx.y * THREADS + threadIdx.x, first = blockIdx.x * PART, last = min(first + PART, rows);
    if (column >= columns) return;
    const long long image = (long long)blockIdx.z * rows * columns;
    T sum = 0;
    for (int r = first; r < last; r++) {
        const long long i = image + (long long)r * columns + column;
        sum += a[i] * b[i];
    }
    out[((long long)blockIdx.z * parts + first_part + blockIdx.x) * columns + column] = sum;
}

// 1 / max(‖patch of b‖, smallest): a warp for each patch, its lanes for the channels.
template <class T> __global__ void __launch_bounds__(THREADS) inverse_norms(
    const T* b, int h, int w, int channels, int low, int high, T smallest, T* out) {
    const int position = blockIdx.x * (THREADS / 32) + threadIdx.x / 32, y = position / w, x = position % w;
    if (position >= h * w) return;
    b += (long long)blockIdx.y * h * w * channels;
    T square = 0;
    for (int dy = max(low, -y); dy <= min(high, h - 1 - y); dy++)
        for (int dx = max(low, -x); dx <= min(high, w - 1 - x); dx++)
            for (int c = threadIdx.x % 32; c < channels; c += 32) {
                const T pixel = b[((long long)(y + dy) * w + x + dx) * channels + c];
                square += pixel * pixel;
            }
    const T norm = sqrt(warp_sum(square));
    if (threadIdx.x % 32 == 0) out[(long long)blockIdx.y * h * w + position] = 1 / (norm < smallest ? smallest : norm);
}

// Adds to db the gradient through the norms: that of norm x' is −dots[x'], and a norm of `smallest` is a constant.
template <class T> __global__ void __launch_bounds__(THREADS) inverse_norms_vjp(
    const T* b, const T* inverse, const T* dots, int h, int w, int channels, int low, int high, T smallest, T* db) {
    const int position = blockIdx.x, y = position / w, x = position % w;
    const long long image = (long long)blockIdx.y * h * w;
    T sum = 0;
    for (int dy = max(low, y - h + 1); dy <= min(high, y); dy++)
        for (int dx = max(low, x - w + 1); dx <= min(high, x); dx++) {
            const long long patch = image + (y - dy) * w + x - dx;
            if (inverse[patch] < 1 / smallest) sum += inverse[patch] * dots[patch];
        }
    for (int c = threadIdx.x; c < channels; c += THREADS) {
        const long long i = (image + position) * channels + c;
        db[i] -= b[i] * sum;
    }
}

// Place in H W C of number i of a block: the pixels around a corner of the grid of cells; −1 outside.
__device__ long long pixel_of(int corner, int i, int height, int width, int channels, int rate) {
    const int corners = width / rate + 1, pixel = i / channels;
    const int y = corner / corners * rate + pixel / rate - rate / 2;
    const int x = corner % corners * rate + pixel % rate - rate / 2;
    const bool inside = y >= 0 && y < height && x >= 0 && x < width;
    return inside ? ((long long)y * width + x) * channels + i % channels : -1;
}

// H W C -> corners, rate·rate·C, times a factor; zero outside, and in the rows that make the corners a multiple of 4.
template <class T> __global__ void __launch_bounds__(THREADS) to_blocks(
    const T* x, int height, int width, int channels, int rate, T factor, T* blocks) {
    const int size = rate * rate * channels;
    x += (long long)blockIdx.y * height * width * channels;
    blocks += ((long long)blockIdx.y * gridDim.x + blockIdx.x) * size;
    for (int i = threadIdx.x; i < size; i += THREADS) {
        const long long from = pixel_of(blockIdx.x, i, height, width, channels, rate);
        blocks[i] = from < 0 ? T(0) : factor * x[from];
    }
}

// The adjoint of to_blocks, of `rows` corners.
template <class T> __global__ void __launch_bounds__(THREADS) from_blocks(
    const T* blocks, int rows, int height, int width, int channels, int rate, T factor, T* x) {
    const int size = rate * rate * channels;
    x += (long long)blockIdx.y * height * width * channels;
    blocks += ((long long)blockIdx.y * rows + blockIdx.x) * size;
    for (int i = threadIdx.x; i < size; i += THREADS) {
        const long long to = pixel_of(blockIdx.x, i, height, width, channels, rate);
        if (to >= 0) x[to] = factor * blocks[i];
    }
}
