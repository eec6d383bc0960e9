"""`five predict` without a run: tiles are compared with texts in a joint space."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from fivecli.app import app
from pipelines.core.attention_file import read_attention
from pipelines.core.errors import ArtifactError, EncoderError, SettingsError
from pipelines.core.feature_file import read_bag
from pipelines.core.schemas import PATIENT_PREDICTIONS, PREDICTIONS, SLIDE_ANSWERS
from pipelines.core.selection import Selection, Shard
from pipelines.core.settings import EmbedSettings, EvaluateSettings, PredictSettings
from pipelines.embed import EmbedInputs, embed
from pipelines.evaluate import EvaluateInputs, evaluate
from pipelines.predict import PredictInputs, plan, predict
from tests.embedding import tile_slides
from tests.synthetic_features import DIM, write_bag, write_cohort
from tests.text_towers import WordTower

SPACE = "words 1"
WORDS = ["round", "spindle", "normal"]
TEXTS = "classes: {round: [round cells, round], spindle: spindle cells}\n"
QUESTIONS = """
name: tiny
title: Tiny
questions:
  - id: shape
    question: Which shape?
    prompt: shape of the cells
    kind: choice
    values:
      is_round: {meaning: round, phrase: round cells, wordings: [very round]}
      is_spindle: {meaning: spindle, phrase: spindle cells}
  - {id: free, question: 'What else?', prompt: anything, kind: phrase}
