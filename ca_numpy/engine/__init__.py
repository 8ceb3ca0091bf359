"""Automatic differentiation: tensors that record how they were computed, gradients of any order, and the operations."""
