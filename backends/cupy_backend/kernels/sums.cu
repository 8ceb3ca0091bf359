// Sums over the rows of a matrix, in an order that does not depend on the GPU: the gradients of biases, and losses.
#include "common.cuh"

constexpr int COLUMNS = 32;  // per block, at most

// parts[p, j] = Σ x[i, j] over part p of the rows. A block sums as many rows side by side as fit, and adds these sums
// at the end.
template <class T> __global__ void __launch_bounds__(THREADS) sum_rows(
    const T* x, long long rows, int columns, long long rows_to_a_part, T* parts) {
    __shared__ T memory[THREADS];
    const int width = min(columns, COLUMNS), side_by_side = THREADS / width;
    const int row = threadIdx.x / width, j = blockIdx.x * COLUMNS + threadIdx.x % width;
    const long long first = blockIdx.y * rows_to_a_part, last = min(first + rows_to_a_part, rows);
    T sum = 0;
    if (row < side_by_side && j < columns)
        for (long long i = first + row; i < last; i += side_by_side) sum += x[i * columns + j];
    memory[threadIdx.x] = sum;
    __syncthreads();
    if (row > 0 || j >= columns) return;
    for (int k = 1; k < side_by_side; k++) sum += memory[k * width + threadIdx.x];
    parts[(long long)blockIdx.y * columns + j] = sum;
}
