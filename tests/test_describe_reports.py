"""The stage: answers have quotes, finished reports are kept, and failed ones are retried."""

import stat

import pytest

from pipelines.core.errors import ArtifactError, BackendError, ChangedSettingsError, CohortError
from pipelines.core.locks import item_lock
from pipelines.core.question_files import load_questions
from pipelines.core.resources import DescribeReportsResources
from pipelines.core.schemas import DESCRIBED_REPORTS
from pipelines.core.selection import Selection, Shard
from pipelines.core.settings import DescribeReportsSettings
from pipelines.describe_reports import DescribeReportsInputs, describe_reports
from tests.describing import (
    REPLY,
    RULES,
    SECRET,
    SERVER,
    TEXTS,
    answers,
    describe_first_report,
    lung_reply,
    outcomes,
    reports_of,
    write_table,
)
from tests.reports.chat_server import PROMPT_TOKENS, chat_server, completion


@pytest.fixture
def table(tmp_path):
    return write_table(tmp_path / "reports.csv", TEXTS)


def test_every_report_and_question_gets_a_row_with_a_located_quote(table, tmp_path):
    describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES)
    rows = answers(tmp_path / "out")
    assert len(rows) == 4 * len(load_questions("lung").ids)
    assert rows["r1", "pleural_invasion"]["description"] == "pleural invasion present"
    assert rows["r2", "pleural_invasion"]["description"] == "no pleural invasion"
    for (report_id, _), row in rows.items():
        if row["status"] != "unknown":
            assert row["grounded"]
            assert TEXTS[report_id][row["evidence_start"] : row["evidence_end"]] == row["evidence"]


def test_instructions_and_markup_in_a_report_are_data(table, tmp_path):
    describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES)
    assert {row["status"] for (name, _), row in answers(tmp_path / "out").items() if name == "r4"} == {"unknown"}


def test_an_empty_report_is_recorded_and_not_asked_about(table, tmp_path):
    summary = describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES)
    assert outcomes(summary) == {"r1": "done", "r2": "done", "r3": "empty", "r4": "done"}
    rows = {row["report_id"]: row for row in DESCRIBED_REPORTS.read_rows(tmp_path / "out" / "reports.parquet")}
    assert (rows["r3"]["status"], rows["r3"]["attempts"]) == ("empty", 0)
    assert (rows["r1"]["status"], rows["r1"]["backend"], rows["r1"]["model"]) == ("ok", "rules", "rules")


def test_the_questions_are_written_beside_the_answers(table, tmp_path):
    describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES)
    assert load_questions(tmp_path / "out" / "questions.yaml") == load_questions("lung")


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("name: [")])
def test_damaged_questions_are_written_again_and_the_answers_are_kept(table, tmp_path, damage):
    describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES)
    damage(tmp_path / "out" / "questions.yaml")
    summary = describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES)
    assert set(outcomes(summary).values()) == {"kept", "empty"}
    assert load_questions(tmp_path / "out" / "questions.yaml") == load_questions("lung")


def modes(folder):
    """Return path -> mode of the folder and everything in it, without locks, which hold no text."""
    paths = [folder, *(path for path in folder.rglob("*") if ".locks" not in path.parts)]
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in paths}


@pytest.mark.parametrize("shard", [Shard(), Shard(1, 2)], ids=["all", "shard"])
def test_only_the_owner_may_read_the_folder_and_its_files(table, tmp_path, shard):
    out = tmp_path / "study" / "out"
    describe_reports(DescribeReportsInputs(table), out, RULES, selection=Selection(shard=shard), html=True)
    found = modes(out)
    assert found.pop(".") == 0o700
    assert {"report.html", "answers.parquet", "reports.parquet", "questions.yaml", "five.json"} < set(found)
    assert any(name.startswith("journal") for name in found)
    assert set(found.values()) == {0o600}
    assert stat.S_IMODE((tmp_path / "study").stat().st_mode) != 0o700


def test_files_that_others_could_read_are_private_after_the_next_run_and_the_folder_keeps_its_mode(table, tmp_path):
    out = tmp_path / "out"
    describe_reports(DescribeReportsInputs(table), out, RULES, html=True)
    for path in (path for path in out.rglob("*") if path.is_file()):
        path.chmod(0o644)
    out.chmod(0o750)
    write_table(table, {**TEXTS, "r2": "The pleura is invaded by tumor."})
    describe_reports(DescribeReportsInputs(table), out, RULES)
    found = modes(out)
    assert found.pop(".") == 0o750
    assert set(found.values()) == {0o600}


def test_a_second_run_keeps_everything(table, tmp_path):
    describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES)
    before = answers(tmp_path / "out")
    summary = describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES)
    assert (summary.counts["done"], summary.counts["kept"], summary.counts["empty"]) == (0, 3, 1)
    assert answers(tmp_path / "out") == before


