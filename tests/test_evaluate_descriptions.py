"""Descriptions against reference answers, by the stage and by the command."""

import csv
import json

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from fivecli.app import app
from pipelines.core.errors import ArtifactError, CohortError, SettingsError
from pipelines.core.settings import DescribeReportsSettings, EvaluateDescriptionsSettings
from pipelines.describe_reports import DescribeReportsInputs, describe_reports
from pipelines.evaluate_descriptions import EvaluateDescriptionsInputs, evaluate_descriptions

REPORTS = {
    ("r1", "p1"): "Carcinoma, poorly differentiated. Margins are free of tumor. Solid nests and sheets.",
    ("r2", "p2"): "Carcinoma, well differentiated. The margin is involved by tumor.",
    ("r3", "p2"): "Margins are free of tumor. The visceral pleura is invaded.",
    ("r4", "p4"): "The specimen was lost in the mail.",
}
NO_INTERVALS = EvaluateDescriptionsSettings(resamples=0)


@pytest.fixture(scope="module")
def descriptions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("descriptions")
    with (folder / "reports.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("report_id", "patient_id", "text"), *((*ids, t) for ids, t in REPORTS.items())])
    settings = DescribeReportsSettings(questions="lung-histology")
    describe_reports(DescribeReportsInputs(folder / "reports.csv"), folder / "out", settings)
    return folder / "out"


def gold(folder, text):
    path = folder / "gold.csv"
    path.write_text(text)
    return path


def by_question(found):
    return {one.question: one for one in found.questions}


def test_answers_are_compared_by_report(descriptions, tmp_path):
    table = gold(
        tmp_path, "report_id,margins,pleural_invasion\nr1,clear,\nr2,involved,\nr3,involved,present\nr4,unknown,\n"
    )
    found = evaluate_descriptions(EvaluateDescriptionsInputs(descriptions, table), NO_INTERVALS)
    margins = by_question(found)["margins"]
    assert (found.key, margins.n, margins.n_patients, margins.accuracy.value) == ("report_id", 4, 3, 0.75)
    assert margins.categories == ("clear", "involved", "unknown")
    assert margins.confusion == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert by_question(found)["pleural_invasion"].n == 1
    assert "differentiation" in found.not_judged


def test_by_patient_the_first_report_that_answers_counts(descriptions, tmp_path):
    table = gold(tmp_path, "patient_id,margins,pleural_invasion\np1,clear,unknown\np2,involved,present\n")
    found = evaluate_descriptions(EvaluateDescriptionsInputs(descriptions, table), NO_INTERVALS)
    assert found.key == "patient_id"
    assert [one.accuracy.value for one in found.questions] == [1.0, 1.0]


def test_of_a_phrase_only_counts_whether_something_is_said(descriptions, tmp_path):
    table = gold(tmp_path, "report_id,growth_pattern\nr1,solid\nr4,unknown\nr2,acinar\n")
    found = by_question(evaluate_descriptions(EvaluateDescriptionsInputs(descriptions, table), NO_INTERVALS))[
        "growth_pattern"
    ]
    assert found.categories == ("stated", "unknown")
    assert found.confusion == [[1, 1], [0, 1]]


def test_rows_that_were_not_described_are_counted(descriptions, tmp_path):
    table = gold(tmp_path, "report_id,margins\nr1,clear\nr99,clear\n")
    assert evaluate_descriptions(EvaluateDescriptionsInputs(descriptions, table), NO_INTERVALS).not_described == 1


def test_columns_may_have_a_prefix_and_values_capitals(descriptions, tmp_path):
    table = gold(tmp_path, "report_id,category_margins\nr1,Clear\n")
    settings = EvaluateDescriptionsSettings(column_prefix="category_", resamples=0)
    assert (
        evaluate_descriptions(EvaluateDescriptionsInputs(descriptions, table), settings).questions[0].accuracy.value
        == 1.0
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("margins\nclear\n", "no column report_id or patient_id"),
        ("report_id,margins\nr1,secret words\n", "column margins of report_id 'r1': not an answer to margins"),
        ("report_id,margin\nr1,clear\n", "no reference answer to any question"),
        ("report_id,margins\nr99,clear\n", "none of its 1 values of report_id is among the 4 described"),
        ("report_id,margins\nr1,clear\n r1,involved\n", "report_id 'r1' appears twice"),
        ("report_id,margins\n", "no column"),
    ],
    ids=["no id", "not a value", "no column", "no report", "twice", "no rows"],
)
def test_a_table_that_cannot_be_used_is_named_with_the_reason(descriptions, tmp_path, text, said):
    with pytest.raises(CohortError, match=said) as caught:
        evaluate_descriptions(EvaluateDescriptionsInputs(descriptions, gold(tmp_path, text)), NO_INTERVALS)
    assert "gold.csv" in caught.value.message
    assert "secret" not in caught.value.message + caught.value.hint
    assert caught.value.hint


