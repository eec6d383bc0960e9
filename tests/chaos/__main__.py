"""Disturb every stage, run it again, and compare its output with that of an undisturbed run: ``make chaos``.

python -m tests.chaos --schedules 500
python -m tests.chaos --only "train fault eio 12"
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tests.chaos.schedules import Schedule, draw_schedules
from tests.chaos.trial import Trial, Verdict
from tests.chaos.workshop import STAGES, Workshop

JOBS = min(2, os.cpu_count() or 1)


def run_schedules(
    root: Path, *, stages: tuple[str, ...], number: int, seed: int, only: list[str], seconds: float, jobs: int = JOBS
) -> Iterator[Verdict]:
    """Prepare a cohort below ``root`` and yield the verdict of each schedule; stop after ``seconds``."""
    started = time.monotonic()
    chosen = [Schedule.parse(line) for line in only]
    workshop = Workshop(root)
    workshop.prepare(tuple({schedule.stage for schedule in chosen}) or stages)
    if not chosen:
        outputs = {name: workshop.output(name) for name in stages}
        chosen = draw_schedules([workshop.stages[name] for name in stages], outputs, number, seed)
    trials = [Trial(schedule, workshop, root / "trials" / str(place)) for place, schedule in enumerate(chosen)]
    run = partial(_run_until, started + seconds)
    print(f"{len(trials)} schedules", flush=True)
    with get_context("fork").Pool(jobs) as pool:  # forked now, while this process has no other thread
        yield from filter(None, pool.imap_unordered(run, trials))


def _run_until(deadline: float, trial: Trial) -> Verdict | None:
    return trial.run() if time.monotonic() < deadline else None


def show_table(verdicts: list[Verdict]) -> None:
    """Print the number of schedules by stage and kind: tried, equal, unequal, uncaught."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for verdict in verdicts:
        count = counts.setdefault((verdict.schedule.stage, verdict.schedule.kind), Counter())
        count.update(tried=1, equal=not verdict.unequal, unequal=bool(verdict.unequal), uncaught=bool(verdict.uncaught))
    columns = ("tried", "equal", "unequal", "uncaught")
    print(f"{'stage':18}{'kind':10}" + "".join(f"{name:>10}" for name in columns))
    for (stage, kind), count in sorted(counts.items(), key=lambda item: (STAGES.index(item[0][0]), item[0][1])):
        print(f"{stage:18}{kind:10}" + "".join(f"{count[name]:10}" for name in columns))
    total: Counter[str] = sum(counts.values(), Counter())
    print(f"{'all':28}" + "".join(f"{total[name]:10}" for name in columns))


def show_bad(verdict: Verdict) -> None:
    """Print a bad schedule, what it showed, and the command that repeats it."""
    print(f'\npython -m tests.chaos --only "{verdict.schedule}"')
    for line in [*verdict.uncaught, *verdict.unequal[:8]]:
        print(f"  {line[:300]}")
    sys.stdout.flush()


def main() -> None:
    """Run the schedules; exit with code 1 if one is bad."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, default=500, help="number of schedules over all stages")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--seed", type=int, default=0, help="other seeds draw other schedules")
    parser.add_argument("--stage", choices=STAGES, action="append", help="only this stage; can be repeated")
    parser.add_argument("--only", metavar="SCHEDULE", action="append", default=[], help="repeat this schedule")
    parser.add_argument("--jobs", type=int, default=JOBS, help="schedules at a time")
    options = parser.parse_args()
    verdicts = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="five-chaos-") as root:
        for verdict in run_schedules(
            Path(root),
            stages=tuple(options.stage or STAGES),
            number=options.schedules,
            seed=options.seed,
            only=options.only,
            seconds=options.seconds,
            jobs=options.jobs,
        ):
            verdicts.append(verdict)
            if verdict.uncaught or verdict.unequal:
                show_bad(verdict)
    print()
    show_table(verdicts)
    print(f"{time.monotonic() - started:.0f} s, {len(verdicts)} schedules tried")
    sys.exit(any(verdict.uncaught or verdict.unequal for verdict in verdicts))


if __name__ == "__main__":
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"
    main()
