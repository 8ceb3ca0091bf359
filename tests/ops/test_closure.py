"""Derivatives of every order exist: operations have rules, and rules are made of operations that have theirs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from ca_numpy import Tensor, tensor
from ca_numpy.backend import Backend
from ca_numpy.engine.autograd import Op
from ca_numpy.testing import CASES, Case, RandomChooser, all_ops

ARRAYS = {"asarray", "to_numpy"}  # they carry arrays to the backend and back, and compute nothing
DIFFERENTIABLE = [case for case in CASES.values() if case.order > 0]


def is_piecewise_constant(op: Op) -> bool:
    return not callable(op.rules) and bool(op.rules) and all(rule is None for rule in op.rules)


def has_all_rules(op: Op) -> bool:
    """For all inputs but those on which the result depends piecewise constantly, as the table says."""
    if callable(op.rules):
        return True
    constant = CASES[op.name].constant
    return bool(op.rules) and all(rule is not None for i, rule in enumerate(op.rules) if i not in constant)


@contextmanager
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The names of all operations that run inside the block."""
    names: set[str] = set()
    call = Op.__call__

    def spy(self: Op, *inputs: Any, **params: Any) -> Tensor:
        names.add(self.name)
        return call(self, *inputs, **params)

    with monkeypatch.context() as patch:
        patch.setattr(Op, "__call__", spy)
        yield names


def test_every_operation_has_a_row_in_the_table() -> None:
    assert set(all_ops()) - set(CASES) == set()


def test_every_kernel_of_the_contract_has_a_row_in_the_table() -> None:
    assert set(CASES) == set(Backend.__abstractmethods__) - ARRAYS


def test_every_operation_has_a_kernel_in_the_contract() -> None:
    assert set(all_ops()) <= Backend.__abstractmethods__


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)
def test_an_operation_has_a_rule_or_an_explicit_none_for_each_input(case: Case, rng: np.random.Generator) -> None:
    inputs = case.draw(RandomChooser(rng)).inputs
    if callable(case.op.rules):
        assert all(case.op.rule(i) is not None for i in range(len(inputs)))
    else:
        assert len(case.op.rules) == len(inputs)
        assert {i for i, rule in enumerate(case.op.rules) if rule is None} in (
            set(case.constant),
            set(range(len(inputs))),
        )


def test_the_piecewise_constant_operations_are_these() -> None:
    found = {name for name, op in all_ops().items() if is_piecewise_constant(op)}
    assert found == {"sign", "not_positive"}


@pytest.mark.parametrize("case", [case for case in DIFFERENTIABLE if case.order > 1], ids=str)
def test_a_rule_is_made_of_operations_that_have_rules(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    ops = all_ops()
    used: set[str] = set()
    for number in range(8):  # several draws: a rule may branch on shapes and parameters
        rng = np.random.default_rng(number)
        problem = case.draw(RandomChooser(rng))
        xs = [tensor(x) for x in problem.inputs]
        y = case.op(*xs, **problem.params)
        g: Any = tensor(rng.standard_normal(y.shape))
        with calls(monkeypatch) as names:
            if case.op.shared is not None:
                g = case.op.shared(g, y, *xs, **problem.params)
            for i in range(len(xs)):
                rule = case.op.rule(i)
                if rule is not None:
                    rule(g, y, *xs, **problem.params)
        used |= names
    assert used or is_piecewise_constant(case.op) or case.name == "add"  # the gradient of a sum is passed on as it is
    for name in used:
        assert has_all_rules(ops[name]) or is_piecewise_constant(ops[name]), f"{case} -> {name}, which lacks a rule"


def test_the_convolution_family_is_closed(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    family = {"conv2d", "conv2d_dx", "conv2d_dw"}
    for name in family:
        case = CASES[name]
        problem = case.draw(RandomChooser(rng))
        xs = [tensor(x) for x in problem.inputs]
        y = case.op(*xs, **problem.params)
        with calls(monkeypatch) as names:
            for i in range(2):
                rule = case.op.rule(i)
                assert rule is not None
                rule(tensor(np.ones(y.shape)), y, *xs, **problem.params)
        assert names == family - {name}