def test_a_folder_without_descriptions_is_distinguished_from_a_missing_question_set(tmp_path):
    with pytest.raises(ArtifactError, match=r"answers\.parquet") as caught:
        evaluate_descriptions(
            EvaluateDescriptionsInputs(tmp_path, gold(tmp_path, "report_id,margins\nr1,clear\n")), NO_INTERVALS
        )
    assert "five describe-reports" in caught.value.hint


def test_precision_and_recall_are_given_per_answer(descriptions, tmp_path):
    table = gold(tmp_path, "report_id,margins\nr1,clear\nr2,involved\nr3,involved\nr4,unknown\n")
    (margins,) = evaluate_descriptions(EvaluateDescriptionsInputs(descriptions, table), NO_INTERVALS).questions
    found = {
        one.answer: (one.n_reference, one.n_given, one.precision.value, one.recall.value) for one in margins.answers
    }
    assert found == {"clear": (1, 2, 0.5, 1.0), "unknown": (1, 1, 1.0, 1.0), "involved": (2, 1, 1.0, 0.5)}
    assert list(found)[-1] == "involved"


def describe(folder, texts, questions="lung-histology", **settings):
    folder.mkdir()
    with (folder / "reports.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("report_id", "text"), *texts.items()])
    settings = DescribeReportsSettings(questions=questions, **settings)
    describe_reports(DescribeReportsInputs(folder / "reports.csv"), folder / "out", settings)
    return folder / "out"


def test_two_folders_are_compared_by_report(descriptions, tmp_path):
    other = describe(tmp_path / "other", {"r1": "Margins are free of tumor.", "r2": "Margins are free.", "r9": "R1"})
    inputs = EvaluateDescriptionsInputs(descriptions, other=other)
    found = evaluate_descriptions(inputs, NO_INTERVALS)
    margins = by_question(found)["margins"]
    assert (found.key, margins.n, found.not_described) == ("report_id", 2, 1)
    assert margins.categories == ("clear", "involved")
    assert margins.confusion == [[1, 1], [0, 0]]
    assert by_question(found)["growth_pattern"].n == 2
    assert found.not_judged == ()


def test_a_folder_agrees_with_itself(descriptions):
    found = evaluate_descriptions(EvaluateDescriptionsInputs(descriptions, other=descriptions), NO_INTERVALS)
    assert {one.accuracy.value for one in found.questions} == {1.0}
    assert len(found.questions) == len(by_question(found)) == 8


def test_only_questions_with_the_same_answers_are_compared(descriptions, tmp_path):
    questions = tmp_path / "q.yaml"
    questions.write_text(
        "name: mine\ntitle: Mine\nextends: lung-paper\nquestions:\n- {id: extent, question: How far, prompt: extent, "
        "kind: phrase}\n"
    )
    other = describe(tmp_path / "other", {"r1": "Margins are free of tumor."}, str(questions))
    found = evaluate_descriptions(EvaluateDescriptionsInputs(descriptions, other=other), NO_INTERVALS)
    assert set(found.not_judged) == {"histologic_type", "growth_pattern"}


def test_reports_that_failed_in_the_other_folder_are_not_judged(descriptions, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "reports.jsonl").write_text('{"report_id": "r1", "text": "R0"}\n{"report_id": "r2", "body text": "R1"}\n')
    settings = DescribeReportsSettings(questions="lung-histology")
    describe_reports(DescribeReportsInputs(folder / "reports.jsonl"), folder / "out", settings)
    found = evaluate_descriptions(EvaluateDescriptionsInputs(descriptions, other=folder / "out"), NO_INTERVALS)
    assert by_question(found)["margins"].n == 1


@pytest.mark.parametrize("sources", [{}, {"gold": "g.csv", "other": "d"}])
def test_there_is_one_source_of_reference_answers(descriptions, sources):
    with pytest.raises(SettingsError, match="one source") as caught:
        evaluate_descriptions(EvaluateDescriptionsInputs(descriptions, **sources), NO_INTERVALS)
    assert "--gold" in caught.value.hint
    assert "--other" in caught.value.hint


def run(*arguments):
    return CliRunner().invoke(app, ["evaluate-descriptions", *map(str, arguments)])


def test_the_command_shows_figures_and_confusion(descriptions, tmp_path):
    result = run(descriptions, "--gold", gold(tmp_path, "report_id,margins\nr1,clear\nr2,clear\n"))
    assert result.exit_code == 0, result.output
    assert "0.500" in result.stdout
    assert "reference / given" in result.stdout
    assert "Answers, rare ones first" in result.stdout


def test_the_command_compares_two_folders(descriptions):
    result = run(descriptions, "--other", descriptions)
    assert result.exit_code == 0, result.output
    assert "Agreement with the other folder" in result.stdout


def test_the_command_prints_json_and_writes_tables(descriptions, tmp_path):
    table = gold(tmp_path, "report_id,margins\nr1,clear\nr2,clear\n")
    result = run(descriptions, "--gold", table, "--json", "-o", tmp_path / "metrics.csv")
    assert json.loads(result.stdout)["questions"][0]["accuracy"]["value"] == 0.5
    (row,) = csv.DictReader((tmp_path / "metrics.csv").open())
    assert (row["question"], row["accuracy"], row["n"]) == ("margins", "0.5", "2")
    first, second = csv.DictReader((tmp_path / "metrics.answers.csv").open())
    assert (first["question"], first["answer"], first["n_given"], first["precision"]) == (
        "margins",
        "involved",
        "1",
        "0",
    )
    assert (second["answer"], second["recall"]) == ("clear", "0.5")
    assert run(descriptions, "--gold", table, "-o", tmp_path / "figures.parquet").exit_code == 0
    assert pq.read_table(tmp_path / "figures.parquet").to_pylist()[0]["accuracy"] == 0.5
    result = run(descriptions, "--gold", table, "-o", tmp_path / "figures.xlsx")
    assert isinstance(result.exception, SettingsError)


def test_the_folder_is_descriptions_unless_named(descriptions, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "descriptions").symlink_to(descriptions)
    assert run("--gold", gold(tmp_path, "report_id,margins\nr1,clear\n")).exit_code == 0


def test_the_help_shows_an_example():
    result = run("--help")
    assert result.exit_code == 0
    assert "five evaluate-descriptions descriptions --gold gold.csv" in result.output


@pytest.mark.parametrize("word", ["NA", "n/a", "nan", "None", "null", " "])
def test_words_for_a_missing_value_are_not_judged(descriptions, tmp_path, word):
    """A phrase question such as growth_pattern accepts any words, so these would count as an answer."""
    table = gold(tmp_path, f"report_id,margins,growth_pattern\nr1,clear,{word}\nr2,{word},solid\n")
    found = by_question(evaluate_descriptions(EvaluateDescriptionsInputs(descriptions, table), NO_INTERVALS))
    assert (found["margins"].n, found["growth_pattern"].n) == (1, 1)


def test_spelling_of_columns_does_not_matter_and_the_others_are_named(descriptions, tmp_path, caplog):
    table = gold(tmp_path, "Report ID,Pleural Invasion,margin\nr3,present,clear\n")
    found = by_question(evaluate_descriptions(EvaluateDescriptionsInputs(descriptions, table), NO_INTERVALS))
    assert found.keys() == {"pleural_invasion"}
    assert caplog.messages == [f"{table}: columns that are not read: 'margin' (did you mean margins?)"]