def test_only_a_report_whose_text_changed_is_described_again(table, tmp_path):
    describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES)
    write_table(table, {**TEXTS, "r2": "The pleura is invaded by tumor."})
    summary = describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES)
    assert outcomes(summary) == {"r1": "kept", "r2": "done", "r3": "empty", "r4": "kept"}
    assert answers(tmp_path / "out")["r2", "pleural_invasion"]["status"] == "present"


def test_changed_settings_are_refused_unless_overwritten(table, tmp_path):
    describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES)
    changed = DescribeReportsSettings(questions="lung-histology")
    with pytest.raises(ChangedSettingsError, match="lung-histology"):
        describe_reports(DescribeReportsInputs(table), tmp_path / "out", changed)
    summary = describe_reports(
        DescribeReportsInputs(table), tmp_path / "out", changed, selection=Selection(overwrite=True)
    )
    assert summary.counts["done"] == 3
    assert len(answers(tmp_path / "out")) == 4 * len(load_questions("lung-histology").ids)


def test_a_change_in_the_question_file_is_detected(table, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: lung\nname: mine\ntitle: Mine\nquestions: []\n")
    settings = DescribeReportsSettings(questions=str(path))
    describe_reports(DescribeReportsInputs(table), tmp_path / "out", settings)
    path.write_text("extends: lung\nname: mine\ntitle: Mine, again\nquestions: []\n")
    with pytest.raises(ChangedSettingsError, match="question_set"):
        describe_reports(DescribeReportsInputs(table), tmp_path / "out", settings)


def test_a_cohort_or_a_limit_selects_reports(table, tmp_path):
    cohort = tmp_path / "cohort.csv"
    cohort.write_text("slide_id,patient_id\ns2,p2\ns4,p4\n")
    of_cohort, first = Selection(cohort=cohort), Selection(limit=1)
    assert set(
        outcomes(describe_reports(DescribeReportsInputs(table), tmp_path / "a", RULES, selection=of_cohort))
    ) == {"r2", "r4"}
    assert set(outcomes(describe_reports(DescribeReportsInputs(table), tmp_path / "b", RULES, selection=first))) == {
        "r1"
    }


def test_a_cohort_of_other_patients_is_an_error(table, tmp_path):
    cohort = tmp_path / "cohort.csv"
    cohort.write_text("slide_id\ns2\n")
    with pytest.raises(CohortError, match="none of its 1 patients") as caught:
        describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES, selection=Selection(cohort=cohort))
    assert "patient_id" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_the_summary_has_unknown_and_ungrounded_rates(table, tmp_path):
    rates_by_question = describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES).facts["questions"]
    rates = {"ungrounded_rate": 0.0, "conflict_rate": 0.0, "agreement": None}
    assert rates_by_question["pleural_invasion"] == {"unknown_rate": 0.3333, **rates}
    assert rates_by_question["air_spaces"] == {"unknown_rate": 1.0, **rates}


def test_a_server_is_asked_again_after_an_ungrounded_quote(table, tmp_path):
    def answer(body):
        if len(body["messages"]) == 2:
            return 200, completion(lung_reply(margins={"answer": "clear", "evidence": "margins are all clear"}))
        return 200, completion(lung_reply(margins={"answer": "clear", "evidence": "margins are free"}))

    with chat_server(answer) as server:
        describe_first_report(table, tmp_path / "out", server)
    row = answers(tmp_path / "out")["r1", "margins"]
    assert (row["value"], row["grounded"], row["evidence"]) == ("clear", True, "Margins are free")
    (report,) = reports_of(tmp_path / "out")
    assert (report["attempts"], report["prompt_tokens"], report["output_tokens"]) == (2, 2 * PROMPT_TOKENS, 40)


def test_a_failed_report_does_not_stop_the_others_and_is_retried_by_the_next_run(table, tmp_path):
    broken = True

    def answer(body):
        if broken and TEXTS["r2"] in body["messages"][1]["content"]:
            return 200, completion(f"not json, {SECRET}")
        return 200, completion(lung_reply())

    with chat_server(answer) as server:
        first = describe_reports(
            DescribeReportsInputs(table),
            tmp_path / "out",
            SERVER,
            resources=DescribeReportsResources(base_url=server.url),
        )
        assert outcomes(first) == {"r1": "done", "r2": "failed", "r3": "empty", "r4": "done"}
        assert first.failures[0].error == "r2: the reply has no JSON object with the answers"
        assert {row["status"] for (name, _), row in answers(tmp_path / "out").items() if name == "r2"} == {"failed"}
        broken = False
        again = describe_reports(
            DescribeReportsInputs(table),
            tmp_path / "out",
            SERVER,
            resources=DescribeReportsResources(base_url=server.url),
        )
    assert outcomes(again) == {"r1": "kept", "r2": "done", "r3": "empty", "r4": "kept"}
    assert again.facts["prompt_tokens"] == PROMPT_TOKENS  # of this run only


