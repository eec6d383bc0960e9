"""Every file that the commands write, by output folder.

``docs/artifacts.md`` is rendered from here, and a test compares it with the files of a real run.
"""

from __future__ import annotations

from dataclasses import replace

from pipelines.core import schemas
from pipelines.core.artifact_files import ArtifactFile, ArtifactFolder
from pipelines.core.file_layouts import (
    AGREEMENT,
    ANSWER_RATES,
    ATTENTION,
    DEMO_REPORTS,
    DEMO_SLIDES,
    DEMO_TRUTH,
    FEATURES,
    RUN_MANIFEST,
    Entry,
)

FIVE_JSON = ArtifactFile(
    "five.json",
    "JSON",
    "settings that the folder was made with",
    entries=(
        Entry("made_by", "string", "command"),
        Entry("five_version", "string", "version of five-wsi"),
        Entry("settings", "object", "settings of the command"),
        Entry(
            "input_fingerprint",
            "string",
            "fingerprint of the input; of predictions, the run or the space of the features, and the texts",
        ),
        Entry("digest", "string", "fingerprint of the other keys; a folder whose `five.json` was changed is refused"),
    ),
)
"""Written to every output folder, so that a later run with other settings is noticed."""


def _per_item(item: str = "<slide_id>") -> tuple[ArtifactFile, ...]:
    """Return the files of commands that work item by item."""
    return (
        ArtifactFile(
            f"errors/{item}.txt",
            "text",
            "traceback of a failure; `/` in the id is written `__`, and a digest ends a name that is long or ambiguous",
            "if the item fails; removed when it succeeds",
        ),
        ArtifactFile(".locks/<name>.lock", "text", "host and process that work on a file", "during the run", True),
    )


TILES_FOLDER = ArtifactFolder(
    "tiles",
    "five tile",
    (
        FIVE_JSON,
        ArtifactFile("slides.parquet", "Parquet", "one row per slide", table=schemas.TILED_SLIDES),
        ArtifactFile(
            "<slide_id>.parquet",
            "Parquet",
            "one row per tile of the slide, kept or not",
            "if the slide can be read",
            table=schemas.TILES,
            metadata=(
                Entry("five.row", "string", "the row of the slide in `slides.parquet`, as JSON"),
                Entry("five.outputs", "string", "digests of the slide's outline and pictures, as JSON"),
            ),
        ),
        ArtifactFile(
            "tissue/<slide_id>.geojson",
            "GeoJSON",
            "tissue outlines, pixels at level 0; QuPath opens the file",
            "if the slide can be read; never over an outline that you edited or gave with `--masks`",
        ),
        ArtifactFile(
            "qc/<slide_id>.jpg",
            "JPEG",
            "overview of the slide: tissue outlines, kept tiles, rejected tiles by reason",
            "if the slide can be read",
        ),
        ArtifactFile(
            "qc/<slide_id>.dropped.jpg",
            "JPEG",
            "contact sheet of the tiles rejected for their quality, by reason, with their scores",
            "if such tiles exist",
        ),
        *_per_item(),
    ),
)

_PATCHES = "with `--save-patches`"
EMBEDDED_FOLDER = ArtifactFolder(
    "features",
    "five embed",
    (
        FIVE_JSON,
        ArtifactFile("slides.parquet", "Parquet", "one row per slide", table=schemas.EMBEDDED_SLIDES),
        ArtifactFile(
            "<slide_id>.h5",
            "HDF5",
            "features of the kept tiles (N tiles, D channels); TRIDENT, CLAM, TITAN and CONCH read the file as it is",
            "if the slide was tiled",
            hdf5=FEATURES,
        ),
        replace(FIVE_JSON, pattern="patches/five.json", content="settings of the tile images", when=_PATCHES),
        ArtifactFile(
            "patches/<slide_id>.zip",
            "ZIP",
            "kept tiles as images `<x>_<y>.jpg` or `.webp`, named by their top-left corner in pixels at level 0; "
            "the archive comment holds the metadata and a fingerprint of the names and CRCs as JSON, with a digest",
            _PATCHES,
        ),
        *_per_item(),
    ),
    note="With several encoders, each has its own folder `features/<encoder>/` with `five.json`, `slides.parquet` and "
    "the feature files. `patches/`, `errors/` and `.locks/` stay in `features/`.",
)

DESCRIPTIONS_FOLDER = ArtifactFolder(
    "descriptions",
    "five describe-reports",
    (
        FIVE_JSON,
        ArtifactFile("questions.yaml", "YAML", "the question set as it was asked; docs/reports.md explains its keys"),
        ArtifactFile("reports.parquet", "Parquet", "one row per report", table=schemas.DESCRIBED_REPORTS),
        ArtifactFile("answers.parquet", "Parquet", "one row per report and question", table=schemas.ANSWERS),
        ArtifactFile(
            "journal.jsonl",
            "JSON Lines",
            "one record per report, with a digest, from which a later run resumes; for results, read the tables",
        ),
        ArtifactFile(
            "journal-<index>-of-<count>.jsonl", "JSON Lines", "the same for one shard", "with `--shard`, instead"
        ),
        ArtifactFile(
            "report.html",
            "HTML",
            "text of the reports beside the answers, quotes highlighted; as confidential as the reports",
            "with `--html`, and in later runs on the folder",
        ),
        ArtifactFile("report-<number>.html", "HTML", "further pages, from 002", "if one page is not enough"),
        ArtifactFile(
            ".locks/<name>.lock", "text", "host and process that work on the journal or tables", "during the run", True
        ),
    ),
    note="The files quote the reports. The folder is created with mode 0700 and the files with mode 0600: only their "
    "owner may read them.",
)

