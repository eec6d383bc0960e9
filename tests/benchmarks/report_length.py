"""CPU time to describe one long report by its length: backends without a language model, and the search for a quote.

The texts have no sentence ends, so that each report is a single clause. Time that grows faster than the
length shows as a ratio above 2 between one column and the next.

Example: python -m tests.benchmarks.report_length --lengths 10000 20000
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from pipelines.core.question_files import load_questions
from pipelines.reports.backends.nearest_wording import NearestWordingBackend
from pipelines.reports.backends.rules import RulesBackend
from pipelines.reports.grounding import locate

TEXTS = {
    "one finding repeated": "pleural invasion ",
    "several findings": "pleura invaded margin free of tumor poorly differentiated lymphatic invasion present ",
    "with commas": "margins are free, vascular invasion present, no pleural invasion, well differentiated, ",
}
QUOTES = {
    "quote of one letter repeated": ("a", "a"),
    "quote in short words": ("aa ", "aa "),
    "quote with another case": ("no pleural invasion ", "NO pleural invasion "),
}


def cpu_seconds(work: Callable[[str], object], text: str) -> float:
    """Return the CPU seconds of one call."""
    before = time.process_time()
    work(text)
    return time.process_time() - before


def repeated(words: str, length: int) -> str:
    """Return ``words`` repeated up to ``length`` characters."""
    return (words * (length // len(words) + 1))[:length]


def main() -> None:
    """Print a line per backend and text with the seconds for each length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[10_000, 20_000, 40_000, 80_000], help="characters")
    lengths = parser.parse_args().lengths
    print(f"CPU seconds  {'':<38}" + "".join(f"{length:>10,}" for length in lengths))
    backends = {"rules": RulesBackend(load_questions("lung")), "local": NearestWordingBackend(load_questions("lung"))}
    for backend, reader in backends.items():
        for name, words in TEXTS.items():
            seconds = [cpu_seconds(reader.answer, repeated(words, length)) for length in lengths]
            print(f"{backend:<12} {name:<38}" + "".join(f"{each:>10.2f}" for each in seconds), flush=True)
    for name, (words, quoted) in QUOTES.items():
        seconds = []
        for length in lengths:
            quote = repeated(quoted, length // 2).strip() + "a"
            seconds.append(cpu_seconds(lambda text, quote=quote: locate(quote, text), repeated(words, length)))
        print(f"{'grounding':<12} {name:<38}" + "".join(f"{each:>10.2f}" for each in seconds), flush=True)


if __name__ == "__main__":
    main()
