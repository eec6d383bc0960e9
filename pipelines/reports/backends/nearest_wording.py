"""Backend ``local`` without ``--model``: compares clauses with the wordings of each answer, by a sentence encoder.

The ``rules`` of the question file find the clause about a question and the deciding word in it; if
there is none, the answer is unknown. The packaged sentence encoder (22 million parameters) then
decides alone: it takes the answer that has the wording most similar to the words around the
deciding word. Wordings come from the question file. Phrase questions are answered by the rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipelines.core.devices import pick_device
from pipelines.core.questions import Question, QuestionSet
from pipelines.core.text_models import PACKAGED, load_text_model, mean_of_tokens
from pipelines.reports.backends.report_reader import ReportReader
from pipelines.reports.backends.rules import RulesBackend, phrase_entry, unknown_entry
from pipelines.reports.clause_reader import Finding
from pipelines.reports.statements import read_statements

if TYPE_CHECKING:
    from torch import Tensor

MAX_TOKENS = 128
"""Maximum number of tokens per text; the rest is cut off."""
BATCH_SIZE = 32
CONTEXT = 20
"""Characters on each side of the deciding word that are encoded with it; more would blur the vector."""

AFFIRMED = ("{}: present", "{}: yes", "{}: positive", "{}: identified", "there is {}", "{} is identified")
DENIED = ("{}: absent", "{}: no", "{}: none", "{}: not identified", "negative for {}", "no evidence of {}")


class NearestWordingBackend(ReportReader):
    """Answers questions by the wording that is most similar to the clause about them."""

    model = PACKAGED

    def __init__(self, questions: QuestionSet, *, device: str = "auto") -> None:
        self._rules = RulesBackend(questions)
        self._encoder = _SentenceEncoder(device)
        self._wordings = {
            question.id: {value: self._encoder(wordings(question, value)) for value in question.values}
            for question in questions.questions
        }

    def answer(self, report_text: str) -> dict[str, dict[str, str]]:
        """Return question id -> ``answer`` and ``evidence``."""
        clauses = read_statements(report_text, self._rules.questions.language)
        entries: dict[str, dict[str, str]] = {}
        findings: dict[str, Finding] = {}
        for question in self._rules.questions.questions:
            entries[question.id] = unknown_entry()
            if question.kind == "phrase":
                entries[question.id] = phrase_entry(question, self._rules.questions.language, clauses)
            elif finding := self._rules.readers[question.id].best(clauses):
                findings[question.id] = finding
        if findings:
            vectors = self._encoder([words_around(finding) for finding in findings.values()])
            for (name, finding), vector in zip(findings.items(), vectors, strict=True):
                similarity = {value: float((known @ vector).max()) for value, known in self._wordings[name].items()}
                answer = max(similarity, key=similarity.__getitem__)
                clause = finding.clause
                entries[name] = {"evidence": report_text[clause.start : clause.end], "answer": answer}
        return entries


def wordings(question: Question, value: str) -> list[str]:
    """Return what a report may say if ``value`` is the answer, according to the question file."""
    allowed = question.values[value]
    terms = (term.replace("*", "") for term in allowed.terms if not term.startswith("/"))
    templates: Sequence[str] = ("{}: " + value, "{}: " + allowed.phrase)
    if question.kind == "presence":
        templates = AFFIRMED if value == "present" else DENIED
    prompt = question.prompt
    sentences = (template.format(prompt) for template in templates)
    return [allowed.phrase, *(f"{prompt} {term}" for term in terms), *sentences]


def words_around(finding: Finding) -> str:
    """Return the deciding word with `CONTEXT` characters on each side, extended to whole words."""
    text = finding.clause.text
    start, end = max(0, finding.term[0] - CONTEXT), min(len(text), finding.term[1] + CONTEXT)
    while start > 0 and not text[start - 1].isspace():
        start -= 1
    while end < len(text) and not text[end].isspace():
        end += 1
    return text[start:end]


class _SentenceEncoder:
    """Encodes texts as the mean of their token vectors, scaled to length 1."""

    def __init__(self, device: str) -> None:
        model, self._tokenizer = load_text_model(PACKAGED)
        self._device = pick_device(device)
        self._model: Any = model.to(self._device).eval()

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the vectors of M texts, (M, 384) float32 on the CPU."""
        import torch

        batches = []
        with torch.inference_mode():
            for start in range(0, len(texts), BATCH_SIZE):
                tokens = self._tokenizer(
                    list(texts[start : start + BATCH_SIZE]),
                    padding=True,
                    truncation=True,
                    max_length=MAX_TOKENS,
                    return_tensors="pt",
                ).to(self._device)
                states = self._model(**tokens).last_hidden_state  # (M, L, 384)
                means = mean_of_tokens(states, tokens["attention_mask"])
                batches.append(torch.nn.functional.normalize(means, dim=1).cpu())
        return torch.cat(batches)
