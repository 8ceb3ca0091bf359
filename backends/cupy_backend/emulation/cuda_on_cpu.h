// The part of CUDA that ../kernels use, for a C++ compiler: kernels run on the CPU, one block after another.
//
// The threads of a block are fibers: each runs on its own stack until it reaches a barrier, then the next one is
// resumed. A barrier that not all threads reach is an error; on a GPU it would hang. Data races make results depend on
// the order of the fibers, so launches can run them forwards, backwards, or warp by warp in random order, each warp as
// far as it can. The tests do all three.
//
// Fibers are switched with setjmp and longjmp, which, unlike swapcontext, make no system call.
#pragma once
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <random>
#include <tuple>
#include <utility>
#include <vector>

#define __global__ static
#define __device__ inline
#define __host__
#define __forceinline__
#define __shared__ static
#define __constant__ static const
#define __launch_bounds__(...)
#define __builtin_assume(...)

using std::exp;
using std::fabs;
using std::fma;
using std::fmax;
using std::fmin;
using std::max;
using std::min;
using std::sqrt;
static inline float rsqrtf(float x) { return 1 / std::sqrt(x); }

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
static dim3 threadIdx, blockIdx, blockDim, gridDim;

struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };

namespace cpu {

constexpr size_t STACK = 128 << 10;
constexpr int WARP = 32;

struct Fiber {
    jmp_buf here;
    dim3 index;
    bool started = false, finished = true;
    ucontext_t beginning;
    std::unique_ptr<char[]> stack{new char[STACK]};
};

static std::vector<std::unique_ptr<Fiber>> fibers;
static size_t current;
static jmp_buf scheduler;
static ucontext_t launcher;
static const std::function<void()>* kernel;
static size_t moves;  // number of times that a fiber reached a barrier or its end

static inline void pause() {
    Fiber& me = *fibers[current];
    if (_setjmp(me.here) == 0) _longjmp(scheduler, 1);
}

static void live() {  // fibers outlive their block and wait here for the next one
    for (;;) {
        (*kernel)();
        fibers[current]->finished = true;
        ++moves;
        pause();
    }
}

static void resume(size_t i) {
    Fiber& fiber = *fibers[i];
    current = i;
    threadIdx = fiber.index;
    if (_setjmp(scheduler) != 0) return;
    if (fiber.started) _longjmp(fiber.here, 1);
    fiber.started = true;
    getcontext(&fiber.beginning);
    fiber.beginning.uc_stack.ss_sp = fiber.stack.get();
    fiber.beginning.uc_stack.ss_size = STACK;
    fiber.beginning.uc_link = &launcher;
    makecontext(&fiber.beginning, live, 0);
    setcontext(&fiber.beginning);
}

// A barrier of a whole block or of a warp.
struct Barrier {
    int expected = 0, arrived = 0, turn = 0;
    void wait() {
        const int mine = turn;
        ++moves;
        if (++arrived == expected) {
            arrived = 0;
            ++turn;
            return;
        }
        while (turn == mine) pause();
    }
};

struct Warp {
    Barrier barrier;
    alignas(16) unsigned char words[WARP][64];  // exchanged by its lanes
};

static Barrier block_barrier;
static std::vector<Warp> warps;

static inline Warp& warp() { return warps[current / WARP]; }
static inline int lane() { return int(current % WARP); }

// Publishes `mine` to all lanes of the warp until the next exchange.
template <class T> static inline void show(const T& mine) {
    static_assert(sizeof(T) <= 64, "lanes exchange at most 64 bytes");
    memcpy(warp().words[lane()], &mine, sizeof(T));
    warp().barrier.wait();
}
template <class T> static inline T shown_by(int other) {
    T value;
    memcpy(&value, warp().words[other], sizeof(T));
    return value;
}
static inline void seen() { warp().barrier.wait(); }

// Groups of fibers that take turns until none can proceed: the whole block forwards (order 0) or backwards (1), or for
// any other order, the seed, its warps and their lanes shuffled.
static std::vector<std::vector<size_t>> turns(size_t threads, unsigned order, std::mt19937& chance) {
    const size_t together = order > 1 ? WARP : threads;
    std::vector<std::vector<size_t>> groups((threads + together - 1) / together);
    for (size_t k = 0; k < threads; k++) groups[k / together].push_back(order == 1 ? threads - 1 - k : k);
    if (order > 1) {
        std::shuffle(groups.begin(), groups.end(), chance);
        for (auto& lanes : groups) std::shuffle(lanes.begin(), lanes.end(), chance);
    }
    return groups;
}

// Returns 0, or 1 if threads wait at a barrier that others never reach.
static int launch(dim3 grid, dim3 block, unsigned order, const std::function<void()>& body) {
    kernel = &body;
    gridDim = grid;
    blockDim = block;
    const size_t threads = size_t(block.x) * block.y * block.z;
    while (fibers.size() < threads) fibers.emplace_back(new Fiber);
    warps.assign((threads + WARP - 1) / WARP, Warp{});
    for (size_t i = 0; i < threads; i++) ++warps[i / WARP].barrier.expected;
    std::mt19937 chance(order);
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                blockIdx = dim3(x, y, z);
                block_barrier = Barrier{};
                block_barrier.expected = int(threads);
                for (size_t i = 0; i < threads; i++) {
                    fibers[i]->index = dim3(i % block.x, i / block.x % block.y, i / (size_t(block.x) * block.y));
                    fibers[i]->finished = false;
                }
                for (size_t left = threads; left > 0;) {
                    const size_t before = moves;
                    for (const auto& group : turns(threads, order, chance)) {
                        size_t seen;
                        do {
                            seen = moves;
                            for (size_t i : group) {
                                if (fibers[i]->finished) continue;
                                resume(i);
                                if (fibers[i]->finished) --left;
                            }
                        } while (moves != seen);
                    }
                    if (moves == before) {
                        fibers.clear();  // their stacks hold unfinished calls
                        return 1;
                    }
                }
            }
    return 0;
}

