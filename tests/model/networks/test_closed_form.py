from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.core.errors import SettingsError
from pipelines.core.schemas import PREDICTIONS
from pipelines.core.settings import PredictSettings, TrainSettings
from pipelines.core.settings.model import ModelSettings
from pipelines.model.data.bags import BagFile, TileBag
from pipelines.model.data.batches import Data
from pipelines.model.networks.bag_model import ModelSpec
from pipelines.model.networks.closed_form import LinearFive
from pipelines.model.training.closed_form_solvers import BIAS_PENALTY, CLASS_PENALTY, TEXT_PENALTY
from pipelines.model.training.fit_closed_form import fit_closed_form
from pipelines.model.training.objectives import ClassMatching, DescriptionMatching
from pipelines.predict import PredictInputs, predict
from pipelines.train import TrainInputs, train
from tests.synthetic_features import ANSWERS_OF, CLASSES, QUESTIONS, write_cohort

C = 5
SPEC = ModelSpec(C, "toy", "01", 224, 0.5, {q.id: q.prompt for q in QUESTIONS.questions})
TEXTS = {name: [text] for name, text in CLASSES.items()}


@pytest.fixture
def make(tiny_bert):
    def build(classes=()):
        return LinearFive(
            ModelSettings(model="five-linear", text_model=str(tiny_bert)),
            replace(SPEC, classes=list(classes)),
        ).eval()

    return build


class Bags:
    """Slides with one tile each, so that the vector of a slide is its tile."""

    def __init__(self, vectors):
        self.vectors = {f"s{number}": vector for number, vector in enumerate(vectors)}
        self.files = [BagFile(name, None, 1) for name in self.vectors]

    def evaluation(self, file, _):
        return bag(self.vectors[file.slide_id][None], file.slide_id)


def bag(features, name="s"):
    n_tiles = len(features)
    corners = np.zeros((n_tiles, 2), np.int64)
    return TileBag(name, features, corners, 448, torch.zeros(n_tiles, 2), torch.zeros(n_tiles), 1.0)


def data(bags):
    return Data(bags.files, [], bags, strata=[])


def two_kinds(n, seed=0):
    """Return slides that alternate between two classes, which differ in the first channel, and their classes."""
    vectors = torch.randn(n, C, generator=torch.Generator().manual_seed(seed))
    labels = [("round", "spindle")[number % 2] for number in range(n)]
    vectors[:, 0] += torch.tensor([2.0 if label == "round" else -2.0 for label in labels])
    return Bags(vectors), {f"s{number}": label for number, label in enumerate(labels)}


def descriptions(labels):
    answers = {name: ANSWERS_OF[label] for name, label in labels.items()}
    return DescriptionMatching(answers, list(answers.values()), TrainSettings())


def test_the_map_to_texts_is_a_ridge_regression_onto_answers_minus_their_mean(make):
    model = make()
    bags, labels = two_kinds(12)
    fit_closed_form(model, descriptions(labels), data(bags), max_tiles=10)
    x = torch.stack(list(bags.vectors.values()))
    x = x - x.mean(dim=0)
    x = (x / x.square().sum(dim=1).mean().sqrt()).double()
    y = torch.zeros(12, model.text.width, dtype=torch.float64)
    for question in range(3):
        vectors = model.encode_texts([ANSWERS_OF[label][question] for label in labels.values()]).double()
        y += vectors - vectors.mean(dim=0)
    expected = torch.linalg.solve(x.T @ x + TEXT_PENALTY * torch.eye(C, dtype=torch.float64), x.T @ y).T
    torch.testing.assert_close(model.to_text.double(), expected, atol=1e-6, rtol=1e-4)


def test_an_unknown_answer_adds_nothing(make):
    bags, labels = two_kinds(12)
    known, silent = make(), make()
    first = {name: (ANSWERS_OF[label][0], None, None) for name, label in labels.items()}
    shared = {name: (ANSWERS_OF[label][0], "margins are clear", None) for name, label in labels.items()}
    for model, answers in ((known, shared), (silent, first)):
        objective = DescriptionMatching(answers, list(answers.values()), TrainSettings())
        fit_closed_form(model, objective, data(bags), max_tiles=10)
    torch.testing.assert_close(known.to_text, silent.to_text, atol=1e-6, rtol=1e-4)


@pytest.fixture
def pretrained(make):
    model = make()
    bags, labels = two_kinds(40)
    fit_closed_form(model, descriptions(labels), data(bags), max_tiles=10)
    return model


def accuracy(model, seed):
    bags, labels = two_kinds(40, seed)
    prompts = model.encode_prompts()
    vectors = model.encode_bags([bags.evaluation(file, 1) for file in bags.files], prompts)
    predicted = model.logits(vectors, model.encode_classes(TEXTS)).argmax(dim=1).tolist()
    return np.mean([list(TEXTS)[index] == label for index, label in zip(predicted, labels.values(), strict=True)])


