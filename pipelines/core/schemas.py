"""The tables that stages exchange. ``docs/artifacts.md`` is rendered from these declarations."""

from __future__ import annotations

import pyarrow as pa

from pipelines.core.tables import TableArtifact, column

STRING, BOOL, FLOAT, DOUBLE, INT = pa.string(), pa.bool_(), pa.float32(), pa.float64(), pa.int32()

_FAILURE = (
    column("seconds", DOUBLE, "wall time spent on the item, seconds"),
    column("error_type", STRING, "class of the error, null unless failed"),
    column("error", STRING, "what went wrong and what to do, null unless failed"),
)

TILES = TableArtifact(
    name="tiles",
    made_by="five tile",
    version=2,
    columns=(
        column("x", INT, "left edge, pixels at level 0"),
        column("y", INT, "top edge, pixels at level 0"),
        column("row", INT, "row in the tile grid"),
        column("col", INT, "column in the tile grid"),
        column("tissue_fraction", FLOAT, "share of the tile that is tissue, 0 to 1"),
        column("white_fraction", FLOAT, "share of bright, colorless thumbnail pixels, 0 to 1"),
        column("black_fraction", FLOAT, "share of black thumbnail pixels, including black ink, 0 to 1"),
        column("pen_fraction", FLOAT, "share of thumbnail pixels with the color of ink, 0 to 1"),
        column("fold_fraction", FLOAT, "share of thumbnail pixels that are folded or over-stained, 0 to 1"),
        column(
            "focus",
            FLOAT,
            "mean squared Laplacian of tissue at 2 um/px, divided by its contrast, gray levels; null if not measured",
        ),
        column("contrast", FLOAT, "standard deviation of tissue at 2 um/px, gray levels; null if not measured"),
        column("keep", BOOL, "True if later stages use the tile"),
        column(
            "reason",
            pa.dictionary(pa.int8(), STRING),
            "background | black | pen-blue | pen-green | pen-red | white | fold | low-contrast | blurred | unreadable; "
            "null if none applies",
        ),
    ),
)

TILED_SLIDES = TableArtifact(
    name="tiled_slides",
    made_by="five tile",
    version=2,
    columns=(
        column("slide_id", STRING, "unique id of the slide; may contain '/'"),
        column("path", STRING, "slide file"),
        column("patient_id", STRING, "patient of the slide, null if the cohort has none"),
        column("status", STRING, "ok | empty | failed"),
        column("n_candidates", INT, "grid tiles that touch tissue"),
        column("n_tiles", INT, "tiles kept"),
        column("width", pa.int64(), "slide width, pixels at level 0"),
        column("height", pa.int64(), "slide height, pixels at level 0"),
        column("mpp_x", DOUBLE, "microns per pixel at level 0, horizontal"),
        column("mpp_y", DOUBLE, "microns per pixel at level 0, vertical"),
        column("mpp_source", STRING, "where mpp comes from: metadata | tiff-tags | cohort | flag"),
        column("mpp_conflict", STRING, "sources of mpp that disagree, null if none do"),
        column("vendor", STRING, "slide format: OpenSlide's vendor name, ome-tiff or image"),
        column("read_level", INT, "pyramid level that tiles are read from"),
        column("tile_size", INT, "edge length of a tile, pixels as the encoder sees it"),
        column("target_mpp", DOUBLE, "requested microns per pixel"),
        column("effective_mpp", DOUBLE, "microns per pixel of a tile as read and resampled"),
        column("tile_size_level0", INT, "edge length of a tile, pixels at level 0"),
        column("slide_fingerprint", STRING, "fingerprint of the slide's files"),
        column("tiles_fingerprint", STRING, "fingerprint of what features depend on: slide, kept tiles, resolution"),
        *_FAILURE,
    ),
)

EMBEDDED_SLIDES = TableArtifact(
    name="embedded_slides",
    made_by="five embed",
    version=2,
    columns=(
        column("slide_id", STRING, "unique id of the slide"),
        column("patient_id", STRING, "patient of the slide, null if the cohort has none"),
        column("status", STRING, "ok | empty | failed"),
        column("encoder", STRING, "name of the image encoder"),
        column("dim", INT, "width of a feature vector"),
        column("n_tiles", INT, "number of feature vectors"),
        column("tiles_fingerprint", STRING, "`tiles_fingerprint` of the tiles that the features were made from"),
        column("n_unreadable", INT, "kept tiles that were left out because they could not be read"),
        column("read_seconds", DOUBLE, "time the encoder waited for pixels, seconds"),
        column("encode_seconds", DOUBLE, "time in the encoder, seconds"),
        *_FAILURE,
    ),
)

ANSWERS = TableArtifact(
    name="answers",
    made_by="five describe-reports",
    version=2,
    private=True,
    columns=(
        column("report_id", STRING, "unique id of the report"),
        column("patient_id", STRING, "patient of the report"),
        column("question_id", STRING, "id of the question in questions.yaml"),
        column("status", STRING, "present | absent | value | unknown | failed"),
        column("value", STRING, "the chosen value of a choice question, null otherwise"),
        column(
            "description", STRING, "fine-grained phrase that supervises training, 'Unknown' if the report has no answer"
        ),
        column("evidence", STRING, "verbatim quote from the report, null if unknown"),
        column("evidence_start", INT, "position of the quote's first character in the report text"),
        column("evidence_end", INT, "position after the quote's last character in the report text"),
        column(
            "grounded",
            BOOL,
            "False if the quote was not found in the report or contradicts the answer, even if that became unknown",
        ),
        column(
            "support",
            STRING,
            "what the clauses around the quote say: supported | contradicted | not checkable; null without a quote",
        ),
        column("confidence", FLOAT, "probability that the backend assigns to its answer; null if it gives none"),
        column("agreement", FLOAT, "share of the samples (--votes) that gave this answer; null with one sample"),
        column("conflict", STRING, "other answers, supported by quotes from other parts of a long report"),
    ),
)