RUN_FOLDER = ArtifactFolder(
    "run",
    "five train",
    (
        FIVE_JSON,
        ArtifactFile("splits.parquet", "Parquet", "one row per slide", table=schemas.SPLITS),
        ArtifactFile("metrics.parquet", "Parquet", "one row per epoch, split and metric", table=schemas.METRICS),
        ArtifactFile(
            "config.yaml",
            "YAML",
            "configuration of the model",
            entries=(
                Entry("version", "integer", "version of this file format"),
                Entry("model", "mapping", "settings of the network"),
                Entry("data", "mapping", "facts about the data that the network depends on"),
                Entry("text_fingerprint", "string", "fingerprint of the frozen text model"),
                Entry("training", "mapping", "settings of the training"),
            ),
        ),
        ArtifactFile(
            "manifest.json",
            "JSON",
            "the files of the run; written last, so it marks a complete run, with which readers compare each file",
            entries=RUN_MANIFEST,
        ),
        ArtifactFile(
            "model.safetensors", "safetensors", "learned weights of the best epoch; the frozen text model is not stored"
        ),
        ArtifactFile("learning_curves.png", "PNG", "one plot per metric over the epochs"),
        ArtifactFile(
            "questions.yaml", "YAML", "question set whose questions are prompts", "if the model has such prompts"
        ),
        ArtifactFile(
            "classes.yaml",
            "YAML",
            "texts that describe each class",
            "with `--classes`",
            entries=(Entry("classes", "mapping", "class name to its texts"),),
        ),
        ArtifactFile(
            "tensorboard/events.out.tfevents.<name>", "TensorBoard", "metrics of each epoch", "with `--tensorboard`"
        ),
        ArtifactFile(
            "checkpoints/last.safetensors",
            "safetensors",
            "state after the last epoch, from which an interrupted run resumes; contains its own digest",
            "during the run",
            True,
        ),
        ArtifactFile(".locks/train.lock", "text", "host and process that train here", "during the run", True),
    ),
)

_OF_PREDICTIONS = (Entry("five.predictions", "string", "fingerprint of the predictions that it was made from"),)
PREDICTIONS_FOLDER = ArtifactFolder(
    "predictions",
    "five predict",
    (
        FIVE_JSON,
        ArtifactFile("predictions.parquet", "Parquet", "one row per slide", table=schemas.PREDICTIONS),
        ArtifactFile(
            "patients.parquet",
            "Parquet",
            "one row per patient, averaged over the slides",
            "if all slides are predicted; removed when a prediction changes",
            table=schemas.PATIENT_PREDICTIONS,
            metadata=_OF_PREDICTIONS,
        ),
        ArtifactFile(
            "slide_answers.parquet",
            "Parquet",
            "one row per slide, question and answer",
            "with `--questions`",
            table=schemas.SLIDE_ANSWERS,
            metadata=_OF_PREDICTIONS,
        ),
        ArtifactFile("report.html", "HTML", "table of the predictions, settings and heatmaps; written by each run"),
        ArtifactFile(
            "attention/<slide_id>.h5",
            "HDF5",
            "attention over the tiles of the slide (P prompts, N tiles), and their similarities to texts",
            "if the model has prompts, and without `--run`; not with `--no-attention`",
            hdf5=ATTENTION,
        ),
        ArtifactFile(
            "heatmaps/<slide_id>.jpg",
            "JPEG",
            "what speaks for the predicted class, and the attention of each question or the similarities to texts",
            "with `--heatmaps`",
        ),
        *_per_item(),
    ),
)

EVALUATION_FOLDER = ArtifactFolder(
    "evaluation",
    "five evaluate-descriptions",
    (
        ArtifactFile("<name>.csv", "CSV", "one row per question", "with `-o <name>.csv`", entries=AGREEMENT),
        ArtifactFile(
            "<name>.answers.csv",
            "CSV",
            "one row per answer to each question",
            "with `-o <name>.csv`",
            entries=ANSWER_RATES,
        ),
        ArtifactFile("<name>.parquet", "Parquet", "the same columns", "with `-o <name>.parquet`"),
        ArtifactFile("<name>.answers.parquet", "Parquet", "the same columns", "with `-o <name>.parquet`"),
    ),
    note="You choose the path. `five evaluate` writes no file; it prints its metrics, with `--json` as JSON.",
)

COHORT_FOLDER = ArtifactFolder(
    "cohort",
    "five demo cohort",
    (
        FIVE_JSON,
        ArtifactFile("README.txt", "text", "what the files are; says that the cohort is synthetic"),
        ArtifactFile("cohort.csv", "CSV", "one row per slide", entries=DEMO_SLIDES),
        ArtifactFile("reports.csv", "CSV", "one row per report", entries=DEMO_REPORTS),
        ArtifactFile("truth.csv", "CSV", "one row per report: the findings that it states", entries=DEMO_TRUTH),
        ArtifactFile("slides/<slide_id>.svs", "SVS", "synthetic slide with a pyramid, 0.5 microns per pixel"),
        *_per_item(),
    ),
)

FOLDERS = (
    TILES_FOLDER,
    EMBEDDED_FOLDER,
    DESCRIPTIONS_FOLDER,
    RUN_FOLDER,
    PREDICTIONS_FOLDER,
    EVALUATION_FOLDER,
    COHORT_FOLDER,
)