def test_after_training_on_descriptions_class_texts_are_enough_to_predict(pretrained):
    assert accuracy(pretrained, seed=1) > 0.85


def test_logits_of_two_classes_differ_by_one_in_the_root_mean_square(pretrained):
    bags, _ = two_kinds(40)
    vectors = pretrained.encode_bags([bags.evaluation(file, 1) for file in bags.files], pretrained.encode_prompts())
    logits = pretrained.logits(vectors, pretrained.encode_classes(TEXTS))
    assert (logits[:, 0] - logits[:, 1]).square().mean().sqrt().item() == pytest.approx(1, rel=1e-4)


def tuned(make, pretrained, bags, labels):
    model = make(CLASSES)
    model.load_state_dict(pretrained.state_dict(), strict=False)
    fit_closed_form(model, ClassMatching(TEXTS, labels), data(bags), max_tiles=10)
    return model


def test_class_weights_minimize_the_penalized_loss(make, pretrained):
    bags, labels = two_kinds(8, seed=3)
    model = tuned(make, pretrained, bags, labels)
    x = model.standardized(torch.stack(list(bags.vectors.values()))).double()
    rows = model.encode_classes(TEXTS).double()
    offset = (x @ model.to_text.T.double()) @ rows[:, : model.text.width].T
    targets = torch.tensor([list(TEXTS).index(label) for label in labels.values()])
    weights = model.weights.double().requires_grad_()
    biases = model.biases.double().requires_grad_()
    loss = torch.nn.functional.cross_entropy(offset + x @ weights.T + biases, targets, reduction="sum")
    loss = loss + CLASS_PENALTY / 2 * weights.square().sum() + BIAS_PENALTY / 2 * biases.square().sum()
    loss.backward()
    assert weights.grad.abs().max() < 1e-4
    assert biases.grad.abs().max() < 1e-4


def test_labels_without_information_leave_the_class_texts_in_charge(make, pretrained):
    average = pretrained.centre.expand(2, C)  # two equal slides, one of each class
    model = tuned(make, pretrained, Bags(average), {"s0": "round", "s1": "spindle"})
    assert model.weights.abs().max() < 1e-3
    assert accuracy(model, seed=1) == accuracy(pretrained, seed=1)


def test_labels_override_class_texts_that_are_wrong(make, pretrained):
    bags, labels = two_kinds(40)
    swapped = {name: {"round": "spindle", "spindle": "round"}[label] for name, label in labels.items()}
    assert accuracy(tuned(make, pretrained, bags, swapped), seed=1) < 0.15


def test_classes_that_the_run_does_not_know_are_refused(make, pretrained):
    model = tuned(make, pretrained, *two_kinds(8))
    with pytest.raises(SettingsError, match="trained on round, spindle"):
        model.encode_classes({"a": ["x"], "b": ["y"]})


@pytest.mark.parametrize("block", [3, 7, 100])
def test_the_log_mean_exp_of_the_tiles_does_not_depend_on_the_block_size(make, monkeypatch, block):
    monkeypatch.setattr("pipelines.model.networks.fusion.BLOCK", block)
    model = make()
    model.scale_features(torch.arange(5.0), torch.full((5,), 2.0))
    tiles = torch.randn(10, C, generator=torch.Generator().manual_seed(4))
    scaled = (tiles.double() - torch.arange(5.0)) / 2
    expected = (2 * scaled).exp().mean(dim=0).log() / 2
    with torch.no_grad():  # with gradients there is only one block
        pooled = model.pooled(bag(tiles))
    torch.testing.assert_close(pooled.double(), expected, atol=1e-5, rtol=1e-4)


def test_there_are_no_attention_maps(pretrained):
    vector, maps = pretrained.attend(bag(torch.zeros(6, C)), pretrained.encode_prompts())
    assert pretrained.prompt_names == ()
    assert maps.shape == (0, 6)
    assert vector.shape == (1, pretrained.vector_width)


@pytest.mark.slow
def test_five_train_and_five_predict_run_it(tiny_bert, tmp_path):
    cohort = write_cohort(tmp_path / "cohort")
    settings = TrainSettings(model="five-linear", text_model=str(tiny_bert))
    train(TrainInputs(cohort.features, cohort.table, cohort.descriptions), tmp_path / "pre", settings)
    tuning = TrainInputs(cohort.features, cohort.table, classes=cohort.classes, init=tmp_path / "pre")
    train(tuning, tmp_path / "tuned", TrainSettings(regime="finetune", shots=2))
    for run, classes in (("pre", cohort.classes), ("tuned", None)):
        inputs = PredictInputs(cohort.features, tmp_path / run, cohort.table, classes)
        summary = predict(inputs, tmp_path / f"{run}-out", PredictSettings("test"))
        assert summary.counts["done"] == 6
        rows = PREDICTIONS.read_rows(tmp_path / f"{run}-out" / "predictions.parquet")
        assert np.mean([row["predicted"] == row["label"] for row in rows]) >= 5 / 6
