// ELU, leaky ReLU and clipping, and a gradient times their slopes, in grid-stride loops.
#include "common.cuh"

template <class T> __global__ void elu(const T* x, T* y, long long n) {
    for (long long i = first_index(); i < n; i += index_step()) y[i] = elu_of(x[i]);
}

template <class T> __global__ void elu_vjp(const T* g, const T* y, T* gx, long long n) {
    for (long long i = first_index(); i < n; i += index_step()) gx[i] = y[i] > 0 ? g[i] : g[i] * (y[i] + 1);
}

template <class T> __global__ void leaky_relu(const T* x, T alpha, T* y, long long n) {
    for (long long i = first_index(); i < n; i += index_step()) y[i] = leaky_relu_of(x[i], alpha);
}

template <class T> __global__ void leaky_relu_vjp(const T* g, const T* y, T alpha, T* gx, long long n) {
    for (long long i = first_index(); i < n; i += index_step()) gx[i] = y[i] > 0 ? g[i] : alpha * g[i];
}

// NaN stays, and passes no gradient.
template <class T> __global__ void clip(const T* x, T low, T high, T* y, long long n) {
    for (long long i = first_index(); i < n; i += index_step()) y[i] = x[i] < low ? low : x[i] > high ? high : x[i];
}

template <class T> __global__ void clip_vjp(const T* g, const T* x, T low, T high, T* gx, long long n) {
    for (long long i = first_index(); i < n; i += index_step()) gx[i] = x[i] >= low && x[i] <= high ? g[i] : T(0);
}
