// Shared by all kernels. Compiled by NVRTC for GPUs, or by a C++ compiler with emulation/cuda_on_cpu.h.
#pragma once

constexpr int THREADS = 256;  // per block, in all kernels
constexpr unsigned ALL_LANES = 0xffffffffu;

__device__ int ceil_div(int a, int b) { return (a + b - 1) / b; }

// Start and step of a grid-stride loop.
__device__ long long first_index() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ long long index_step() { return (long long)gridDim.x * blockDim.x; }

// x where x > 0, else eˣ − 1, by expm1 to avoid cancellation near 0.
__device__ float elu_of(float x) { return x > 0 ? x : expm1f(x); }
__device__ double elu_of(double x) { return x > 0 ? x : expm1(x); }
template <class T> __device__ T leaky_relu_of(T x, T alpha) { return x > 0 ? x : alpha * x; }

// Sum and maximum over the lanes of a warp, in a fixed order; every lane gets the result.
template <class T> __device__ T warp_sum(T x) {
    for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(ALL_LANES, x, distance);
    return x;
}
template <class T> __device__ T warp_max(T x) {
    for (int distance = 16; distance > 0; distance /= 2) {
        const T other = __shfl_xor_sync(ALL_LANES, x, distance);
        x = other > x || other != other ? other : x;  // NaN propagates
    }
    return x;
}

// Over a block of THREADS. `memory` holds one number per warp and may be reused afterwards.
template <class T> __device__ T block_sum(T x, T* memory) {
    x = warp_sum(x);
    if (threadIdx.x % 32 == 0) memory[threadIdx.x / 32] = x;
    __syncthreads();
    T total = 0;
    for (int i = 0; i < THREADS / 32; i++) total += memory[i];
    __syncthreads();
    return total;
}
template <class T> __device__ T block_max(T x, T* memory) {
    x = warp_max(x);
    if (threadIdx.x % 32 == 0) memory[threadIdx.x / 32] = x;
    __syncthreads();
    T largest = memory[0];
    for (int i = 1; i < THREADS / 32; i++) {
        const T other = memory[i];
        largest = other > largest || other != other ? other : largest;
    }
    __syncthreads();
    return largest;
}
