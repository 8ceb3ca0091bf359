"""What checks an operation, a derivative or a backend, shipped so that a third party can check its own.

    gradcheck        derivatives of any order against finite differences
    check_adjoint    ⟨Ax, y⟩ = ⟨x, Aᵀy⟩
    CASES            one row per kernel of the contract: how to draw its inputs, and what it should give
    seconds_of       how long something takes

A backend of your own is checked by the modules beside this one, which need pytest and hypothesis:

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
