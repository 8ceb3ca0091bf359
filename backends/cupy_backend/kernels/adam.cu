// One Adam step of all parameters in one launch, since most are small; and in another, the norm of their gradients.
//
//     m' = β₁m + (1 − β₁)g;   v' = β₂v + (1 − β₂)g²;   p' = p − rate·m' / (√v' + ε)
#include "common.cuh"

// `pointers` holds p, g, m and v of each tensor. The results of tensor t begin at places[t] in three long arrays. Each
// block of the grid updates CHUNK numbers of one tensor: chunk[block] of tensor[block].
constexpr int CHUNK = 4 * THREADS;

template <class T> __global__ void __launch_bounds__(THREADS) adam(
    const unsigned long long* pointers, const long long* places, const long long* sizes, const int* tensor,
    const int* chunk, T rate, T beta1, T beta2, T eps, T* p_new, T* m_new, T* v_new) {
    const int t = tensor[blockIdx.x];
    const T* p = reinterpret_cast<const T*>(pointers[4 * t]);
    const T* g = reinterpret_cast<const T*>(pointers[4 * t + 1]);
    const T* m = reinterpret_cast<const T*>(pointers[4 * t + 2]);
    const T* v = reinterpret_cast<const T*>(pointers[4 * t + 3]);
    const long long end = min((chunk[blockIdx.x] + 1LL) * CHUNK, sizes[t]);
    for (long long i = (long long)chunk[blockIdx.x] * CHUNK + threadIdx.x; i < end; i += THREADS) {
        const T m_now = beta1 * m[i] + (1 - beta1) * g[i], v_now = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
        m_new[places[t] + i] = m_now;
        v_new[places[t] + i] = v_now;
        p_new[places[t] + i] = p[i] - rate * m_now / (sqrt(v_now) + eps);
    }
}

// result = √Σ x² over all numbers of all tensors, in float64. `pointers` holds each tensor's; the rest is as above. The
// block that finishes last adds up the parts of all, so their order does not matter: `finished` counts, from 0 to 0.
template <class T> __global__ void __launch_bounds__(THREADS) norm(
    const unsigned long long* pointers, const long long* sizes, const int* tensor, const int* chunk, double* parts,
    int* finished, double* result) {
    __shared__ double memory[THREADS / 32];
    __shared__ bool last;
    const int t = tensor[blockIdx.x];
    const T* x = reinterpret_cast<const T*>(pointers[t]);
    const long long end = min((chunk[blockIdx.x] + 1LL) * CHUNK, sizes[t]);
    double sum = 0;
    for (long long i = (long long)chunk[blockIdx.x] * CHUNK + threadIdx.x; i < end; i += THREADS) sum += double(x[i]) * x[i];
    sum = block_sum(sum, memory);
    if (threadIdx.x == 0) {
        parts[blockIdx.x] = sum;
        __threadfence();  // the part is there before it is counted
        last = atomicAdd(finished, 1) == int(gridDim.x) - 1;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    const volatile double* const all = parts;  // not from this multiprocessor's cache
    sum = 0;
    for (int i = threadIdx.x; i < int(gridDim.x); i += THREADS) sum += all[i];
    sum = block_sum(sum, memory);
    if (threadIdx.x == 0) *result = sqrt(sum), *finished = 0;
}