def test_a_run_that_loses_its_server_keeps_its_answers(table, tmp_path):
    asked = []

    def answer(body):
        asked.append(1)
        return (200, completion(lung_reply())) if len(asked) == 1 else (401, {})

    with chat_server(answer) as server:
        with pytest.raises(BackendError):
            describe_reports(
                DescribeReportsInputs(table),
                tmp_path / "out",
                SERVER,
                resources=DescribeReportsResources(workers=1, base_url=server.url),
            )
        assert {name for name, _ in answers(tmp_path / "out")} == {"r1", "r3"}
        server.answer = lambda _: (200, completion(lung_reply()))
        summary = describe_reports(
            DescribeReportsInputs(table),
            tmp_path / "out",
            SERVER,
            resources=DescribeReportsResources(base_url=server.url),
        )
    assert outcomes(summary) == {"r1": "kept", "r2": "done", "r3": "empty", "r4": "done"}


def test_nothing_is_written_if_the_backend_cannot_be_opened_or_asked(table, tmp_path):
    with chat_server(lambda _: (401, {})) as server:
        for settings in (DescribeReportsSettings(backend="vllm"), SERVER):
            with pytest.raises(BackendError):
                describe_reports(
                    DescribeReportsInputs(table),
                    tmp_path / "out",
                    settings,
                    resources=DescribeReportsResources(base_url=server.url),
                )
            assert not (tmp_path / "out").exists()
    assert describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES).counts["done"] == 3


def test_a_second_run_into_the_same_folder_is_refused_while_the_first_one_is_running(table, tmp_path):
    describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES)
    with item_lock(tmp_path / "out" / ".locks" / "journal.jsonl.lock") as mine:
        assert mine
        with pytest.raises(ArtifactError, match="another run"):
            describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES)
        shard = Selection(shard=Shard(1, 2))
        assert (
            describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES, selection=shard).counts["kept"] == 1
        )


def test_other_settings_are_refused_before_a_model_is_loaded(table, tmp_path):
    describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES)
    with pytest.raises(ChangedSettingsError, match="backend 'rules' -> 'vllm'"):
        describe_reports(DescribeReportsInputs(table), tmp_path / "out", DescribeReportsSettings(backend="vllm"))


class TestSelection:
    def test_shards_share_a_folder_and_the_last_one_writes_all_rows(self, table, tmp_path):
        for index in (1, 2, 3):
            describe_reports(
                DescribeReportsInputs(table), tmp_path / "out", RULES, selection=Selection(shard=Shard(index, 3))
            )
        describe_reports(DescribeReportsInputs(table), tmp_path / "whole", RULES)
        assert answers(tmp_path / "out") == answers(tmp_path / "whole")
        assert [row["report_id"] for row in reports_of(tmp_path / "out")] == ["r1", "r2", "r3", "r4"]

    def test_a_later_run_on_fewer_reports_keeps_the_other_rows(self, table, tmp_path):
        describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES)
        describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES, selection=Selection(limit=1))
        assert len(answers(tmp_path / "out")) == 4 * len(load_questions("lung").ids)

    def test_a_report_removed_from_the_source_is_removed_from_the_tables(self, table, tmp_path):
        describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES)
        write_table(table, {"r2": TEXTS["r2"]})
        describe_reports(DescribeReportsInputs(table), tmp_path / "out", RULES)
        assert {name for name, _ in answers(tmp_path / "out")} == {"r2"}

    def test_only_failed_reports_can_be_selected(self, table, tmp_path):
        broken = True

        def answer(body):
            return 200, completion("nonsense" if broken and TEXTS["r2"] in body["messages"][1]["content"] else REPLY)

        with chat_server(answer) as server:
            describe_reports(
                DescribeReportsInputs(table),
                tmp_path / "out",
                SERVER,
                resources=DescribeReportsResources(base_url=server.url),
            )
            broken = False
            write_table(table, {**TEXTS, "r5": "A new report of a tumor."})
            failed = Selection(only_failed=True)
            summary = describe_reports(
                DescribeReportsInputs(table),
                tmp_path / "out",
                SERVER,
                selection=failed,
                resources=DescribeReportsResources(base_url=server.url),
            )
        assert outcomes(summary) == {"r2": "done"}
        statuses = {row["report_id"]: row["status"] for row in reports_of(tmp_path / "out")}
        assert statuses == {"r1": "ok", "r2": "ok", "r3": "empty", "r4": "ok"}
