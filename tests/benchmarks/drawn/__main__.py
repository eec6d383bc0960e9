"""Test whether a model answers, and looks at the right tiles, on drawn slides.

    python -m tests.benchmarks.drawn -o drawn --patients 80

Slides and reports are those of `five demo cohort`. The reports are described by the backend ``rules``, so what they do
not mention is unknown. The model learns from the descriptions of half of the patients. The table gives, on the slides
of the others:

* answers: AUC of the difference between two answers (of differentiation: well and poor);
* places: AUC of the question's attention for the tiles that show the finding, mean over slides;
* evidence: the same of what the tiles add to the true answer.

A tile shows a finding if its mask covers 2 % of it. Rows ``complete`` have reports that mention every finding, rows
``shuffled`` the reports of other patients. Rows ``masks`` are a logistic regression on tiles that learned from the
masks of the training slides: what the encoder allows. Pleura, adjacent tissue and margins are not drawn.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipelines.core.question_files import load_questions
from pipelines.core.settings import DescribeReportsSettings, EmbedSettings, TrainSettings
from pipelines.describe_reports import DescribeReportsInputs, describe_reports
from pipelines.model.networks.checkpoint import load_model
from pipelines.synthetic.reports import write_report
from pipelines.train import TrainInputs, train
from tests.benchmarks.drawn.cohort import DrawnSlide, drawn_cohort, write_csv
from tests.benchmarks.drawn.measures import ASKED, model_measures, tile_measures

QUESTIONS = Path(__file__).parents[3] / "docs" / "examples" / "demo-questions.yaml"
MEASURES = ("answers", "places", "evidence")


def main() -> None:
    """Run the benchmark and print one table per kind of description."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="drawn slides and features; kept")
    parser.add_argument("--patients", type=int, default=80)
    parser.add_argument("--encoder", default=EmbedSettings().encoder)
    parser.add_argument("--seeds", type=int, default=3, help="number of random halves")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], dest="settings", help="name=value settings of the training")
    options = parser.parse_args()
    slides = drawn_cohort(options.output, options.patients, 0, encoder=options.encoder, workers=options.workers)
    settings = {name: int(value) for name, _, value in (each.partition("=") for each in options.settings)}
    print("descriptions", "question", *MEASURES, sep=" | ")
    for kind in ("true", "complete", "shuffled", "masks"):
        runs = [_run(options.output, slides, kind, seed, settings) for seed in range(options.seeds)]
        for question in ASKED:
            _print(kind, question, runs)


def _print(kind: str, question: str, runs: Sequence[Mapping[str, float]]) -> None:
    names = [f"{measure} {question}" for measure in MEASURES]
    if any(name in runs[0] for name in names):
        values = [[run[name] for run in runs if name in run] for name in names]
        cells = [f"{np.mean(v):.2f} +- {np.std(v):.2f}" if v else "" for v in values]
        print(kind, question, *cells, sep=" | ", flush=True)


def _run(
    folder: Path, slides: Sequence[DrawnSlide], kind: str, seed: int, settings: Mapping[str, int]
) -> dict[str, float]:
    """Learn from one half of the patients and return the measures on the other."""
    rng = np.random.default_rng(seed)
    patients = list({slide.patient.patient_id: slide.patient for slide in slides}.values())
    learned = [patients[i] for i in rng.permutation(len(patients))[: len(patients) // 2]]
    training = [slide for slide in slides if slide.patient in learned]
    test = [slide for slide in slides if slide.patient not in learned]
    if kind == "masks":
        return tile_measures(training, test)
    described = [learned[i] for i in rng.permutation(len(learned))] if kind == "shuffled" else learned
    if kind == "complete":
        described = [replace(patient, stated=patient.findings) for patient in learned]
    with TemporaryDirectory() as temporary:
        work = Path(temporary)
        reports = [(p.report_id, p.patient_id, write_report(q, 0)) for p, q in zip(learned, described, strict=True)]
        write_csv(work / "reports.csv", [("report_id", "patient_id", "text"), *reports])
        split = [(slide.bag.slide_id, slide.patient.patient_id, "train") for slide in training]
        write_csv(work / "cohort.csv", [("slide_id", "patient_id", "split"), *split])
        _train(work, folder / "features", TrainSettings(model="five", tuning="frozen", seed=seed, **settings))  # type: ignore[arg-type]
        return model_measures(load_model(work / "run"), test, load_questions(QUESTIONS))


def _train(work: Path, features: Path, settings: TrainSettings) -> None:
    """Describe the reports in ``work`` and train on its cohort; write ``work/run``."""
    asked = DescribeReportsSettings(questions=str(QUESTIONS))
    describe_reports(DescribeReportsInputs(work / "reports.csv"), work / "descriptions", asked)
    train(TrainInputs(features, work / "cohort.csv", descriptions=work / "descriptions"), work / "run", settings)


if __name__ == "__main__":
    main()
