"""What a fill needs in memory is counted whole before it starts."""

import tracemalloc

import numpy as np
import pytest

from ca_numpy import machine
from ca_numpy.errors import UserError
from ca_numpy.filling import blend, guided, inpaint, memory
from ca_numpy.registry import use_backend


def holes(size):
    lines, box = np.zeros((size, size), np.bool_), np.zeros((size, size), np.bool_)
    lines[8::24] = lines[9::24] = True
    box[size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = True
    return {"lines": lines, "box": box}


def peak(run):
    run()  # imports and caches
    tracemalloc.start()
    run()
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return taken


@pytest.mark.parametrize("kind", ["lines", "box"])
def test_the_count_is_above_what_is_taken_and_not_far(kind):
    size, hole = 256, holes(256)[kind]
    image = np.random.default_rng(0).uniform(-1, 1, (size, size, 3)).astype(np.float32)
    guess = np.zeros((64, 64, 3), np.float32)
    with use_backend("auto"):
        taken = peak(lambda: guided.complete(image, hole, guess))
    assert taken < memory.copying(hole) + memory.PICTURE * hole.size < 6 * taken
    taken = peak(lambda: blend(image, 0 * image, hole[..., None]))
    assert taken < memory.blending(hole) < 6 * taken


@pytest.mark.parametrize("options", [{}, {"method": "network"}, {"method": "patchmatch"}, {"method": "mean"}])
def test_a_fill_that_does_not_fit_is_refused_and_what_would_fit_is_named(monkeypatch, options):
    image, hole = np.zeros((200, 100, 3), np.uint8), np.zeros((200, 100), np.bool_)
    hole[40:80, 40:80] = True
    monkeypatch.setattr(machine, "memory", lambda: 200_000)
    with pytest.raises(UserError, match=r"100×200 pixels needs about .* GiB of memory.*at most \d+×\d+|at most"):
        inpaint(image, hole, **options)


def test_the_size_that_is_named_fits(monkeypatch):
    monkeypatch.setattr(machine, "memory", lambda: 10**6)
    hole = np.zeros((200, 100), np.bool_)
    with pytest.raises(UserError) as caught:
        memory.check(hole, {})
    width, height = (int(n) for n in str(caught.value).split("at most ")[1].split(",")[0].split("×"))
    memory.check(np.zeros((height, width), np.bool_), {})
    with pytest.raises(UserError):
        memory.check(np.zeros((height + 10, width + 10), np.bool_), {})


def test_limits_of_the_process_count_as_the_machines_memory():
    import resource

    limits = resource.getrlimit(resource.RLIMIT_AS)
    whole = machine.memory()
    assert whole is not None
    try:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 40, limits[1]))
        assert machine.memory() == min(whole, 1 << 40)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_the_surroundings_of_a_hole_are_as_wide_as_it_on_each_side() -> None:
    """By which `soonest` chooses between NumPy and compiling."""
    hole = np.zeros((600, 900), np.bool_)
    hole[200:328, 300:428] = True
    assert memory.pixels_around(hole) == (3 * 128) ** 2
    hole[0, 0] = True  # far away: all between is read
    assert memory.pixels_around(hole) == (328 + 128) * (428 + 128)
