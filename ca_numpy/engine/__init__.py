"""Automatic differentiation: a tensor that remembers how it was made, gradients of any order, and the operations."""
