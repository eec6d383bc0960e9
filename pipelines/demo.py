"""Stage ``demo``: draw a synthetic cohort of slides with reports, to try the other commands on."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.core.batch import OnResult, Outcome, Result, Summary, run_batch
from pipelines.core.files import fingerprint, replacing
from pipelines.core.folder import claim_folder
from pipelines.core.provenance import Provenance
from pipelines.core.resources import DemoResources
from pipelines.core.selection import EVERYTHING, Selection
from pipelines.core.settings import DemoSettings
from pipelines.synthetic.artefacts import draw_air_bubble, draw_pen_mark
from pipelines.synthetic.patients import DIFFERENTIATED, LABELS, Patient, draw_patients
from pipelines.synthetic.reports import truth_row, write_report
from pipelines.synthetic.slide_file import drawing_of, write_pyramidal_slide
from pipelines.synthetic.stains import Stain
from pipelines.synthetic.tissue import FINDINGS, MPP, DrawnTissue, draw_tissue

__all__ = ["DemoResources", "DemoSettings", "make_cohort"]

MADE_BY = "five demo cohort"
DRAWING = 2
"""Version of what a slide shows; slides of another version are drawn again."""
PEN_SHARE, BUBBLE_SHARE = 0.15, 0.15
"""Share of slides with a pen mark and with an air bubble."""

README = """SYNTHETIC COHORT - NO PATIENT IS BEHIND IT

Drawn and written by `five demo cohort`, to try the other commands out. The slides imitate H&E
sections at 0.5 microns per pixel; the two labels are made up:

  glandular     the tumor forms rings of columnar cells round open lumina
  keratinizing  the tumor forms nests with intercellular bridges and keratin pearls

A poorly differentiated tumor of either label is mostly solid sheets, which look the same in both.
The slides show what the reports say about growth, differentiation, spread through air spaces
(groups of tumor cells in alveoli), vascular invasion (tumor in vessels) and necrosis. Margins,
pleura and adjacent tissue are in the reports alone: no slide shows them. Nothing learned here
holds for real tissue.

  slides/        pyramidal slides that OpenSlide opens
  cohort.csv     slide_id, path, patient_id, label
  reports.csv    report_id, patient_id, text
  truth.csv      what each report states; `unknown` where it is silent (to check describe-reports)
"""


@dataclass(frozen=True)
class SlideToDraw:
    """One slide of a patient."""

    slide_id: str
    number: int
    """Number of the slide among the patient's slides, from 1."""
    patient: Patient


def make_cohort(
    out: Path,
    settings: DemoSettings,
    *,
    selection: Selection = EVERYTHING,
    resources: DemoResources = DemoResources(),
    on_result: OnResult = lambda _: None,
) -> Summary:
    """Write slides, ``cohort.csv``, ``reports.csv``, ``truth.csv`` and ``README.txt`` to ``out``.

    Slides that an earlier run drew with the same settings are kept.
    """
    selection.require_only(MADE_BY, "overwrite")
    claim_folder(out, MADE_BY, Provenance.of(settings), overwrite=selection.overwrite)
    patients = draw_patients(settings.patients, settings.seed)
    slides = [
        SlideToDraw(slide_id, number, patient)
        for patient in patients
        for number, slide_id in enumerate(patient.slide_ids, start=1)
    ]
    work = _Draw(out / "slides", settings)
    results = run_batch(slides, work, workers=resources.workers, folder=out, on_result=on_result)
    _write_csv(out / "cohort.csv", [_cohort_row(slide) for slide in slides])
    _write_csv(out / "reports.csv", [_report_row(patient, settings.seed) for patient in patients])
    _write_csv(out / "truth.csv", [truth_row(patient) for patient in patients])
    with replacing(out / "README.txt") as part:
        part.write_text(README, encoding="utf-8")
    return Summary(out, tuple(results), {"patients": len(patients)})


def draw_slide(slide: SlideToDraw, seed: int) -> DrawnTissue:
    """Draw a slide at `MPP` that shows the findings of its patient. The label affects the growth pattern only.

    The masks do not know of the pen marks and air bubbles that may lie over the tissue.
    """
    patient = slide.patient
    stain = Stain.draw(np.random.default_rng([seed, patient.number, 0]))
    rng = np.random.default_rng([seed, patient.number, 1, slide.number])
    differentiated = rng.uniform(*DIFFERENTIATED[patient.findings["differentiation"]])
    shown = [finding for finding in FINDINGS if patient.findings[finding] == "present"]
    drawn = draw_tissue(rng.spawn(1)[0], LABELS[patient.label], differentiated, stain, shown)
    if rng.random() < PEN_SHARE:
        draw_pen_mark(drawn.rgb, rng)
    if rng.random() < BUBBLE_SHARE:
        draw_air_bubble(drawn.rgb, rng)
    return drawn


@dataclass(frozen=True)
class _Draw:
    folder: Path
    settings: DemoSettings

    def __call__(self, slide: SlideToDraw) -> Result:
        path = self.folder / f"{slide.slide_id}.svs"
        version = [Provenance.of(self.settings).five_version, DRAWING]
        drawing = fingerprint([*version, self.settings.as_dict(), slide.slide_id])
        if drawing_of(path) == drawing:
            return Result(slide.slide_id, Outcome.KEPT)
        write_pyramidal_slide(path, draw_slide(slide, self.settings.seed).rgb, MPP, drawing=drawing)
        return Result(slide.slide_id, Outcome.DONE)


def _cohort_row(slide: SlideToDraw) -> dict[str, str]:
    return {
        "slide_id": slide.slide_id,
        "path": f"slides/{slide.slide_id}.svs",
        "patient_id": slide.patient.patient_id,
        "label": slide.patient.label,
    }


def _report_row(patient: Patient, seed: int) -> dict[str, str]:
    return {
        "report_id": patient.report_id,
        "patient_id": patient.patient_id,
        "text": write_report(patient, seed),
    }


def _write_csv(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replacing(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8")
