"""Reports sent to a backend with one token per character, so that every number can be checked by hand."""

import json

import pytest

from pipelines.core.question_files import load_questions
from pipelines.core.settings import DescribeReportsSettings
from pipelines.reports.ask_backend import ask_backend
from pipelines.reports.backends.base import Reply, Request, too_long_reply
from pipelines.reports.instructions import messages
from pipelines.reports.report_table import Report

LUNG = load_questions("lung")
FINDING = "Margins are free of tumor."
OVERHEAD = sum(len(message["content"]) for message in messages(LUNG, "", is_part=True))


class Backend:
    """Finds one known sentence; one character is one token."""

    model = "fake"
    batch_size = 2

    def __init__(self, context=None, *, deterministic=False, quote="Margins are free"):
        self.context = context
        self.deterministic = deterministic
        self.quote = quote
        self.requests = []
        self.batches = []

    def count_tokens(self, request: Request):
        return sum(len(message["content"]) for message in request.messages)

    def complete(self, requests):
        self.batches.append(len(requests))
        for index, request in enumerate(requests):
            tokens, room = self.count_tokens(request), (self.context or 10**9) - SETTINGS.max_tokens
            if tokens > room:
                yield index, too_long_reply(tokens, room)
                continue
            self.requests.append(request)
            entries = {name: {"evidence": "", "answer": "unknown"} for name in LUNG.ids}
            if FINDING in request.report_text:
                entries["margins"] = {"evidence": self.quote, "answer": "clear"}
            yield index, Reply(json.dumps(entries), prompt_tokens=tokens, output_tokens=10)


SETTINGS = DescribeReportsSettings(backend="vllm", model="fake", max_tokens=100)


def report(characters=0, name="r1"):
    filler = "The specimen is large. " * (characters // 46)
    return Report(name, "p", f"{filler}{FINDING} {filler}")


def margins(task):
    return next(answer for answer in task.final_answers("unknown") if answer.question_id == "margins")


def test_a_long_report_is_cut_so_that_every_part_fits_and_nothing_is_left_out():
    backend = Backend(context=OVERHEAD + 5000 + SETTINGS.max_tokens)
    long = report(600_000)
    (task,) = ask_backend([long], backend, LUNG, SETTINGS)
    assert all(backend.count_tokens(request) <= OVERHEAD + 5000 for request in backend.requests)
    covered = 0
    for conversation in task.conversations:
        assert conversation.start <= covered
        covered = conversation.end
    assert covered == len(long.text)
    assert len(backend.requests) == task.n_parts <= 1.5 * 600_000 / 4500
    answer = margins(task)
    assert long.text[answer.evidence_start : answer.evidence_end] == "Margins are free"


def test_a_report_that_fits_needs_one_request():
    backend = Backend(context=OVERHEAD + 5000 + SETTINGS.max_tokens)
    (task,) = ask_backend([report(4000)], backend, LUNG, SETTINGS)
    assert (len(backend.requests), task.n_parts) == (1, 1)


def test_a_report_fails_with_both_numbers_if_the_questions_leave_no_room():
    backend = Backend(context=OVERHEAD + 10 + SETTINGS.max_tokens)
    (task,) = ask_backend([report(4000)], backend, LUNG, SETTINGS)
    with pytest.raises(Exception, match=f"but the model accepts {OVERHEAD + 10} besides the reply"):
        task.final_answers("keep")


def test_reports_are_sent_in_batches_and_all_are_returned():
    backend = Backend()
    tasks = list(ask_backend([report(name=f"r{i}") for i in range(5)], backend, LUNG, SETTINGS))
    assert backend.batches == [2, 2, 1]
    assert [task.report.report_id for task in tasks] == [f"r{i}" for i in range(5)]


def test_an_ungrounded_quote_leads_to_a_second_request_unless_the_backend_is_deterministic():
    backend = Backend(quote="Margins are clear")
    (task,) = ask_backend([report()], backend, LUNG, SETTINGS)
    assert (task.attempts, margins(task).grounded) == (2, False)
    backend = Backend(quote="Margins are clear", deterministic=True)
    (task,) = ask_backend([report()], backend, LUNG, SETTINGS)
    assert task.attempts == 1


def test_each_sample_has_its_own_seed_and_the_temperature_of_the_settings():
    settings = DescribeReportsSettings(backend="vllm", model="fake", temperature=0.7, seed=5, votes=3)
    backend = Backend()
    (task,) = ask_backend([report()], backend, LUNG, settings)
    assert [(r.sampling.temperature, r.sampling.seed) for r in backend.requests] == [(0.7, 5), (0.7, 6), (0.7, 7)]
    assert margins(task).agreement == 1.0
