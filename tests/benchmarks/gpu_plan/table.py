"""The steps: name, time limit in seconds, command, and what they bring back besides records."""

from __future__ import annotations

from typing import NamedTuple


class Step(NamedTuple):
    """One process.

    seconds  its time limit; 0 is all the time that is left
    command  "python" stands for this interpreter
    purpose  one line for the report
    brings   files that it leaves in the scratch folder, at most 16 MiB each
    always   also run in a second stage, since the others need it
    """

    name: str
    seconds: float
    command: str
    purpose: str
    brings: tuple[str, ...] = ()
    always: bool = False


_NCU = (
    "ncu --clock-control none --kernel-name regex:^(convolve|correlate|diagonal_sums)$ --launch-count 12 --set basic "
    "--section ComputeWorkloadAnalysis --section MemoryWorkloadAnalysis --section WarpStateStats "
    "--log-file counters.txt python -m gpu_plan.tiny kernels"
)
_TRAINED = ("generator.safetensors", "filled.png")
_SANITIZER = "compute-sanitizer --error-exitcode 9 --report-api-errors no --print-limit 20 --tool"

#: The first stage: at most 400 seconds.
FIRST = (
    Step("install", 15, "python -m gpu_plan.install", "carried wheels; this package, from its sources", always=True),
    Step("machine", 20, "python -m gpu_plan.ceilings", "versions, tools; matrix products and copies at their fastest"),
    Step("compile", 25, "python -m gpu_plan.compiling", "all kernels, in parallel, into the cache"),
    Step("suite", 40, "python -m gpu_plan.suite", "every case of the backend suite, in both dtypes"),
    Step("numbers", 25, "python -m gpu_plan.training numbers", "a tiny training, against NumPy"),
    Step("passes", 45, "python -m gpu_plan.passes forward attention", "forward and attention, beside PyTorch"),
    Step("iteration", 60, "python -m gpu_plan.passes iteration", "Algorithm 1, beside PyTorch"),
    Step("training", 60, "python -m gpu_plan.training stretch", "train, resume and inpaint at the paper's settings",
         _TRAINED),
    Step("layers", 40, "python -m gpu_plan.layers kernels", "each convolution kernel, beside cuDNN's"),
    Step("counters", 30, _NCU, "Nsight Compute's counters of the largest kernels", ("counters.txt",)),
    Step("memcheck", 25, f"{_SANITIZER} memcheck python -m gpu_plan.tiny passes", "accesses out of bounds"),
    Step("racecheck", 15, f"{_SANITIZER} racecheck python -m gpu_plan.tiny kernels", "races in shared memory"),
)  # fmt: skip

#: The second stage, after the steps that failed.
LATER = (
    Step("large", 60, "python -m gpu_plan.passes large", "the largest forward pass: time and memory"),
    Step("errors", 60, "python -m gpu_plan.layers errors", "every layer and its gradients, against NumPy's float64"),
    Step("tests", 150, "python -m gpu_plan.gpu_tests", "pytest -m gpu"),
    Step("timeline", 30, "nsys profile --trace=cuda --stats=true --force-overwrite=true --output=timeline "
         "python -m gpu_plan.tiny passes", "Nsight Systems' sums by kernel and call, in the log"),
    Step("longer-training", 0, "python -m gpu_plan.training longer", "goes on training, in the time that is left",
         _TRAINED),
)  # fmt: skip
