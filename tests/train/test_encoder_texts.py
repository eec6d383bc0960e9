"""`five train --text-model encoder`: questions and classes are read by the text tower of the image encoder."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.core.attention_file import read_attention
from pipelines.core.batch import Outcome
from pipelines.core.errors import SettingsError
from pipelines.core.feature_file import read_bag
from pipelines.core.question_files import write_questions
from pipelines.core.questions import AllowedAnswer, Question, QuestionSet
from pipelines.core.run_manifest import RunManifest
from pipelines.core.schemas import ANSWERS, PREDICTIONS
from pipelines.core.settings import PredictSettings, TrainSettings
from pipelines.model.data.bags import BagFile, BagReader
from pipelines.model.networks.checkpoint import load_model
from pipelines.predict import PredictInputs, predict
from pipelines.train import TrainInputs, plan, train
from tests.synthetic_features import ASKED, CLASSES, QUESTIONS, ask_otherwise, write_bag, write_cohort
from tests.text_towers import WordTower
from tests.training_runs import last

SPACE = "words 1"
SETTINGS = TrainSettings(text_model="encoder", val_fraction=0, test_fraction=0.5)
ALL = replace(SETTINGS, test_fraction=0)
LABELS = replace(SETTINGS, regime="finetune")


@pytest.fixture
def tower(monkeypatch):
    """Make both commands use a tower whose words are channels of the features."""
    tower = WordTower(["round", "spindle", "margins", "mucin"])
    for stage in ("train", "predict"):
        monkeypatch.setattr(f"pipelines.{stage}.find_preset", lambda name: name)
        monkeypatch.setattr(f"pipelines.{stage}.load_text_tower", lambda *_, **__: tower)
    return tower


@pytest.fixture
def cohort(tmp_path):
    """Return a cohort in which channel 0 is raised in a third of the tiles of round slides, channel 1 in spindle."""
    return write_cohort(tmp_path / "cohort", space=SPACE)


@pytest.fixture
def described(cohort, tower, tmp_path):
    inputs = TrainInputs(cohort.features, cohort.table, cohort.descriptions)
    train(inputs, tmp_path / "run", SETTINGS)
    return tmp_path / "run"


def predictions(cohort, run, out):
    predict(PredictInputs(cohort.features, run, cohort.table, cohort.classes), out, PredictSettings())
    return {row["slide_id"]: row for row in PREDICTIONS.read_rows(out / "predictions.parquet")}


def n_right(rows, split="test"):
    chosen = [row for row in rows.values() if row["split"] == split]
    return sum(row["predicted"] == row["label"] for row in chosen), len(chosen)


def test_classes_are_predicted_from_descriptions_and_texts(cohort, described, tmp_path):
    right, number = n_right(predictions(cohort, described, tmp_path / "out"))
    assert (right, number) == (12, 12)


def test_the_question_attends_to_the_tiles_that_look_like_its_answers(cohort, described, tmp_path):
    correlations = []
    for slide, row in predictions(cohort, described, tmp_path / "out").items():
        maps = read_attention(tmp_path / "out" / "attention" / f"{slide}.h5")
        growth = maps.weights[list(maps.prompts).index("growth")]
        similar = read_bag(cohort.features / f"{slide}.h5").features[:, 0 if row["label"] == "round" else 1]
        correlations.append(np.corrcoef(growth, similar)[0, 1])
    assert np.mean(correlations) > 0.5


def test_what_the_tiles_add_sums_to_the_logit(cohort, tower, described):
    model = load_model(described, tower=lambda: tower)
    classes = model.encode_classes({name: [text] for name, text in CLASSES.items()})
    bag = BagReader().evaluation(
        BagFile("s03", cohort.features / "s03.h5", len(read_bag(cohort.features / "s03.h5").coords)), 99
    )
    expected = model.logits(model.encode_bags([bag], model.encode_prompts()), classes)[0]
    torch.testing.assert_close(model.contributions(bag, classes).sum(dim=1), expected, atol=1e-4, rtol=1e-4)


def test_one_label_per_class_is_enough_where_the_texts_know_the_classes(cohort, tower, tmp_path):
    inputs = TrainInputs(cohort.features, cohort.table, classes=cohort.classes)
    train(inputs, tmp_path / "run", replace(LABELS, shots=1))
    right, number = n_right(predictions(cohort, tmp_path / "run", tmp_path / "out"))
    assert (right, number) == (12, 12)


def test_descriptions_then_labels(cohort, described, tmp_path):
    inputs = TrainInputs(cohort.features, cohort.table, classes=cohort.classes, init=described)
    train(inputs, tmp_path / "tuned", LABELS)
    assert n_right(predictions(cohort, tmp_path / "tuned", tmp_path / "out")) == (12, 12)


def test_what_the_texts_say_does_not_count_where_the_reports_contradict_it(cohort, tower, tmp_path):
    swapped = WordTower(["spindle", "round", "margins", "mucin"])  # the texts are wrong about every tile
    tower.words = swapped.words
    inputs = TrainInputs(cohort.features, cohort.table, cohort.descriptions)
    train(inputs, tmp_path / "run", SETTINGS)
    right, number = n_right(predictions(cohort, tmp_path / "run", tmp_path / "out"))
    assert right >= number - 1


def test_a_plan_names_no_trainable_weights(cohort, tower, tmp_path):
    inputs = TrainInputs(cohort.features, cohort.table, cohort.descriptions)
    assert plan(inputs, tmp_path / "run", SETTINGS)["frozen_parameters"] == 0


def test_the_length_of_the_features_does_not_matter(cohort, described, tower, tmp_path):
    long = write_cohort(tmp_path / "long", space=SPACE)
    for path in long.features.glob("*.h5"):
        features = read_bag(path).features.astype(float)
        lengths = np.linspace(0.5, 8, len(features))[:, None]  # some tiles are 16 times as long as others
        write_bag(long.features, path.stem, features * lengths, space=SPACE)
    train(TrainInputs(long.features, long.table, long.descriptions), tmp_path / "other", SETTINGS)
    one = predictions(cohort, described, tmp_path / "one")
    two = predictions(long, tmp_path / "other", tmp_path / "two")
    for slide, row in one.items():
        assert two[slide]["prob_round"] == pytest.approx(row["prob_round"], abs=0.01)


def test_features_that_share_no_space_with_texts_are_refused(tower, tmp_path):
    plain = write_cohort(tmp_path / "plain")
    with pytest.raises(SettingsError, match="features of toy, which share no space with texts") as caught:
        train(TrainInputs(plain.features, plain.table, plain.descriptions), tmp_path / "run", SETTINGS)
    assert "text tower" in caught.value.hint


def test_the_tower_of_other_weights_is_refused(cohort, tower, tmp_path):
    tower.space = "words 2"
    inputs = TrainInputs(cohort.features, cohort.table, cohort.descriptions)
    with pytest.raises(SettingsError, match="features of the space 'words 1', but the text tower is of 'words 2'"):
        train(inputs, tmp_path / "run", SETTINGS)


def test_weights_that_moved_change_nothing(cohort, tower, tmp_path):
    inputs = TrainInputs(cohort.features, cohort.table, cohort.descriptions)
    train(inputs, tmp_path / "run", replace(SETTINGS, text_weights=tmp_path / "before.pt"))
    again = train(inputs, tmp_path / "run", replace(SETTINGS, text_weights=tmp_path / "after.pt"))
    assert [result.outcome for result in again.results] == [Outcome.KEPT]


class TestLongTexts:
    LONG = "round " * 21

    def test_of_a_class_are_named_before_an_earlier_run_is_touched(self, cohort, tower, tmp_path):
        inputs = TrainInputs(cohort.features, cohort.table, classes=cohort.classes)
        train(inputs, tmp_path / "run", LABELS)
        cohort.classes.write_text(f"classes: {{round: '{self.LONG}', spindle: spindle cells}}\n")
        message = r"classes\.yaml: 1 of 2 texts have more than the 20 tokens .* 'round' with 21"
        for stage in (plan, train):
            with pytest.raises(SettingsError, match=message):
                stage(inputs, tmp_path / "run", LABELS)
        RunManifest.read(tmp_path / "run").verified("model.safetensors")

    def test_of_a_class_are_named_when_a_run_predicts(self, cohort, described, tmp_path):
        cohort.classes.write_text(f"classes: {{round: '{self.LONG}', spindle: spindle cells}}\n")
        with pytest.raises(SettingsError, match=r"classes\.yaml: 1 of 2 texts .* 'round' with 21"):
            predictions(cohort, described, tmp_path / "out")

    def test_in_the_wordings_of_a_question_are_named(self, cohort, tower, tmp_path):
        values = {
            name: AllowedAnswer(meaning=name, phrase=phrase, wordings=wordings)
            for name, phrase, wordings in (
                ("rings", "rings of round cells", [self.LONG]),
                ("bundles", "bundles of spindle cells", []),
            )
        }
        choice = Question(id="growth", question="growth?", prompt="growth", kind="choice", values=values)
        asked = QuestionSet(name="tiny", title="Tiny", questions=(choice, *QUESTIONS.questions[1:]))
        write_questions(asked, cohort.descriptions / "questions.yaml")
        ask_otherwise(cohort.descriptions, "", "")
        inputs = TrainInputs(cohort.features, cohort.table, cohort.descriptions)
        with pytest.raises(SettingsError, match=r"questions\.yaml: 1 of 3 texts .* 'growth=rings' with 21"):
            train(inputs, tmp_path / "run", SETTINGS)

    def test_that_a_report_says_are_left_out_counted_and_not_shown(self, cohort, tower, tmp_path, caplog):
        path = cohort.descriptions / "answers.parquet"
        answers = ANSWERS.read_rows(path)
        (first,) = (a for a in answers if (a["patient_id"], a["question_id"]) == ("p00", "growth"))
        first["description"] = "secret " * 21
        ANSWERS.write(path, answers, ASKED)
        train(TrainInputs(cohort.features, cohort.table, cohort.descriptions), tmp_path / "run", ALL)
        assert "1 of 72 answers in words of the report are too long for the text tower" in caplog.text
        assert "secret" not in caplog.text
        assert last(tmp_path / "run", "train", "explained_growth") > 0.5


class TestClassesThatCannotBeDistinguished:
    def test_by_their_texts(self, cohort, described, tmp_path, caplog):
        cohort.classes.write_text("classes: {a: round cells, b: round nuclei}\n")
        rows = predictions(cohort, described, tmp_path / "out")
        assert {row["prob_a"] for row in rows.values()} == {0.5}
        assert "classes.yaml: the model cannot distinguish these classes" in caplog.text

    def test_because_too_few_reports_answer_a_question(self, tower, tmp_path, caplog):
        few = write_cohort(tmp_path / "few", n_patients=6, space=SPACE)
        train(TrainInputs(few.features, few.table, few.descriptions), tmp_path / "run", ALL)
        assert "no question could be fitted" in caplog.text
        predictions(few, tmp_path / "run", tmp_path / "out")
        assert "the model cannot distinguish these classes" in caplog.text

    def test_labels_do_not_turn_a_question_of_the_reports_into_one_about_classes(self, tower, tmp_path):
        few = write_cohort(tmp_path / "few", n_patients=6, space=SPACE)
        train(TrainInputs(few.features, few.table, few.descriptions), tmp_path / "run", ALL)
        inputs = TrainInputs(few.features, few.table, classes=few.classes, init=tmp_path / "run")
        train(inputs, tmp_path / "tuned", replace(LABELS, test_fraction=0))
        assert not load_model(tmp_path / "tuned", tower=lambda: tower).mixture.any()


def test_descriptions_that_finetune_would_ignore_are_refused(cohort, tower, tmp_path):
    inputs = TrainInputs(cohort.features, cohort.table, cohort.descriptions, cohort.classes)
    with pytest.raises(SettingsError, match="finetune does not learn from") as caught:
        train(inputs, tmp_path / "run", LABELS)
    assert "--init" in caught.value.hint


def test_a_run_that_starts_from_other_classes_looks_for_its_own(cohort, tower, tmp_path):
    own = cohort.classes.read_text()
    cohort.classes.write_text("classes: {round: margins, spindle: mucin}\n")  # the tiles do not show these
    inputs = TrainInputs(cohort.features, cohort.table, classes=cohort.classes)
    train(inputs, tmp_path / "first", replace(LABELS, shots=1))
    cohort.classes.write_text(own)
    train(replace(inputs, init=tmp_path / "first"), tmp_path / "run", replace(LABELS, shots=1))
    assert n_right(predictions(cohort, tmp_path / "run", tmp_path / "out")) == (12, 12)


@pytest.mark.parametrize(
    "settings", [{"model": "five-fusion", "text_model": "encoder"}, {"text_weights": "weights.pt"}], ids=str
)
def test_settings_that_need_another_text_model_are_refused(settings):
    with pytest.raises(SettingsError, match="text tower"):
        TrainSettings(**settings)
