"""Cases put to a backend whose tokens are characters, so that every number can be worked out."""

import json

import pytest

from pipelines.core.questions import load_questions
from pipelines.core.settings import DescribeReportsSettings
from pipelines.reports.asking import ask
from pipelines.reports.backends.base import Reply, Request, too_long
from pipelines.reports.instructions import messages
from pipelines.reports.report_table import Report

LUNG = load_questions("lung")
FINDING = "Margins are free of tumor."
OVERHEAD = sum(len(message["content"]) for message in messages(LUNG, "", is_part=True))


class Backend:
    """Finds the one sentence it knows; a character is a token."""

    model = "fake"
    batch_size = 2

    def __init__(self, context=None, *, repeatable=False, quote="Margins are free"):
        self.context = context
        self.repeatable = repeatable
        self.quote = quote
        self.asked = []
        self.batches = []

    def count_tokens(self, request: Request):
        return sum(len(message["content"]) for message in request.messages)

    def complete(self, requests):
        self.batches.append(len(requests))
        for index, request in enumerate(requests):
            tokens, room = self.count_tokens(request), (self.context or 10**9) - SETTINGS.max_tokens
            if tokens > room:
                yield index, too_long(tokens, room)
                continue
            self.asked.append(request)
            entries = {name: {"evidence": "", "answer": "unknown"} for name in LUNG.ids}
            if FINDING in request.report_text:
                entries["margins"] = {"evidence": self.quote, "answer": "clear"}
            yield index, Reply(json.dumps(entries), prompt_tokens=tokens, output_tokens=10)


SETTINGS = DescribeReportsSettings(backend="vllm", model="fake", max_tokens=100)


def report(characters=0, name="r1"):
    filler = "The specimen is large. " * (characters // 46)
    return Report(name, "p", f"{filler}{FINDING} {filler}")


def margins(case):
    return next(answer for answer in case.settle("unknown") if answer.question_id == "margins")


def test_a_long_report_is_cut_so_that_every_part_fits_and_nothing_is_left_out():
    backend = Backend(context=OVERHEAD + 5000 + SETTINGS.max_tokens)
    long = report(600_000)
    (case,) = ask([long], backend, LUNG, SETTINGS)
    assert all(backend.count_tokens(request) <= OVERHEAD + 5000 for request in backend.asked)
    covered = 0
    for exchange in case.exchanges:
        assert exchange.start <= covered
        covered = exchange.end
    assert covered == len(long.text)
    assert len(backend.asked) == case.n_parts <= 1.5 * 600_000 / 4500
    answer = margins(case)
    assert long.text[answer.evidence_start : answer.evidence_end] == "Margins are free"


def test_a_report_that_fits_is_asked_about_once():
    backend = Backend(context=OVERHEAD + 5000 + SETTINGS.max_tokens)
    (case,) = ask([report(4000)], backend, LUNG, SETTINGS)
    assert (len(backend.asked), case.n_parts) == (1, 1)


def test_where_the_questions_leave_no_room_the_report_fails_with_both_numbers():
    backend = Backend(context=OVERHEAD + 10 + SETTINGS.max_tokens)
    (case,) = ask([report(4000)], backend, LUNG, SETTINGS)
    with pytest.raises(Exception, match=f"but the model takes {OVERHEAD + 10} beside the reply"):
        case.settle("keep")


def test_reports_are_given_in_batches_and_all_come_back():
    backend = Backend()
    cases = list(ask([report(name=f"r{i}") for i in range(5)], backend, LUNG, SETTINGS))
    assert backend.batches == [2, 2, 1]
    assert [case.report.report_id for case in cases] == [f"r{i}" for i in range(5)]


def test_a_loose_quote_is_asked_for_twice_but_not_of_a_backend_that_always_says_the_same():
    backend = Backend(quote="Margins are clear")
    (case,) = ask([report()], backend, LUNG, SETTINGS)
    assert (case.attempts, margins(case).grounded) == (2, False)
    backend = Backend(quote="Margins are clear", repeatable=True)
    (case,) = ask([report()], backend, LUNG, SETTINGS)
    assert case.attempts == 1


def test_each_sample_has_its_own_seed_and_the_temperature_of_the_settings():
    settings = DescribeReportsSettings(backend="vllm", model="fake", temperature=0.7, seed=5, votes=3)
    backend = Backend()
    (case,) = ask([report()], backend, LUNG, settings)
    assert [(r.sampling.temperature, r.sampling.seed) for r in backend.asked] == [(0.7, 5), (0.7, 6), (0.7, 7)]
    assert margins(case).agreement == 1.0
