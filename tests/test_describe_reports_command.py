"""The command: dry runs, JSON and tables, pages, exit codes."""

import json

import pytest
from typer.testing import CliRunner

from fivecli.app import app
from pipelines.core.errors import BackendError, FiveError, SettingsError
from pipelines.core.settings import DescribeReportsSettings
from pipelines.describe_reports import DescribeReportsInputs, plan
from pipelines.reports.estimate import Prices
from tests.describing import REPLY, RULES, SECRET, SERVER, TEXTS, describe_first_report, lung_reply, write_table
from tests.reports.chat_server import PROMPT_TOKENS, chat_server, completion


@pytest.fixture
def table(tmp_path):
    return write_table(tmp_path / "reports.csv", TEXTS)


class TestPlan:
    def test_it_counts_without_requests_and_without_writing(self, table, tmp_path):
        facts = plan(DescribeReportsInputs(table), tmp_path / "out", SERVER)
        assert (facts["reports"], facts["empty_reports"], facts["reports_to_ask_about"]) == (4, 1, 3)
        assert facts["most_output_tokens"] == 3 * 1024
        assert facts["prompt_tokens"] > 3 * 500
        assert facts["prompt_tokens_from"] == "4 characters per token"
        assert facts["output_tokens"] is facts["seconds"] is None
        assert not (tmp_path / "out").exists()

    def test_rules_need_no_tokens(self, table, tmp_path):
        assert "prompt_tokens" not in plan(DescribeReportsInputs(table), tmp_path / "out", RULES)

    def test_votes_multiply_the_tokens(self, table, tmp_path):
        once = plan(DescribeReportsInputs(table), tmp_path / "out", SERVER)
        settings = DescribeReportsSettings(backend="openai", model="fake", temperature=1.0, votes=3)
        thrice = plan(DescribeReportsInputs(table), tmp_path / "out", settings)
        assert thrice["prompt_tokens"] == pytest.approx(3 * once["prompt_tokens"], abs=2)

    def test_described_reports_are_measured_and_left_out(self, table, tmp_path):
        with chat_server(lambda _: (200, completion(REPLY))) as server:
            describe_first_report(table, tmp_path / "out", server)
        facts = plan(DescribeReportsInputs(table), tmp_path / "out", SERVER, prices=Prices(2.0, 5.0))
        assert (facts["kept_reports"], facts["reports_to_ask_about"]) == (1, 2)
        # three prompts of about the same length, PROMPT_TOKENS each
        assert facts["prompt_tokens"] == pytest.approx(2 * PROMPT_TOKENS, rel=0.02)
        assert facts["output_tokens"] == 2 * 20
        assert facts["cost"] == pytest.approx((2.0 * facts["prompt_tokens"] + 5.0 * 40) / 1e6, abs=1e-4)
        assert facts["seconds"] is not None
        assert "over 1 reports" in facts["seconds_from"]

    def test_repeated_requests_are_measured_too(self, table, tmp_path):
        loose = lung_reply(margins={"answer": "clear", "evidence": "made up"})
        with chat_server(lambda _: (200, completion(loose))) as server:
            describe_first_report(table, tmp_path / "out", server)
        facts = plan(DescribeReportsInputs(table), tmp_path / "out", SERVER)
        assert facts["prompt_tokens"] == pytest.approx(2 * 2 * PROMPT_TOKENS, rel=0.02)
        assert facts["output_tokens"] == 2 * 2 * 20


def run(*arguments):
    return CliRunner().invoke(app, ["describe-reports", *map(str, arguments)])


def test_the_command_prints_the_summary_as_json(table, tmp_path):
    result = run(table, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert (summary["counts"]["done"], summary["counts"]["empty"], summary["counts"]["failed"]) == (3, 1, 0)
    assert summary["questions"]["margins"]["ungrounded_rate"] == 0.0


def test_the_command_shows_rates_by_question(table, tmp_path):
    result = run(table, "-o", tmp_path / "out")
    assert "pleural_invasion" in result.stdout
    assert "33%" in result.stdout


def test_a_dry_run_writes_nothing(table, tmp_path):
    result = run(table, "-o", tmp_path / "out", "--dry-run", "--backend", "vllm", "--json")
    assert json.loads(result.stdout)["reports"] == 4
    assert not (tmp_path / "out").exists()


def test_failed_reports_give_exit_code_3_and_no_report_text_is_shown(table, tmp_path):
    texts = {"r1": f"{SECRET} " * 20, "r2": f"Margins of {SECRET} are free."}
    write_table(table, texts)
    with chat_server(lambda _: (200, completion(f"{SECRET}"))) as server:
        result = run(table, "-o", tmp_path / "out", "--backend", "openai", "--model", "m", "--base-url", server.url)
    assert result.exit_code == 3
    assert "r1: the reply has no JSON object with the answers" in result.stderr
    assert "margins" not in result.stdout  # no rates if nothing was described
    assert SECRET not in result.output


def test_a_missing_model_is_an_error_with_a_hint(table, tmp_path):
    pytest.importorskip("openai")
    result = run(table, "-o", tmp_path / "out", "--backend", "vllm")
    assert isinstance(result.exception, BackendError)
    assert "--model" in result.exception.hint


def test_pages_with_the_reports_are_written_only_on_request(table, tmp_path):
    assert run(table, "-o", tmp_path / "out").exit_code == 0
    assert not (tmp_path / "out" / "report.html").exists()
    assert run(table, "-o", tmp_path / "out", "--html").exit_code == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "The visceral pleura is invaded" in page
    assert "<script>alert" not in page


def test_existing_pages_are_updated_with_the_tables(table, tmp_path):
    run(table, "-o", tmp_path / "out", "--html")
    write_table(table, {"r1": "The pleura is not invaded."})
    assert run(table, "-o", tmp_path / "out").exit_code == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "The visceral pleura is invaded" not in page
    assert "no pleural invasion" in page


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--votes", "3"], "backend rules"),
        (["--votes", "3", "--temperature", "1", "--backend", "local"], "backend local"),
        (["--votes", "3", "--backend", "openai", "--model", "m"], "temperature 0"),
    ],
)
def test_samples_that_would_be_identical_are_refused(table, tmp_path, options, expected):
    result = run(table, "-o", tmp_path / "out", *options)
    assert isinstance(result.exception, SettingsError)
    assert expected in result.exception.message


@pytest.mark.parametrize(
    ("options", "expected"),
    [(["--model", "m"], "uses no model"), (["--base-url", "http://127.0.0.1:9/v1"], "no server")],
)
def test_an_option_for_a_language_model_without_its_backend_is_refused(table, tmp_path, options, expected):
    result = run(table, "-o", tmp_path / "out", *options)
    assert isinstance(result.exception, FiveError)
    assert expected in result.exception.message
    assert not (tmp_path / "out").exists()
