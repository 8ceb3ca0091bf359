"""Every kernel of the NumPy backend against loops, and every derivative against finite differences: the `Case` table.

The tests are those that any backend is given; here they run on the textbook itself.
"""

from ca_numpy.testing.backend_suite import BackendSuite


class TestNumPy(BackendSuite):
    backend = "numpy"
    test_large_arrays_give_what_numpy_gives = None  # this one would compare NumPy with itself
