// Nearest-neighbour resizing, patches, crops and indexing along an axis, with their adjoints. An adjoint sums all
// contributions to one number in one thread.
#include "common.cuh"

// y[n, i, j, :] = x[n, rows[i], columns[j], :]
template <class T> __global__ void resize(
    const T* x, const int* rows, const int* columns, int images, int height, int width, int channels, int y_height,
    int y_width, T* y) {
    const long long n = (long long)images * y_height * y_width * channels;
    for (long long at = first_index(); at < n; at += index_step()) {
        const long long pixel = at / channels, line = pixel / y_width;
        const int i = rows[line % y_height], j = columns[pixel % y_width];
        y[at] = x[((line / y_height * height + i) * width + j) * channels + at % channels];
    }
}

// x[n, r, s, :] = Σ of g over rows first_row[r] … first_row[r + 1] − 1 and likewise columns.
template <class T> __global__ void resize_adjoint(
    const T* g, const int* first_row, const int* first_column, int images, int height, int width, int channels,
    int g_height, int g_width, T* x) {
    const long long n = (long long)images * height * width * channels;
    for (long long at = first_index(); at < n; at += index_step()) {
        const long long pixel = at / channels, line = pixel / width;
        const int r = int(line % height), s = int(pixel % width);
        T sum = 0;
        for (int i = first_row[r]; i < first_row[r + 1]; i++)
            for (int j = first_column[s]; j < first_column[s + 1]; j++)
                sum += g[((line / height * g_height + i) * g_width + j) * channels + at % channels];
        x[at] = sum;
    }
}

// y[n, i, j, u, v, c] = x[n, i·stride + u·dilation − top, j·stride + v·dilation − left, c], zero outside
template <class T> __global__ void unfold(
    const T* x, int images, int height, int width, int channels, int rows, int columns, int kh, int kw, int stride,
    int dilation, int top, int left, T* y) {
    const long long n = (long long)images * rows * columns * kh * kw * channels;
    for (long long at = first_index(); at < n; at += index_step()) {
        const long long tap = at / channels, pixel = tap / (kh * kw), line = pixel / columns;
        const int i = int(line % rows) * stride + int(tap / kw % kh) * dilation - top;
        const int j = int(pixel % columns) * stride + int(tap % kw) * dilation - left;
        const bool inside = i >= 0 && i < height && j >= 0 && j < width;
        y[at] = inside ? x[((line / rows * height + i) * width + j) * channels + at % channels] : T(0);
    }
}

// The adjoint: x[n, i, j, c] = Σ over the patches and taps that read it.
template <class T> __global__ void fold(
    const T* g, int images, int height, int width, int channels, int rows, int columns, int kh, int kw, int stride,
    int dilation, int top, int left, T* x) {
    const long long n = (long long)images * height * width * channels;
    for (long long at = first_index(); at < n; at += index_step()) {
        const long long pixel = at / channels, line = pixel / width;
        const int i = int(line % height) + top, j = int(pixel % width) + left;
        T sum = 0;
        for (int u = 0; u < kh; u++)
            for (int v = 0; v < kw; v++) {
                const int y = i - u * dilation, z = j - v * dilation;
                if (y < 0 || z < 0 || y % stride || z % stride || y / stride >= rows || z / stride >= columns) continue;
                const long long patch = (line / height * rows + y / stride) * columns + z / stride;
                sum += g[((patch * kh + u) * kw + v) * channels + at % channels];
            }
        x[at] = sum;
    }
}

// x[o, r, i] = Σ g[o, order[k], i] over k = first[r] … first[r + 1] − 1, where `order` sorts the positions by target.
template <class T> __global__ void scatter_add(
    const T* g, const int* order, const int* first, int outer, int length, int sources, int inner, T* x) {
    const long long n = (long long)outer * length * inner;
    for (long long at = first_index(); at < n; at += index_step()) {
        const long long o = at / inner / length;
        const int r = int(at / inner % length);
        T sum = 0;
        for (int k = first[r]; k < first[r + 1]; k++) sum += g[(o * sources + order[k]) * inner + at % inner];
        x[at] = sum;
    }
}

// y[t, k, c] = w[order[t], c, k]: the weights of conv2d_dx
template <class T> __global__ void turn_kernels(
    const T* w, const int* order, int taps, int channels, int kernels, T* y) {
    const long long n = (long long)taps * kernels * channels;
    for (long long at = first_index(); at < n; at += index_step()) {
        const long long row = at / channels;
        y[at] = w[(order[row / kernels] * channels + at % channels) * kernels + row % kernels];
    }
}

// y[n, i, j, :] = x[n, top + i, left + j, :] with (top, left) the corner of image n
template <class T> __global__ void crop(
    const T* x, const int* corners, int images, int height, int width, int channels, int rows, int columns, T* y) {
    const long long n = (long long)images * rows * columns * channels;
    for (long long at = first_index(); at < n; at += index_step()) {
        const long long pixel = at / channels, line = pixel / columns, image = line / rows;
        const long long i = corners[2 * image] + line % rows, j = corners[2 * image + 1] + pixel % columns;
        y[at] = x[((image * height + i) * width + j) * channels + at % channels];
    }
}

// The adjoint: g in zeros.
template <class T> __global__ void uncrop(
    const T* g, const int* corners, int images, int height, int width, int channels, int rows, int columns, T* x) {
    const long long n = (long long)images * height * width * channels;
    for (long long at = first_index(); at < n; at += index_step()) {
        const long long pixel = at / channels, line = pixel / width, image = line / height;
        const long long i = line % height - corners[2 * image], j = pixel % width - corners[2 * image + 1];
        const bool inside = i >= 0 && i < rows && j >= 0 && j < columns;
        x[at] = inside ? g[((image * rows + i) * columns + j) * channels + at % channels] : T(0);
    }
}
