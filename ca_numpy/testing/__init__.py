"""Checks for operations, derivatives and backends, also for use by third parties.

    gradcheck        derivatives of any order against finite differences
    check_adjoint    ⟨Ax, y⟩ = ⟨x, Aᵀy⟩
    CASES            one row per kernel of the contract: how to draw its inputs, and the expected result
    seconds_of       timing

`strategies` has what Hypothesis draws, `oracles` the expected results in loops; docs/property_testing.md uses both on
layers and engines of others. To check a backend of your own (needs pytest and hypothesis):

    from ca_numpy.testing.backend_suite import BackendSuite

    class TestMine(BackendSuite):
        backend = "mine"
"""

from ca_numpy.testing.adjoint import check_adjoint
from ca_numpy.testing.cases import CASES, Case, all_ops
from ca_numpy.testing.finite_differences import gradcheck, gradient_of
from ca_numpy.testing.generators import LAYOUTS, Chooser, Problem, RandomChooser, relaid
from ca_numpy.testing.timing import seconds_of

__all__ = [
    "CASES",
    "LAYOUTS",
    "Case",
    "Chooser",
    "Problem",
    "RandomChooser",
    "all_ops",
    "check_adjoint",
    "gradcheck",
    "gradient_of",
    "relaid",
    "seconds_of",
]