"""


@pytest.fixture
def tower(monkeypatch):
    """Make `five predict` use a tower whose words are channels of the features."""
    tower = WordTower(WORDS)
    monkeypatch.setattr("pipelines.predict.find_preset", lambda name: name)
    monkeypatch.setattr("pipelines.predict.load_text_tower", lambda *_, **__: tower)
    return tower


@pytest.fixture
def cohort(tmp_path):
    """Return features of six slides: channel 0 is raised in tiles of round slides, channel 1 in those of spindle."""
    cohort = write_cohort(tmp_path / "cohort", n_patients=6, space=SPACE)
    cohort.classes.write_text(TEXTS)
    (tmp_path / "questions.yaml").write_text(QUESTIONS)
    return cohort


@pytest.fixture
def inputs(cohort):
    return PredictInputs(cohort.features, cohort=cohort.table, classes=cohort.classes)


def rows(out):
    return PREDICTIONS.read_rows(out / "predictions.parquet")


def outcomes(summary):
    return [result.outcome.value for result in summary.results]


def cosines(path, words):
    """Return the cosine of each tile to the mean of word channels, (N,), computed apart from the program."""
    features = read_bag(path).features.astype(float)
    text = np.zeros(DIM)
    text[[WORDS.index(word) for word in words]] = 1
    return features @ text / np.linalg.norm(features, axis=1) / np.linalg.norm(text)


SHARE, PLAIN = PredictSettings(top_share=0.2), PredictSettings()


def test_slides_are_classified_from_texts_alone(tower, inputs, tmp_path):
    predict(inputs, tmp_path / "out", SHARE)
    found = rows(tmp_path / "out")
    assert [row["predicted"] for row in found] == ["round", "spindle"] * 3
    assert {(row["split"], row["learned_from"]) for row in found} == {(None, False)}
    assert len(PATIENT_PREDICTIONS.read_rows(tmp_path / "out" / "patients.parquet")) == 6
    evaluation = evaluate(EvaluateInputs([tmp_path / "out"]), EvaluateSettings(resamples=0))
    assert evaluation.pooled.n == 6
    assert {metric.name: metric.value for metric in evaluation.pooled.metrics}["accuracy"] == 1


def test_logits_and_probabilities_follow_from_the_best_tiles(tower, inputs, tmp_path):
    predict(inputs, tmp_path / "out", PredictSettings(top_share=0.1, top_min=1, temperature=0.05))
    for row in rows(tmp_path / "out"):
        path = inputs.features / f"{row['slide_id']}.h5"
        k = int(np.ceil(0.1 * row["n_tiles"]))
        logits = {name: np.sort(cosines(path, [name]))[-k:].mean() / 0.05 for name in ("round", "spindle")}
        for name, logit in logits.items():
            assert row[f"logit_{name}"] == pytest.approx(logit, abs=1e-4)
        odds = np.exp(logits["round"] - logits["spindle"])
        assert row["prob_round"] == pytest.approx(odds / (1 + odds), abs=1e-4)


def test_the_temperature_is_that_of_the_tower_unless_it_is_set(tower, inputs, tmp_path):
    predict(inputs, tmp_path / "own", PredictSettings(pooling="mean"))
    predict(inputs, tmp_path / "set", PredictSettings(pooling="mean", temperature=0.1))
    predict(inputs, tmp_path / "wide", PredictSettings(pooling="mean", temperature=0.2))
    own, same, wide = (rows(tmp_path / name)[0]["logit_round"] for name in ("own", "set", "wide"))
    assert own == same == pytest.approx(2 * wide)


def test_maps_hold_the_similarity_of_each_tile_and_contributions_that_sum_to_the_logits(tower, inputs, tmp_path):
    inputs.classes.write_text(TEXTS + "other: normal\n")
    predict(inputs, tmp_path / "out", PredictSettings(pooling="attention"))
    maps = read_attention(tmp_path / "out" / "attention" / "s01.h5")
    assert list(maps.texts) == ["round", "spindle", "other"]
    assert list(maps.prompts) == list(maps.classes) == ["round", "spindle"]
    path = inputs.features / "s01.h5"
    expected = np.stack([cosines(path, [word]) for word in WORDS])
    np.testing.assert_allclose(maps.similarities.astype(float), expected, atol=1e-3)
    passing = expected[:2].max(axis=0) > expected[2]
    attention = np.exp(10 * expected[:2]) * passing
    np.testing.assert_allclose(maps.weights.astype(float), attention / attention.sum(axis=1, keepdims=True), atol=1e-3)
    row = rows(tmp_path / "out")[1]
    np.testing.assert_allclose(maps.contributions.sum(axis=1), [row["logit_round"], row["logit_spindle"]], rtol=1e-4)


def test_templates_and_other_tissue_change_the_prediction_and_are_noticed(tower, inputs, tmp_path):
    out = tmp_path / "out"
    predict(inputs, out, SHARE)
    before = rows(out)
    for change in ("templates: ['{} normal']\n", "other: normal\n", "other: [normal, normal normal spindle]\n"):
        inputs.classes.write_text(TEXTS + change)
        assert set(outcomes(predict(inputs, out, SHARE))) == {"done"}
        assert [row["logit_round"] for row in rows(out)] != [row["logit_round"] for row in before]
        before = rows(out)
    assert "texts of other tissue" in (out / "report.html").read_text()


def test_a_second_run_keeps_everything_and_does_not_load_the_tower(tower, inputs, tmp_path, monkeypatch):
    predict(inputs, tmp_path / "out", SHARE)
    monkeypatch.setattr("pipelines.predict.load_text_tower", None)
    assert outcomes(predict(inputs, tmp_path / "out", SHARE)) == ["kept"] * 6


def test_weights_that_moved_change_nothing(tower, inputs, tmp_path):
    predict(inputs, tmp_path / "out", replace(SHARE, text_weights=tmp_path / "before.pt"))
    again = predict(inputs, tmp_path / "out", replace(SHARE, text_weights=tmp_path / "after.pt"))
    assert set(outcomes(again)) == {"kept"}


def test_only_a_slide_that_was_embedded_again_is_predicted_again(tower, inputs, tmp_path):
    predict(inputs, tmp_path / "out", SHARE)
    write_bag(inputs.features, "s02", np.eye(4, DIM), space=SPACE)
    assert outcomes(predict(inputs, tmp_path / "out", SHARE)) == ["kept", "kept", "done", "kept", "kept", "kept"]


def test_shards_share_the_slides_and_the_last_writes_the_patients_and_answers(tower, inputs, tmp_path):
    inputs = replace(inputs, questions=str(tmp_path / "questions.yaml"))
    first = predict(inputs, tmp_path / "out", SHARE, selection=Selection(shard=Shard(1, 2)))
    assert len(first.results) == 3
    assert not (tmp_path / "out" / "patients.parquet").exists()
    predict(inputs, tmp_path / "out", SHARE, selection=Selection(shard=Shard(2, 2)))
    predict(inputs, tmp_path / "whole", SHARE)
    assert rows(tmp_path / "out") == rows(tmp_path / "whole")
    for table, name in ((PATIENT_PREDICTIONS, "patients"), (SLIDE_ANSWERS, "slide_answers")):
        both = [table.read_rows(tmp_path / folder / f"{name}.parquet") for folder in ("out", "whole")]
        assert both[0] == both[1]


class TestQuestions:
    def test_each_answer_has_the_pooled_similarity_of_its_wordings_and_the_best_is_preferred(
        self, tower, cohort, tmp_path
    ):
        inputs = PredictInputs(cohort.features, questions=str(tmp_path / "questions.yaml"))
        predict(inputs, tmp_path / "out", PredictSettings(pooling="mean"))
        answers = SLIDE_ANSWERS.read_rows(tmp_path / "out" / "slide_answers.parquet")
        assert len(answers) == 6 * 2  # the phrase question has no answers to choose from
        for first, second in zip(answers[::2], answers[1::2], strict=True):
            path = cohort.features / f"{first['slide_id']}.h5"
            expected = {"is_round": cosines(path, ["round"]).mean(), "is_spindle": cosines(path, ["spindle"]).mean()}
            for answer in (first, second):
                assert answer["similarity"] == pytest.approx(expected[answer["answer"]], abs=1e-5)
            assert first["margin"] == pytest.approx(-second["margin"]) == first["similarity"] - second["similarity"]
            assert (first["preferred"], second["preferred"]) == (first["margin"] > 0, second["margin"] > 0)
        assert [a["answer"] for a in answers if a["preferred"]] == ["is_round", "is_spindle"] * 3

    def test_without_classes_there_is_no_predicted_class_and_no_table_of_patients(self, tower, cohort, tmp_path):
        (tmp_path / "one.csv").write_text("slide_id\ns00\n")
        questions = str(tmp_path / "questions.yaml")
        inputs = PredictInputs(cohort.features, cohort=tmp_path / "one.csv", questions=questions)
        predict(inputs, tmp_path / "out", PredictSettings(heatmaps=True))
        assert {row["predicted"] for row in rows(tmp_path / "out")} == {None}
        assert not (tmp_path / "out" / "patients.parquet").exists()
        assert len(list((tmp_path / "out" / "heatmaps").glob("*.jpg"))) == 1
        maps = read_attention(tmp_path / "out" / "attention" / "s00.h5")
        assert list(maps.texts) == ["shape=is_round", "shape=is_spindle"]
        page = (tmp_path / "out" / "report.html").read_text()
        assert "Answers to questions" in page
        assert "Predicted classes" not in page
        assert outcomes(predict(inputs, tmp_path / "out", PredictSettings(heatmaps=True))) == ["kept"]

    def test_another_wording_is_noticed(self, tower, inputs, tmp_path):
        inputs = replace(inputs, questions=str(tmp_path / "questions.yaml"))
        predict(inputs, tmp_path / "out", SHARE)
        (tmp_path / "questions.yaml").write_text(QUESTIONS.replace("very round", "normal and round"))
        assert outcomes(predict(inputs, tmp_path / "out", SHARE)) == ["done"] * 6

    def test_a_shipped_set_is_known_by_its_name(self, tower, cohort, tmp_path):
        facts = plan(PredictInputs(cohort.features, questions="lung"), tmp_path / "out", PredictSettings())
        assert "histologic_type" in facts["questions"]
        assert "classes" not in facts


def test_a_plan_counts_and_loads_nothing(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.predict.load_text_tower", None)
    facts = plan(inputs, tmp_path / "out", PredictSettings(max_tiles=10))
    assert (facts["slides"], facts["to_do"], facts["tiles_to_do"]) == (6, 6, 60)
    assert (facts["model"], facts["classes"]) == ("zero-shot", "round, spindle")
    assert not (tmp_path / "out").exists()


def test_the_command_needs_no_run(tower, cohort, tmp_path):
    options = ["--classes", str(cohort.classes), "--questions", str(tmp_path / "questions.yaml")]
    result = CliRunner().invoke(app, ["predict", str(cohort.features), *options, "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "Predictions" in result.output
    assert "is_spindle" in result.output
    again = [*options, "-o", str(tmp_path / "out"), "--dry-run", "--json"]
    result = CliRunner().invoke(app, ["predict", str(cohort.features), *again])
    assert json.loads(result.stdout)["to_do"] == 0


class TestBadInput:
    def refused(self, inputs, settings=PLAIN):
        with pytest.raises(SettingsError) as caught:
            predict(inputs, inputs.features.parent / "out", settings)
        assert caught.value.hint
        assert "\n" not in caught.value.message
        return caught.value

    def test_neither_run_nor_texts(self, cohort):
        assert "--classes or --questions" in self.refused(PredictInputs(cohort.features)).hint

    def test_features_without_a_joint_space_are_refused_with_the_encoders_that_have_one(self, inputs, tmp_path):
        plain = write_cohort(tmp_path / "plain", n_patients=2)
        error = self.refused(replace(inputs, features=plain.features, cohort=None))
        assert error.message == f"{plain.features}: features of toy, which share no space with texts"
        assert "conch" in error.hint
        assert "--run" in error.hint

    def test_features_of_another_space_than_the_tower_are_refused_with_both_names(self, tower, inputs):
        tower.space = "words 2"
        message = self.refused(inputs).message
        assert message == f"{inputs.features}: features of the space 'words 1', but the text tower is of 'words 2'"

    def test_features_of_another_width_than_the_texts(self, tower, inputs):
        tower.dim = 7
        assert "features of 24 channels, but texts have 7" in self.refused(inputs).message

    @pytest.mark.parametrize("where", ["class", "other", "question"])
    def test_a_text_that_is_too_long_is_counted_and_not_cut(self, tower, inputs, tmp_path, where):
        long = "round " * 21
        if where == "question":
            (tmp_path / "questions.yaml").write_text(QUESTIONS.replace("very round", long))
            inputs = replace(inputs, questions=str(tmp_path / "questions.yaml"))
        else:
            text = TEXTS.replace("spindle cells", long) if where == "class" else f"{TEXTS}other: [normal, {long}]\n"
            inputs.classes.write_text(text)
        message = self.refused(inputs).message
        assert "1 of " in message
        assert "more than the 20 tokens" in message
        assert "with 21" in message

    @pytest.mark.parametrize("text", ["round", "Round "])
    def test_two_classes_with_the_same_texts(self, tower, inputs, text):
        inputs.classes.write_text(f"classes: {{a: round, b: '{text}'}}\n")
        assert "the classes 'a' and 'b' have the same texts" in self.refused(inputs).message

    def test_two_classes_with_the_same_vector(self, tower, inputs):
        inputs.classes.write_text("classes: {a: round cells, b: round nuclei}\n")
        assert "the texts of 'a' and 'b' have the same vector" in self.refused(inputs).message

    def test_a_split_needs_a_run(self, inputs):
        assert "no test split without a run" in self.refused(inputs, PredictSettings("test")).message

    def test_a_question_set_without_answers(self, inputs, tmp_path):
        phrases = QUESTIONS[: QUESTIONS.index("  - id")] + QUESTIONS[QUESTIONS.index("  - {id") :]
        (tmp_path / "questions.yaml").write_text(phrases)
        error = self.refused(replace(inputs, questions=str(tmp_path / "questions.yaml")))
        assert "no question has answers to choose from" in error.message

    @pytest.mark.parametrize(
        "settings",
        [
            PredictSettings(pooling="mean"),
            PredictSettings(top_share=0.5),
            PredictSettings(top_min=1),
            PredictSettings(temperature=0.1),
        ],
    )
    def test_settings_that_a_run_does_not_use(self, inputs, tmp_path, settings):
        assert "not used with --run" in self.refused(replace(inputs, run=tmp_path), settings).message

    def test_questions_are_not_for_a_run(self, inputs, tmp_path):
        assert "questions: not used with --run" in self.refused(replace(inputs, run=tmp_path, questions="lung")).message

    def test_a_slide_of_another_encoder_or_a_damaged_one_fails_alone(self, tower, inputs, tmp_path):
        write_bag(inputs.features, "s01", np.ones((5, DIM)), encoder="other", fingerprint="9", space="other 9")
        (inputs.features / "s02.h5").write_bytes(b"")
        summary = predict(inputs, tmp_path / "out", SHARE)
        assert outcomes(summary) == ["done", "failed", "failed", "done", "done", "done"]
        assert not (tmp_path / "out" / "patients.parquet").exists()

    def test_a_repaired_file_of_a_slide_without_tiles_leaves_no_traceback(self, tower, inputs, tmp_path):
        write_bag(inputs.features, "s01", np.zeros((0, DIM)), space=SPACE)
        file, intact = inputs.features / "s01.h5", (inputs.features / "s01.h5").read_bytes()
        file.write_bytes(b"")
        assert outcomes(predict(inputs, tmp_path / "out", SHARE)).count("failed") == 1
        assert (tmp_path / "out" / "errors" / "s01.txt").exists()
        file.write_bytes(intact)
        assert outcomes(predict(inputs, tmp_path / "out", SHARE)) == ["kept"] * 5
        assert not (tmp_path / "out" / "errors" / "s01.txt").exists()

    def test_one_bad_file_beside_slides_without_tiles_is_named(self, tower, inputs):
        for slide in ("s00", "s01", "s02", "s03", "s04"):
            write_bag(inputs.features, slide, np.zeros((0, DIM)), space=SPACE)
        (inputs.features / "s05.h5").write_bytes(b"")
        with pytest.raises(ArtifactError, match=r"s05\.h5"):
            predict(inputs, inputs.features.parent / "out", PLAIN)

    def test_predictions_of_questions_alone_cannot_be_evaluated(self, tower, cohort, tmp_path):
        inputs = PredictInputs(cohort.features, cohort=cohort.table, questions=str(tmp_path / "questions.yaml"))
        predict(inputs, tmp_path / "out", PredictSettings())
        with pytest.raises(ArtifactError, match="no classes"):
            evaluate(EvaluateInputs([tmp_path / "out"]), EvaluateSettings(resamples=0))


def test_an_encoder_that_is_gone_is_named(inputs, tmp_path):
    with pytest.raises(EncoderError, match="toy: no such encoder"):
        predict(inputs, tmp_path / "out", PredictSettings())


OWN_ENCODER = """
import torch

