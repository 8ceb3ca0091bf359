// PatchMatch: distances, a round of search, and two ways to set a pixel. The equations are in ca_numpy/backend.py.
#include "common.cuh"

// Lanes that share a patch. A patch row is contiguous, 20 to 60 numbers, and eight lanes read 32 bytes of it at a time:
// one sector of the L2 cache or two, wherever the match is. One thread per patch would touch 32 sectors in every load,
// wait for the slowest of 32 searches, and leave most of a GPU idle on the coarse levels, which have few patches and
// most of the rounds. A whole warp per patch would be idle for half of each row, and need five steps for its sum, not
// three.
constexpr int LANES = 8;

template <class T> __device__ T sum_of_lanes(T x) {
    for (int distance = LANES / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(ALL_LANES, x, distance);
    return x;
}

// weight ‖guide[p] − guide[q]‖² + Σ_δ ‖z[p + δ] − z[q + δ]‖² for pixels p and q, in all of the patch's lanes; or a part
// of it that is not below `limit`. Rows are added until this is so for every patch of the warp.
template <class T> __device__ T distance_of(
    const T* z, const T* guide, T weight, int p, int q, int width, int channels, int guides, int radius, T limit) {
    const int lane = threadIdx.x % LANES, n = (2 * radius + 1) * channels;
    T sum = 0;
    for (int c = lane; c < guides; c += LANES) {
        const T e = guide[(long long)p * guides + c] - guide[(long long)q * guides + c];
        sum += e * e;
    }
    T total = weight * sum_of_lanes(sum);
    for (int dy = -radius; dy <= radius && __any_sync(ALL_LANES, total < limit); dy++) {
        const T* a = z + ((long long)p + dy * width - radius) * channels;
        const T* b = z + ((long long)q + dy * width - radius) * channels;
        sum = 0;
        for (int i = lane; i < n && total < limit; i += LANES) {
            const T e = a[i] - b[i];
            sum += e * e;
        }
        total += sum_of_lanes(sum);
    }
    return total;
}

// The patch that this thread's lanes share. Those beyond the last repeat it, because whole warps exchange sums.
__device__ int patch_of_lanes() { return int(first_index() / LANES); }

template <class T> __global__ void __launch_bounds__(THREADS) patch_distance(
    const T* z, const T* guide, const T* weight, const int* places, const int* field, int n, int width, int channels,
    int guides, int radius, T* out) {
    const int i = min(patch_of_lanes(), n - 1);
    const int p = places[2 * i] * width + places[2 * i + 1], q = field[2 * i] * width + field[2 * i + 1];
    const T d = distance_of(z, guide, weight[i], p, q, width, channels, guides, radius, 1 / T(0));
    if (threadIdx.x % LANES == 0 && patch_of_lanes() < n) out[i] = d;
}

// First the neighbours' matches from before the round, moved along, then offsets around the best match so far.
template <class T> __global__ void __launch_bounds__(THREADS) improve_field(
    const T* z, const T* guide, const T* weight, const bool* source, const int* places, const int* number,
    const int* field, const T* distance, const int* offsets, int n, int tries, int height, int width, int channels,
    int guides, int radius, int jump, int* found, T* least) {
    const int i = min(patch_of_lanes(), n - 1), y = places[2 * i], x = places[2 * i + 1];
    int v = field[2 * i], u = field[2 * i + 1];
    T best = distance[i];
    for (int k = 0; k < 4 + tries; k++) {
        int a = -1, b = -1;  // the candidate
        if (k < 4) {
            const int down = k == 0 ? jump : k == 1 ? -jump : 0, right = k == 2 ? jump : k == 3 ? -jump : 0;
            const bool inside = y + down >= 0 && y + down < height && x + right >= 0 && x + right < width;
            const int j = inside ? number[(y + down) * width + x + right] : -1;
            if (j >= 0) a = field[2 * j] - down, b = field[2 * j + 1] - right;
        } else {
            const int* offset = offsets + 2 * ((long long)(k - 4) * n + i);
            a = v + offset[0], b = u + offset[1];
        }
        const bool inside = a >= 0 && a < height && b >= 0 && b < width;
        const bool possible = inside && source[a * width + b] && (a != v || b != u);
        const int p = y * width + x, q = possible ? a * width + b : p;
        const T d = distance_of(z, guide, weight[i], p, q, width, channels, guides, radius, possible ? best : T(0));
        if (possible && d < best) v = a, u = b, best = d;
    }
    if (threadIdx.x % LANES == 0 && patch_of_lanes() < n) found[2 * i] = v, found[2 * i + 1] = u, least[i] = best;
}

// Σ_p weight[p] z[field[p] + x − p] / Σ_p weight[p]. A thread to each channel: those of a pixel read the same patches
// and neighbouring numbers.
template <class T> __global__ void patch_vote(
    const T* z, const int* pixels, const int* number, const int* field, const T* weight, int m, int height, int width,
    int channels, int radius, T* out) {
    for (long long at = first_index(); at < (long long)m * channels; at += index_step()) {
        const int y = pixels[2 * (at / channels)], x = pixels[2 * (at / channels) + 1];
        T total = 0, weights = 0;
        for (int py = max(0, y - radius); py <= min(height - 1, y + radius); py++)
            for (int px = max(0, x - radius); px <= min(width - 1, x + radius); px++) {
                const int j = number[py * width + px];
                if (j < 0) continue;
                const long long pixel = (field[2 * j] + y - py) * width + field[2 * j + 1] + x - px;
                weights += weight[j];
                total += weight[j] * z[pixel * channels + at % channels];
            }
        out[at] = total / weights;
    }
}

// field[p] + x − p for the patch p of largest weight, the first of equal ones.
template <class T> __global__ void patch_source(
    const int* pixels, const int* number, const int* field, const T* weight, int m, int height, int width, int radius,
    int* out) {
    for (long long i = first_index(); i < m; i += index_step()) {
        const int y = pixels[2 * i], x = pixels[2 * i + 1];
        int v = 0, u = 0;
        T heaviest = -1;
        for (int py = max(0, y - radius); py <= min(height - 1, y + radius); py++)
            for (int px = max(0, x - radius); px <= min(width - 1, x + radius); px++) {
                const int j = number[py * width + px];
                if (j >= 0 && weight[j] > heaviest)
                    heaviest = weight[j], v = field[2 * j] + y - py, u = field[2 * j + 1] + x - px;
            }
        out[2 * i] = v, out[2 * i + 1] = u;
    }
}
