"""What a step knows of the plan, and the file of results: one JSON object a line, written as soon as it is known.

A line is one write at the end of the file, so whatever stops a step leaves all earlier lines readable.
Needs nothing but the standard library.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

#: The environment variable that holds a step's `Plan`.
VARIABLE = "GPU_PLAN"
#: Bytes of a file that comes back.
MOST_BYTES = 16 * 2**20
RESULTS, LOG, REPORT = "results.jsonl", "log.txt", "gpu.md"


@dataclass(frozen=True)
class Plan:
    """A step's circumstances.

    step     its name
    seconds  its time limit
    results  the file of results
    scratch  a folder for everything else, which the steps share
    options  of `gpu.py`: the backend and the sizes
    """

    step: str
    seconds: float
    results: Path
    scratch: Path
    options: dict[str, Any]

    def environment(self) -> dict[str, str]:
        return {VARIABLE: json.dumps(asdict(self), default=str)}

    def record(self, kind: str, title: str, value: Any) -> None:
        """Append one result."""
        append(self.results, {"step": self.step, "kind": kind, "title": title, "value": value})

    @property
    def backend(self) -> str:
        return str(self.options["backend"])

    @property
    def is_cuda(self) -> bool:
        return self.backend == "cupy"


def plan() -> Plan:
    """Of this process, as the runner has set it."""
    known = json.loads(os.environ[VARIABLE])
    return Plan(**known | {"results": Path(known["results"]), "scratch": Path(known["scratch"])})


def append(path: Path, record: dict[str, Any]) -> None:
    """Write a record on a line of its own, also after a line that was left unfinished; drop it if the file is full."""
    with open(path, "a+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        if end > 0:
            file.seek(-1, os.SEEK_END)
        begin = b"" if end == 0 or file.read(1) == b"\n" else b"\n"
        line = begin + json.dumps(record, default=str).encode() + b"\n"
        if end + len(line) < MOST_BYTES:
            file.write(line)
            os.fsync(file.fileno())


def read(path: Path) -> list[dict[str, Any]]:
    """All records; lines that a killed process left unfinished are skipped."""
    found = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "step" in record:
            found.append(record)
    return found


def statuses(records: list[dict[str, Any]]) -> dict[str, str]:
    """How each step ended last: "passed", or what happened to it."""
    found = {}
    for record in records:
        if record.get("kind") == "began":
            found[record["step"]] = "cut off"  # unless its end follows
        if record.get("kind") == "ended":
            found[record["step"]] = record["status"]
    return found
