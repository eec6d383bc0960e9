"""Carry out a schedule, run the command again in peace, and compare its output with that of an undisturbed run."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.commands import Command, Ended, five, five_process, returned
from tests.chaos.damage import DAMAGES, damage, files
from tests.chaos.faults import FAULT_KINDS, Fault
from tests.chaos.schedules import Schedule
from tests.chaos.values import differences, values
from tests.chaos.workshop import Stage, Workshop


@dataclass(frozen=True)
class Verdict:
    """What a schedule showed."""

    schedule: Schedule
    uncaught: list[str]
    """Commands that ended without a message for the user."""
    unequal: list[str]
    """Differences from the undisturbed output, also where a command claims success."""


@dataclass
class Trial:
    """One schedule in a folder of its own."""

    schedule: Schedule
    workshop: Workshop
    folder: Path
    uncaught: list[str] = field(default_factory=list)
    unequal: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    """Files of the output that were damaged or deleted."""

    def run(self) -> Verdict:
        """Carry out the schedule."""
        self.folder.mkdir(parents=True)
        try:
            getattr(self, f"_{self.schedule.kind}")(*self.schedule.arguments)
            if self.schedule.kind != "other":
                self._resume()
        finally:
            shutil.rmtree(self.folder)
        return Verdict(self.schedule, self.uncaught, self.unequal)

    @property
    def stage(self) -> Stage:
        return self.workshop.stages[self.schedule.stage]

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def _fault(self, kind: str, at: str) -> None:
        fault = Fault(kind, int(at))  # type: ignore[arg-type]
        self._check_success(five(self.stage.command(self.out), self.out, fault).wait())

    def _space(self, kind: str, limit: str) -> None:
        self._fault(kind, limit)

    def _kill(self, *times: str) -> None:
        for after in times:
            self._ended(five(self.stage.command(self.out), self.out).wait(float(after)))

    def _workers(self, after: str) -> None:
        self._ended(five_process(self.stage.command(self.out, *self.stage.workers)).wait(float(after)))

    def _pair(self, delay: str) -> None:
        ends = self._two(self.stage.command(self.out), self.stage.command(self.out), delay)
        self._check_success(*ends)

    def _shards(self, delay: str, killed: str) -> None:
        one, two = (self.stage.command(self.out, "--shard", f"{index}/2") for index in (1, 2))
        self._two(one, two, delay, None if killed == "end" else float(killed))

    def _other(self, delay: str) -> None:
        """Start two runs with different settings: the folder must be that of one of them, and nothing else."""
        ours, other = self.stage.command(self.out), self.stage.command(self.out, *self.stage.other)
        self._two(ours, other, delay)
        if self._ended(five(ours, self.out).wait()).code == 0:
            self._compare("after running again", self.stage.expected)
        elif self._ended(five(other, self.out).wait()).code == 0:
            self._compare("after running the other again", self.stage.expected_other)
        else:
            self.unequal.append("neither run can be repeated")

    def _damage(self, how: str, name: str, seed: str) -> None:
        shutil.copytree(self.workshop.output(self.stage.name), self.out)
        self._damage_output(how, name, int(seed))

    def _input(self, how: str, place: str, name: str, seed: str) -> None:
        """Run on a copy of an input that is damaged. The run is repeated with the input as it should be."""
        given = self.stage.inputs[int(place)]
        copy = self.folder / "input" / given.name  # pages show the name
        shutil.copytree(given, copy)
        damage(copy / name, how, int(seed))
        ended = five(self.stage.command(self.out, inputs={given: copy}), self.out).wait()
        if "without features" in ended.output:  # the summary says that slides are left out
            self._ended(ended)
        else:
            self._check_success(ended, same={str(copy): str(given)})

    def _mixed(self, seed: str) -> None:
        rng = random.Random(int(seed))
        for _ in range(rng.randint(2, 3)):
            after = rng.uniform(0, 1.1 * self.stage.seconds)
            step = rng.choice(("kill", "fault", "pair", "damage"))
            if step == "kill":
                self._kill(str(after))
            elif step == "pair":
                self._two(self.stage.command(self.out), self.stage.command(self.out), str(after))
            elif step == "fault":
                fault = Fault(rng.choice(FAULT_KINDS), rng.randrange(len(self.stage.operations)))
                self._ended(five(self.stage.command(self.out), self.out, fault).wait())
            elif present := files(self.out):
                self._damage_output(rng.choice(list(DAMAGES)), rng.choice(present), rng.randrange(1000))

    def _damage_output(self, how: str, name: str, seed: int) -> None:
        damage(self.out / name, how, seed)
        self.damaged.append(name)

    def _two(self, one: list[str], two: list[str], delay: str, killed: float | None = None) -> list[Ended]:
        first = five(one, self.out)
        time.sleep(float(delay))
        second: Command = five(two, self.out)
        return [self._ended(second.wait(killed)), self._ended(first.wait())]

    def _ended(self, ended: Ended) -> Ended:
        if ended.problem:
            self.uncaught.append(ended.problem)
        return ended

    def _check_success(self, *ends: Ended, same: dict[str, str] | None = None) -> None:
        """Compare the output at once if the disturbed commands claim success."""
        for ended in ends:
            self._ended(ended)
        if all(ended.code == 0 for ended in ends):
            self._compare("silent", self.stage.expected, same)

    def _resume(self) -> None:
        """Run the command again; if it refuses damaged files, delete them, as its message says."""
        command = self.stage.command(self.out)
        ended = self._ended(five(command, self.out).wait())
        refused = [name for name in self.damaged if Path(name).name in ended.output or "five.json" in ended.output]
        if ended.code and refused:
            for name in self.damaged:
                (self.out / name).unlink(missing_ok=True)
            ended = self._ended(five(command, self.out).wait())
        if ended.code:
            last = " ".join(ended.output.strip().splitlines()[-2:])
            self.unequal.append(f"running again ends with code {ended.code}: {last}")
        else:
            self._compare("after running again", self.stage.expected)

    def _compare(self, when: str, expected: dict[str, object], same: dict[str, str] | None = None) -> None:
        found = returned(lambda: differences(expected, values(self.out, same)), self.folder / "returned")
        self.unequal += [f"{when}: {line}" for line in found]