// Calls a kernel with an array of pointers to its arguments, as cuLaunchKernel does.
template <class... P, size_t... I>
static void call(void (*function)(P...), void** arguments, std::index_sequence<I...>) {
    function(*static_cast<std::remove_reference_t<P>*>(arguments[I])...);
}
template <class... P>
static int launch_with(void (*function)(P...), const unsigned* sizes, unsigned order, void** arguments) {
    return launch(dim3(sizes[0], sizes[1], sizes[2]), dim3(sizes[3], sizes[4], sizes[5]), order,
                  [&] { call(function, arguments, std::index_sequence_for<P...>{}); });
}

}  // namespace cpu

static inline void __syncthreads() { cpu::block_barrier.wait(); }
static inline void __threadfence() {}  // all see one memory
static inline void __syncwarp(unsigned = 0xffffffffu) { cpu::warp().barrier.wait(); }

template <class T> static inline T __shfl_xor_sync(unsigned, T value, int distance) {
    cpu::show(value);
    const T other = cpu::shown_by<T>(cpu::lane() ^ distance);
    cpu::seen();
    return other;
}
template <class T> static inline T __shfl_sync(unsigned, T value, int source) {
    cpu::show(value);
    const T other = cpu::shown_by<T>(source);
    cpu::seen();
    return other;
}

static inline int __any_sync(unsigned, int mine) {
    cpu::show(mine);
    int any = 0;
    for (int lane = 0; lane < cpu::warp().barrier.expected; lane++) any |= cpu::shown_by<int>(lane);
    cpu::seen();
    return any;
}

// Atomic, because only one fiber runs at a time.
template <class T> static inline T atomicAdd(T* place, T value) {
    const T before = *place;
    *place = before + value;
    return before;
}

static inline unsigned __float_as_uint(float x) {
    unsigned bits;
    memcpy(&bits, &x, 4);
    return bits;
}
static inline float __uint_as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
