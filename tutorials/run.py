"""Run notebooks and write their .ipynb, outputs included, from their .py.

python tutorials/run.py            all of them
python tutorials/run.py 03 04      some
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

FOLDER = Path(__file__).parent
WIDGET = "application/vnd.jupyter.widget-view+json"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def notebooks() -> list[Path]:
    """The .py of every notebook, in order."""
    return sorted(FOLDER.glob("[0-9][0-9]_*.py"))


def as_notebook(path: Path) -> NotebookNode:
    """The notebook that a .py in the percent format describes, without outputs; the same bytes every time."""
    notebook = jupytext.read(path)
    notebook.metadata = NotebookNode(kernelspec=KERNEL, language_info={"name": "python"})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i:02d}"
    return notebook


def execute(notebook: NotebookNode, *, variables: Mapping[str, str] | None = None, timeout: int = 180) -> NotebookNode:
    """Run all cells in a fresh kernel, from top to bottom; `variables` are added to its environment.

    Raises nbclient's CellExecutionError where a cell does.
    """
    with TemporaryDirectory() as sockets:
        # No port is opened where files will do.
        where = {"transport": "ipc", "ip": f"{sockets}/kernel"} if os.name == "posix" else {}
        client = NotebookClient(
            notebook,
            config=Config(KernelManager=where),
            kernel_name=KERNEL["name"],
            timeout=timeout,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(FOLDER)}},
        )
        client.execute(env={**os.environ, **(variables or {})})
    notebook.metadata = NotebookNode(kernelspec=KERNEL, language_info={"name": "python"})
    for cell in notebook.cells:  # a widget is nothing without its kernel: the figure beside it stays
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", ())]
    return notebook


def main() -> None:
    parser = argparse.ArgumentParser(description="Run notebooks and write their .ipynb from their .py.")
    parser.add_argument("numbers", nargs="*", help="which, as 03 04; all if none is given")
    numbers = parser.parse_args().numbers
    for path in notebooks():
        if not numbers or path.name[:2] in numbers:
            start = time.perf_counter()
            notebook = execute(as_notebook(path))
            nbformat.write(notebook, path.with_suffix(".ipynb"))
            print(f"{path.with_suffix('.ipynb').name}: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
