"""Common wrong answers, and part of the message each one gets."""


def no_barrier(t, n, mine, shared):
    shared[t] = mine
    return sum(shared[i] for i in range(t + 1))


def reads_everything(t, n, mine, shared):
    shared[t] = mine
    yield
    return sum(shared[i] for i in range(t + 1))


def barrier_in_a_branch(t, n, mine, shared):
    shared[t] = mine
    yield
    step = 1
    while step < n:
        if t >= step:
            left = shared[t - step]
            yield
            mine += left
            shared[t] = mine
        yield
        step *= 2
    return mine


def one_barrier_to_a_step(t, n, mine, shared):
    shared[t] = mine
    yield
    step = 1
    while step < n:
        if t >= step:
            shared[t] = shared[t] + shared[t - step]
        yield
        step *= 2
    return shared[t]


def beyond_the_beginning(t, n, mine, shared):
    shared[t] = mine
    yield
    step = 1
    while step < n:
        left = shared[t - step]
        yield
        mine += left
        shared[t] = mine
        yield
        step *= 2
    return mine


def returns_nothing(t, n, mine, shared):
    shared[t] = mine
    yield


WRONG = {
    "16.numbers_of": [
        (lambda b, t, blocks, threads, n: [b * threads + t], "an incomplete last round"),
        (lambda b, t, blocks, threads, n: range(b * threads + t, n, threads), "The step is a block"),
        (lambda b, t, blocks, threads, n: range(b * blocks + t, n, blocks * threads), "block · threads"),
        (lambda b, t, blocks, threads, n: range(t, n, blocks * threads), "The block is missing"),
        (lambda b, t, blocks, threads, n: range(b * threads + t, n + 1, blocks * threads), "Wrong on"),
    ],
    "16.prefix_sums": [
        (no_barrier, "a barrier, which is a `yield`"),
        (reads_everything, "use doubling steps"),
        (barrier_in_a_branch, "wait at a barrier that others never reach"),
        (one_barrier_to_a_step, "between reading and writing"),
        (beyond_the_beginning, "accesses index -1 of 2"),
        (returns_nothing, "thread 0 returns nothing"),
    ],
}
