"""Runs mutants in processes with a limit of memory and time, and tells those that end badly.

    python tests/hostile/hunt.py                    20,000 mutants, in as many processes as there are cores
    python tests/hostile/hunt.py 500 png            500 mutants of the kinds whose names hold "png"
    python tests/hostile/hunt.py 500 . 10000        500 others, of seeds from 10000 on
    python tests/hostile/hunt.py --repeat rgb.png 7    one mutant again, in this process, with its traceback

A mutant ends well as a result that is sound (the readers in `mutants.py` check it) or a UserError of one line. It ends
badly as any other exception or warning, a word on stderr, a crash, more than TIME seconds or MEMORY bytes, or an
attempt to run a program, to import by a pickle, to connect, or to write outside its folder.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).parent
#: Limits of a mutant, in seconds of the processor and bytes; and how long to wait for one that does nothing.
TIME, MEMORY = 10, 2 << 30
WAIT = 300.0


# ---- The process that reads ----------------------------------------------------------------------------------
def work(folder: Path) -> None:
    """Reads lines `kind seed`, and answers each with a line: `result`, `refused`, or what was wrong."""
    import resource
    import traceback
    import warnings

    import numpy as np
    from hostile import mutants

    from ca_numpy.errors import UserError

    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    said = (folder / "stderr").open("w+b")
    os.dup2(said.fileno(), 1)
    os.dup2(said.fileno(), 2)
    warnings.simplefilter("error")
    sound: dict[str, bytes] = {}
    forbidden: list[str] = []
    _watch(folder, forbidden)
    for line in sys.stdin:
        kind, seed = line.split()
        if kind not in sound:
            place = folder / kind.replace(".", "-")
            place.mkdir(exist_ok=True)
            mutants.KINDS[kind].write(place / kind)
            sound[kind] = (place / kind).read_bytes()
            with contextlib.suppress(UserError):  # a mask may be read as another kind
                mutants.KINDS[kind].read(place / kind, np.random.default_rng(0))  # imports what it needs
        path = folder / kind.replace(".", "-") / kind
        data, rng = mutants.mutant(kind, int(seed), sound[kind])
        path.write_bytes(data)
        forbidden.clear()
        before = os.fstat(2).st_size
        status = Path("/proc/self/statm")
        used = int(status.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") if status.exists() else 0
        if used:
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, -1))
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + TIME + 1, -1))  # then the system ends it
        try:
            mutants.KINDS[kind].read(path, rng)
            answer = "result"
        except UserError as error:
            message = str(error)
            wrong = not message.isprintable() or len(message) > 6000 or "MemoryError" in message
            answer = f"badly told: {message!r:.500}" if wrong else "refused"
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-3:]
            where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(last))
            answer = f"{type(error).__name__}: {error!s:.200} at {where}"
        resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
        resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))
        if forbidden:
            answer = f"tried {forbidden[0]}"
        elif os.fstat(2).st_size != before:
            answer = f"wrote {os.pread(2, 200, before)!r}"
        answers.write(ascii(answer)[1:-1] + "\n")
        answers.flush()


def _watch(folder: Path, forbidden: list[str]) -> None:
    programs = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pickle.find_class", "socket.connect")

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in programs:
            forbidden.append(event)
        elif (
            (event == "open" and isinstance(args[0], str) and isinstance(args[2], int))
            and args[2] & (os.O_WRONLY | os.O_RDWR)
            and not args[0].startswith((str(folder), "/dev/null"))
        ):
            forbidden.append(f"to write {args[0]}")

    sys.addaudithook(hook)


# ---- The one that watches ------------------------------------------------------------------------------------
class Reader:
    """A process that reads mutants, started again after it was lost."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.process: subprocess.Popen[str] | None = None

    def ask(self, kind: str, seed: int) -> str:
        """What became of the mutant."""
        if self.process is None:
            path = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
            environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "hunt.py"), "--work", str(self.folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            )  # fmt: skip
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        thread = threading.Thread(target=_line, args=(process.stdout, lines), daemon=True)
        thread.start()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{kind} {seed}\n")
            process.stdin.flush()
        try:
            answer = lines.get(timeout=WAIT).rstrip("\n")
        except queue.Empty:
            answer = "waited for ever"
        if not answer:
            code = process.wait()
            last = (self.folder / "stderr").read_bytes()[-1500:] if (self.folder / "stderr").exists() else b""
            answer = f"took more than {TIME} s" if code == -signal.SIGXCPU else f"ended the process ({code}): {last!r}"
        if process.poll() is not None or answer.startswith("waited"):
            self.close()
        return answer

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(OSError):
                    if pipe is not None:
                        pipe.close()
            self.process = None
            shutil.rmtree(self.folder)
            self.folder.mkdir()


def _line(stream: IO[str], lines: queue.SimpleQueue[str]) -> None:
    with contextlib.suppress(ValueError, OSError):
        lines.put(stream.readline())


def hunt(
    count: int, *, workers: int, kinds: dict[str, float], first: int = 0
) -> tuple[Counter[str], dict[tuple[str, int], str]]:
    """`count` mutants of these kinds by their shares -> the numbers of `result`, `refused` and `bad`; and the bad."""
    total, due, jobs = sum(kinds.values()), dict.fromkeys(kinds, 0.0), queue.SimpleQueue[tuple[str, int]]()
    numbers = dict.fromkeys(kinds, first)
    for _ in range(count):
        for kind, share in kinds.items():
            due[kind] += share / total
        kind = max(due, key=lambda k: due[k])
        due[kind] -= 1
        jobs.put((kind, numbers[kind]))
        numbers[kind] += 1
    counts: Counter[str] = Counter()
    bad: dict[tuple[str, int], str] = {}
    lock = threading.Lock()

    def run(folder: Path) -> None:
        reader = Reader(folder)
        try:
            while True:
                kind, seed = jobs.get_nowait()
                answer = reader.ask(kind, seed)
                with lock:
                    good = answer in ("result", "refused")
                    counts[answer if good else "bad"] += 1
                    if not good:
                        bad[kind, seed] = answer
                        print(f"{kind} {seed}: {answer}", flush=True)
                    if counts.total() % 1000 == 0:
                        print(dict(counts), flush=True)
        except queue.Empty:
            pass
        finally:
            reader.close()

    with tempfile.TemporaryDirectory() as place:
        threads = [threading.Thread(target=run, args=(Path(place) / str(n),)) for n in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return counts, bad


def main(args: list[str]) -> int:
    if args[:1] == ["--work"]:
        work(Path(args[1]))
        return 0
    sys.path.insert(0, str(HERE.parent))
    from hostile import mutants

    from ca_numpy.machine import cores

    if args[:1] == ["--repeat"]:
        kind, seed = args[1], int(args[2])
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / kind
            mutants.KINDS[kind].write(path)
            data, rng = mutants.mutant(kind, seed, path.read_bytes())
            path.write_bytes(data)
            mutants.KINDS[kind].read(path, rng)
        return 0
    count = int(args[0]) if args else 20_000
    kinds = {name: kind.share for name, kind in mutants.KINDS.items() if all(word in name for word in args[1:2])}
    counts, bad = hunt(count, workers=cores(), kinds=kinds, first=int(args[2]) if len(args) > 2 else 0)
    print(dict(counts))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
