"""A small cohort, and every stage run on it without disturbance."""

from __future__ import annotations

import csv
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.commands import five, import_all, modules_and_operations, returned
from tests.chaos.values import differences, values

ENCODER = Path(__file__).with_name("tiny_encoder.py")
STAGES = ("tile", "embed", "describe-reports", "train", "finetune", "train-five", "predict", "predict-texts")


COLORS = "classes: {warm: red, cold: blue}\nother: green\n"
BRIGHTNESS = """
name: brightness
title: Brightness
questions:
  - id: color
    question: Which color?
    prompt: color
    kind: choice
    values: {warm: {meaning: a, phrase: red green}, cold: {meaning: b, phrase: green blue}}
"""


@dataclass
class Stage:
    """A command with small inputs, and what it does undisturbed."""

    name: str
    arguments: tuple[str, ...]
    """Subcommand and its options, except for the output."""
    inputs: tuple[Path, ...] = ()
    """Folders that earlier stages wrote."""
    shards: bool = True
    other: tuple[str, ...] = ()
    """Options of another run that may be started on the same folder by mistake."""
    workers: tuple[str, ...] = ()
    """Options for several processes."""
    seconds: float = 0.0
    operations: list[str] = field(default_factory=list)
    largest_file: int = 0
    expected: dict[str, Any] = field(default_factory=dict)
    expected_other: dict[str, Any] = field(default_factory=dict)

    def command(self, out: Path, *more: str, inputs: Mapping[Path, Path] | None = None) -> list[str]:
        """Return the arguments of ``five`` to write ``out``, with some of the inputs replaced."""
        replaced = {str(path): str(other) for path, other in (inputs or {}).items()}
        return [*(replaced.get(each, each) for each in self.arguments), "-o", str(out), *more]


class Workshop:
    """Inputs of all stages below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.stages: dict[str, Stage] = {}

    def output(self, name: str) -> Path:
        """Return the folder of a stage's undisturbed output."""
        return self.root / "undisturbed" / name

    def prepare(self, names: tuple[str, ...]) -> None:
        """Write the cohort and run the stages ``names``, and the stages that they need, without disturbance."""
        from pipelines.findings import heatmap
        from pipelines.model.training import loop

        loop.STATE_SECONDS = -1.0  # so that short runs write the file from which they resume
        heatmap.PANEL_EDGE, heatmap.DPI = 80, 20
        os.umask(0o022)
        returned(lambda: write_inputs(self.root), self.root / "returned")
        needed = {"embed": ("tile",), "finetune": ("train",), "predict": ("train-five",)}
        needed["predict-texts"] = ("tile", "embed")
        for stage in _stages(self):
            if any(stage.name == name or stage.name in needed.get(name, ()) for name in names):
                self._run_undisturbed(stage)
                self.stages[stage.name] = stage

    def _run_undisturbed(self, stage: Stage) -> None:
        scratch, out, second = self.root / "returned", self.output(stage.name), self.root / "second"
        modules, _ = returned(lambda: modules_and_operations(stage.command(out), out), scratch)
        import_all(modules)
        started = time.monotonic()
        _, stage.operations = returned(lambda: modules_and_operations(stage.command(second), second), scratch)
        stage.seconds = time.monotonic() - started
        stage.largest_file = max(path.stat().st_size for path in out.rglob("*") if path.is_file())
        stage.expected = returned(lambda: values(out), scratch)
        if found := returned(lambda: differences(stage.expected, values(second)), scratch):
            raise RuntimeError(f"five {stage.name}: two undisturbed runs differ: {found}")
        shutil.rmtree(second)
        if stage.other:
            other = self.root / "other"
            five(stage.command(other, *stage.other), other).wait()
            stage.expected_other = returned(lambda: values(other), scratch)
            shutil.rmtree(other)


def _stages(workshop: Workshop) -> list[Stage]:
    root, cohort = workshop.root / "inputs", workshop.root / "inputs" / "cohort"
    features, descriptions = cohort / "features", cohort / "descriptions"
    tiles, pretrained, five_run = workshop.output("tile"), workshop.output("train"), workshop.output("train-five")
    table, classes, device = ("--cohort", str(cohort / "cohort.csv")), str(cohort / "classes.yaml"), ("--device", "cpu")
    text_model = ("--text-model", str(root / "bert"))
    network = ("--model", "five-fusion", "--width", "64", "--diagnosis-prompts", "2", "--prompt-tokens", "2")
    short, other = ("--epochs", "2", "--batch-size", "4", *device), ("--seed", "5")
    learn = ("train", str(features), *table, *short)
    train_five = (*learn, "--descriptions", str(descriptions), *text_model)
    train = (*train_five, *network)
    finetune = (*learn, "--regime", "finetune", "--init", str(pretrained), "--classes", classes)
    three = ("--cohort", str(root / "three.csv"))
    predict = ("predict", str(features), "--run", str(five_run), "--classes", classes, *three, "--heatmaps", *device)
    texts = ("--classes", str(root / "colors.yaml"), "--questions", str(root / "brightness.yaml"))
    predict_texts = ("predict", str(workshop.output("embed")), *texts, "--heatmaps", *device)
    embed = ("embed", str(tiles), "--encoder", str(ENCODER), "--save-patches", "jpg", *device)
    describe = ("describe-reports", str(root / "reports.csv"), "--questions", "lung", "--html")
    return [
        Stage("tile", ("tile", str(root / "slides"), "--tile-size", "112"), workers=("--workers", "2")),
        Stage("embed", embed, inputs=(tiles,), workers=("--device", "cpu:0,1")),
        Stage("describe-reports", describe),
        Stage("train", train, inputs=(features, descriptions), shards=False, other=other),
        Stage("finetune", finetune, inputs=(features, pretrained), shards=False, other=other),
        Stage("train-five", train_five, inputs=(features, descriptions), shards=False, other=other),
        Stage("predict", predict, inputs=(features, five_run)),
        Stage("predict-texts", predict_texts, inputs=(workshop.output("embed"),)),
    ]


def write_inputs(root: Path) -> None:
    """Write slides, reports, a text model, and features with answers and labels."""
    from pipelines.synthetic.patients import draw_patients
    from pipelines.synthetic.reports import write_report
    from tests.slide_files import tissue_drawing, write_lossless_slide
    from tests.synthetic_features import write_cohort, write_tiny_bert

    inputs = root / "inputs"
    for number, areas in enumerate([[(112, 560, 224, 784)], [(56, 336, 56, 448)], []]):
        rgb = tissue_drawing(672, 896, areas, seed=number)
        rgb[224:336, 224:336] = 10 if number == 0 else rgb[224:336, 224:336]  # a tile that is rejected
        write_lossless_slide(inputs / "slides" / f"slide{number}.tif", rgb, 0.5)
    reports = [(patient.report_id, patient.patient_id, write_report(patient, 0)) for patient in draw_patients(4, 0)]
    _write_csv(inputs / "reports.csv", [("report_id", "patient_id", "text"), *reports, ("empty", "P9", "")])
    write_tiny_bert(inputs / "bert")
    cohort = write_cohort(inputs / "cohort", n_patients=10)
    (inputs / "colors.yaml").write_text(COLORS)
    (inputs / "brightness.yaml").write_text(BRIGHTNESS)
    lines = cohort.table.read_text().splitlines()
    (inputs / "three.csv").write_text("\n".join(lines[:4]) + "\n")


def _write_csv(path: Path, rows: list[tuple[str, ...]]) -> None:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
