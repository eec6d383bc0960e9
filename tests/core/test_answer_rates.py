from pipelines.core.answer_rates import AnswerRates, answer_rates


def row(status="absent", *, grounded=True, conflict=None, agreement=None):
    return {"status": status, "grounded": grounded, "conflict": conflict, "agreement": agreement}


def test_rates_are_shares_of_all_answers():
    rows = [row("unknown"), row(grounded=False), row(conflict="present"), row()]
    assert answer_rates(rows) == AnswerRates(unknown=0.25, ungrounded=0.25, conflict=0.25, agreement=None)


def test_agreement_is_averaged_over_the_answers_that_have_one():
    assert answer_rates([row(agreement=1.0), row(agreement=0.5), row()]).agreement == 0.75


def test_there_are_no_rates_without_answers():
    assert answer_rates([]) == AnswerRates(None, None, None, None)