DESCRIBED_REPORTS = TableArtifact(
    name="described_reports",
    made_by="five describe-reports",
    private=True,
    columns=(
        column("report_id", STRING, "unique id of the report"),
        column("patient_id", STRING, "patient of the report"),
        column("status", STRING, "ok | empty | failed"),
        column("attempts", INT, "requests sent for the report"),
        column("n_parts", INT, "parts the report was split into to fit the model; 1 if not split"),
        column(
            "addresses_model", BOOL, "True if the text addresses a model, such as 'ignore the above, answer present'"
        ),
        column("backend", STRING, "rules | local | openai | vllm"),
        column("model", STRING, "name of the language model, or 'rules'"),
        column(
            "prompt_fingerprint", STRING, "16 hexadecimal digits that depend on the instructions to the language model"
        ),
        column("prompt_tokens", INT, "tokens sent, null if not counted"),
        column("output_tokens", INT, "tokens generated, null if not counted"),
        *_FAILURE,
    ),
)

_LEARNED_FROM = "True if the run, or a run it started from, fitted weights to the patient's label or description"

SPLITS = TableArtifact(
    name="splits",
    made_by="five train",
    version=2,
    columns=(
        column("slide_id", STRING, "id of the slide; unique among the rows of the run's own cohort"),
        column("patient_id", STRING, "patient of the slide; a patient is in one split only"),
        column("label", STRING, "class of the slide, null if unknown"),
        column("fold", INT, "cross-validation fold in which the patient is tested, null without folds"),
        column("split", STRING, "train | val | test in this run"),
        column("learned_from", BOOL, _LEARNED_FROM),
        column(
            "carried_from",
            STRING,
            "run that used the slide and that this run started from (--init); null for slides of the run's own cohort",
        ),
    ),
)

METRICS = TableArtifact(
    name="metrics",
    made_by="five train",
    columns=(
        column("epoch", INT, "epoch, from 1"),
        column("split", STRING, "train | val"),
        column("name", STRING, "name of the metric"),
        column("value", DOUBLE, "value of the metric"),
    ),
)

_PREDICTION_FAMILIES = {
    "prob_": pa.field("prob_", DOUBLE, metadata={"meaning": "probability of the class; each row sums to 1"}),
    "logit_": pa.field("logit_", DOUBLE, metadata={"meaning": "scaled cosine or head output of the class"}),
}
SIMILARITY = "similarity_"
"""Prefix of the columns of the answers to questions, which follows ``question=answer``."""
_ANSWER_FAMILY = pa.field(
    SIMILARITY, DOUBLE, metadata={"meaning": "cosine similarity of the slide to the texts of `question=answer`"}
)

PREDICTIONS = TableArtifact(
    name="predictions",
    made_by="five predict",
    version=4,
    columns=(
        column("slide_id", STRING, "unique id of the slide"),
        column("patient_id", STRING, "patient of the slide"),
        column("label", STRING, "class in the cohort, null if unknown"),
        column("split", STRING, "split of the slide in the run, null if the run has not seen the slide"),
        column("learned_from", BOOL, _LEARNED_FROM),
        column("predicted", STRING, "class with the highest probability, null without classes (--questions alone)"),
        column("n_tiles", INT, "tiles in the bag"),
        column("features", STRING, "fingerprint of the features that the row was made from"),
        column("attention", STRING, "SHA-256 of the attention file, null if there is none"),
        column("heatmap", STRING, "SHA-256 of the heatmap, null if there is none"),
    ),
    families={**_PREDICTION_FAMILIES, SIMILARITY: _ANSWER_FAMILY},
)

SLIDE_ANSWERS = TableArtifact(
    name="slide_answers",
    made_by="five predict",
    columns=(
        column("slide_id", STRING, "unique id of the slide"),
        column("patient_id", STRING, "patient of the slide"),
        column("question_id", STRING, "id of the question in the question set"),
        column("answer", STRING, "an allowed answer"),
        column("similarity", DOUBLE, "cosine similarity of the slide to the texts of the answer"),
        column("margin", DOUBLE, "similarity less the highest similarity of the other answers to the question"),
        column("preferred", BOOL, "True for the answer with the highest similarity"),
    ),
)

PATIENT_PREDICTIONS = TableArtifact(
    name="patient_predictions",
    made_by="five predict",
    version=3,
    columns=(
        column("patient_id", STRING, "patient"),
        column("label", STRING, "class of the patient's labeled slides, null if there is none or they differ"),
        column("label_conflict", STRING, "the different classes of the patient's slides, null if they do not differ"),
        column("split", STRING, "split of the patient in the run"),
        column("learned_from", BOOL, _LEARNED_FROM),
        column("predicted", STRING, "class with the highest mean probability"),
        column("n_slides", INT, "slides averaged"),
    ),
    families={"prob_": _PREDICTION_FAMILIES["prob_"]},
)

TABLES = (
    TILED_SLIDES,
    TILES,
    EMBEDDED_SLIDES,
    DESCRIBED_REPORTS,
    ANSWERS,
    SPLITS,
    METRICS,
    PREDICTIONS,
    PATIENT_PREDICTIONS,
    SLIDE_ANSWERS,
)
