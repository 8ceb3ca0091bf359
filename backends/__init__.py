"""Backends that ship with ca_numpy. This folder is installed as the package `ca_numpy.backends`."""

if __name__ != "ca_numpy.backends":
    raise ImportError("this folder is installed as ca_numpy.backends: run `pip install -e .` and import that name")
