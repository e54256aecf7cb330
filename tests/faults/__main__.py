"""`python -m tests.faults`: faults until so many were dealt, or one at every boundary. What is wrong ends it with status 1."""

import argparse
import itertools
import math
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

from tests.faults.rounds import Outcome
from tests.faults.scenarios import ACTS, commits, enact_in, listed
from tests.faults.storm import play

Job = tuple[Callable[..., Outcome], tuple[object, ...]]


def main() -> int:
    """Prints what is wrong as it is found, and a line of figures every ten rounds."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="how many random faults to deal (default: 200)")
    parser.add_argument("--seed", default="1", help="what is drawn from; the same seed draws the same plan and faults (default: 1)")
    parser.add_argument("--first", type=int, default=0, help="the round to begin with (default: 0)")
    parser.add_argument("--only", action="store_true", help="that round and no other")
    every = "instead: each act at each boundary, the first N times that it is met, and at every commit"
    parser.add_argument("--boundaries", type=int, metavar="N", help=every)
    parser.add_argument("--acts", default=",".join(ACTS), help=f"with --boundaries: which acts (default: {','.join(ACTS)})")
    parser.add_argument("--jobs", type=int, default=2, help="rounds at once (default: 2)")
    given = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="devsh-faults-")
    if given.boundaries:
        wrong = _run(_enumerated(directory, given.boundaries, given.acts.split(",")), given.jobs, lambda _dealt: True)
    else:
        numbers = [given.first] if given.only else itertools.count(given.first)
        rounds: Iterator[Job] = ((play, (directory, f"{given.seed}-{number}")) for number in numbers)
        wrong = _run(rounds, given.jobs, lambda dealt: dealt < given.kills)
    if wrong:
        print(f"kept: {directory}")  # noqa: T201
    else:
        shutil.rmtree(directory)
    return 1 if wrong else 0


def _enumerated(directory: str, most: int, acts: list[str]) -> Iterator[Job]:
    boundaries = dict.fromkeys((*listed(most=most), *commits()))
    for number, (boundary, act) in enumerate(itertools.product(boundaries, acts)):
        yield enact_in, (directory, f"{number}", boundary, act)


def _run(jobs: Iterator[Job], at_once: int, goes_on: Callable[[int], bool]) -> int:
    dealt: Counter[str] = Counter()
    rounds, wrong, last, began = 0, 0, 0, time.monotonic()
    recoveries: list[float] = []
    with ProcessPoolExecutor(at_once, max_tasks_per_child=50) as pool:
        running: set[Future[Outcome]] = set()
        while True:
            while len(running) < at_once and goes_on(dealt.total()) and (job := next(jobs, None)) is not None:
                running.add(pool.submit(job[0], *job[1]))
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for outcome in (future.result() for future in done):
                rounds += 1
                dealt.update({role: count for role, count in outcome.strikes.items() if role != "not met"})
                wrong += bool(outcome.wrong)
                recoveries += outcome.recoveries
                if "not met" in outcome.strikes:
                    print(f"not met: {outcome.name}", flush=True)  # noqa: T201
                if outcome.wrong:
                    print(outcome.name, outcome.directory, *outcome.wrong, sep="\n  ", flush=True)  # noqa: T201
                else:
                    shutil.rmtree(outcome.directory)
            if rounds >= last + 10:
                last = rounds
                print(f"{rounds} rounds, {dealt.total()} faults, {wrong} wrong, {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201
    told = ", ".join(f"{count} {role}" for role, count in dealt.most_common())
    print(f"{rounds} rounds, {dealt.total()} faults ({told}), {wrong} wrong, {time.monotonic() - began:.0f} s")  # noqa: T201
    print(_recovered(sorted(recoveries)))  # noqa: T201
    return wrong


def _recovered(seconds: list[float]) -> str:
    if not seconds:
        return "no runner alone was killed while a task could have started"
    median, late = statistics.median(seconds), seconds[math.ceil(0.99 * len(seconds)) - 1]
    return f"killed runner to the next agent, {len(seconds)} times: median {median:.2f} s, 99 of 100 within {late:.2f} s"


if __name__ == "__main__":
    sys.exit(main())
