"""`five train --text-model encoder`: questions and classes are read by the text tower of the image encoder."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.core.attention_file import read_attention
from pipelines.core.errors import ArtifactError, SettingsError
from pipelines.core.feature_file import read_bag
from pipelines.core.schemas import PREDICTIONS
from pipelines.core.settings import PredictSettings, TrainSettings
from pipelines.model.data.bags import BagFile, BagReader
from pipelines.model.networks.checkpoint import load_model
from pipelines.predict import PredictInputs, predict
from pipelines.train import TrainInputs, plan, train
from tests.synthetic_features import CLASSES, write_bag, write_cohort
from tests.text_towers import WordTower

SPACE = "words 1"
SETTINGS = TrainSettings(text_model="encoder", val_fraction=0, test_fraction=0.5)
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
    with pytest.raises(ArtifactError, match="features of the space 'words 1', but the text tower is of 'words 2'"):
        train(inputs, tmp_path / "run", SETTINGS)


@pytest.mark.parametrize(
    "settings", [{"model": "five-fusion", "text_model": "encoder"}, {"text_weights": "weights.pt"}], ids=str
)
def test_settings_that_need_another_text_model_are_refused(settings):
    with pytest.raises(SettingsError, match="text tower"):
        TrainSettings(**settings)
