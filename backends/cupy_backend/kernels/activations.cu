// ELU and leaky ReLU, and their slopes from the output, in grid-stride loops.
#include "common.cuh"

template <class T> __global__ void elu(const T* x, T* y, long long n) {
    for (long long i = first_index(); i < n; i += index_step()) y[i] = elu_of(x[i]);
}

template <class T> __global__ void elu_slope(const T* y, T* slope, long long n) {
    for (long long i = first_index(); i < n; i += index_step()) slope[i] = y[i] > 0 ? T(1) : y[i] + 1;
}

template <class T> __global__ void leaky_relu(const T* x, T alpha, T* y, long long n) {
    for (long long i = first_index(); i < n; i += index_step()) y[i] = x[i] > 0 ? x[i] : alpha * x[i];
}

template <class T> __global__ void leaky_relu_slope(const T* y, T alpha, T* slope, long long n) {
    for (long long i = first_index(); i < n; i += index_step()) slope[i] = y[i] > 0 ? T(1) : alpha;
}
