"""Call a reader of outside data: it returns or raises one readable FiveError, within limited CPU time."""

import signal
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from pipelines.core.errors import MAX_CHARACTERS, FiveError

CPU_SECONDS = 30
"""Far more than any reader needs for the small files of these tests; a reader that never ends uses it up."""
MAX_MESSAGE = 10 * MAX_CHARACTERS
"""Maximum number of characters of an error message, with escapes of ten characters such as ``\\U0001f600``."""


def examples(number: int) -> settings:
    """Return settings for ``number`` examples per test, or 20 times as many with ``--hypothesis-profile=long``."""
    factor = settings.default.max_examples / settings.get_profile("default").max_examples
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    return settings(max_examples=round(number * factor), suppress_health_check=checks)


def reads_or_refuses(read: Callable[..., Any], *args: Any) -> Any:
    """Return what ``read`` returns, or None if it raises a `FiveError` with a message of one line."""
    with _limited_cpu_time():
        try:
            return read(*args)
        except FiveError as error:
            check_message(error.message)
            check_message(error.hint)
            return None


def check_message(message: str) -> None:
    """Check that a message is one line that any terminal and log file can show."""
    assert len(message) <= MAX_MESSAGE, f"a message of {len(message):,} characters"
    assert len(message.splitlines()) <= 1, f"a message of several lines: {message!r}"
    message.encode()


@contextmanager
def _limited_cpu_time():
    def stop(*_):
        pytest.fail(f"the reader used more than {CPU_SECONDS} CPU seconds")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
