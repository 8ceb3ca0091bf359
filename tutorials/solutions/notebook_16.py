"""Worked solutions of notebook 16, a CUDA kernel without a GPU."""


def numbers_of(block, thread, blocks, threads, n):
    """A block starts after the threads of the previous blocks; the whole grid advances together."""
    return list(range(block * threads + thread, n, blocks * threads))


def prefix_sums(t, n, mine, shared):
    """After the step of length s, shared[t] is the sum of the 2s numbers that end with t.

    Two barriers to a step: nobody overwrites what another has yet to read, nobody reads what is yet to be written.
    """
    shared[t] = mine
    yield
    step = 1
    while step < n:
        left = shared[t - step] if t >= step else 0
        yield
        mine += left
        shared[t] = mine
        yield
        step *= 2
    return mine


SOLUTIONS = {"16.numbers_of": numbers_of, "16.prefix_sums": prefix_sums}