class TileEncoder(torch.nn.Module):
    width, tile_size, mpp, input_size = 3, None, None, 8
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self, weights):
        super().__init__()

    def encode(self, batch):
        return batch.mean(dim=(2, 3))

class TextEncoder:
    context_length, logit_scale = 5, 10.0

    def __init__(self, weights):
        pass

    def n_tokens(self, texts):
        return [len(text.split()) for text in texts]

    def encode(self, texts):
        return torch.tensor([[text.count(color) for color in ("red", "green", "blue")] for text in texts]).float()
"""


def test_from_tiles_to_predictions_with_an_own_encoder(tmp_path):
    tiles = tile_slides(tmp_path, ["a"])  # pink tissue
    own = tmp_path / "own.py"
    own.write_text(OWN_ENCODER)
    embed(EmbedInputs(tiles), tmp_path / "features", EmbedSettings(encoder=str(own)))
    (tmp_path / "classes.yaml").write_text("classes: {warm: red, cold: green}\n")
    inputs = PredictInputs(tmp_path / "features", classes=tmp_path / "classes.yaml")
    predict(inputs, tmp_path / "out", PLAIN)
    assert [row["predicted"] for row in rows(tmp_path / "out")] == ["warm"]
    own.write_text(OWN_ENCODER + "# another file\n")
    (tmp_path / "classes.yaml").write_text("classes: {warm: red, cold: blue}\n")
    with pytest.raises(SettingsError, match=r"features of the space 'own\.py \w+', but the text tower is of 'own\.py "):
        predict(inputs, tmp_path / "out", PLAIN)
