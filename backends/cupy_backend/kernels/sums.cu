// Sums over the rows of a matrix, in a fixed order whatever the GPU: the bias's gradient, and the losses.
#include "common.cuh"

// parts[p, j] = Σ x[i, j] over part p of the rows. With one column (a loss), neighbours are summed by a block together.
template <class T> __global__ void __launch_bounds__(THREADS) sum_rows(
    const T* x, long long rows, int columns, long long rows_to_a_part, T* parts) {
    __shared__ T memory[THREADS / 32];
    const long long first = blockIdx.x * rows_to_a_part, last = min(first + rows_to_a_part, rows);
    if (columns == 1) {
        T sum = 0;
        for (long long i = first + threadIdx.x; i < last; i += THREADS) sum += x[i];
        sum = block_sum(sum, memory);
        if (threadIdx.x == 0) parts[blockIdx.x] = sum;
        return;
    }
    const int j = blockIdx.y * THREADS + threadIdx.x;
    if (j >= columns) return;
    T sum = 0;
    for (long long i = first; i < last; i++) sum += x[i * columns + j];
    parts[(long long)blockIdx.x * columns + j] = sum;
}
