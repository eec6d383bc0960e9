"""All errors that users see. Each has a message (where and what) and a hint (what to do).

FiveError
├── SettingsError             a setting or configuration file that cannot be used
├── CohortError               a cohort, report or split table that cannot be used
├── ArtifactError             a file between stages that is missing, damaged or of the wrong kind
│   └── ChangedSettingsError  the output folder was made with other settings
├── EncoderError              an image or text encoder that cannot be built or run
├── BackendError              a language model or server that cannot be reached or used
└── ItemError                 one item of a batch failed; the batch records it and continues
    ├── SlideError            a slide that cannot be opened or read, or has no usable resolution
    │   └── MissingMppError   the slide file records no usable microns per pixel
    └── ReportError           a report that cannot be described (the message never contains report text)
"""

from __future__ import annotations

MAX_CHARACTERS = 1_000
"""Maximum number of characters of a message or hint, because it may repeat a part of a file."""


class FiveError(Exception):
    """A problem that the user can fix.

    Parameters
    ----------
    message
        One line that starts with the file or value and says what is wrong with it.
    hint
        What to do, or an empty string.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message, self.hint = _one_line(message), _one_line(hint)
        super().__init__(self.message, self.hint)

    def __str__(self) -> str:
        return self.message


class SettingsError(FiveError):
    """A setting or configuration file that cannot be used."""


class CohortError(FiveError):
    """A cohort, report or split table that cannot be used."""


class ArtifactError(FiveError):
    """A file between stages that is missing, damaged or of the wrong kind."""


class ChangedSettingsError(ArtifactError):
    """The output folder was made with other settings."""


class EncoderError(FiveError):
    """An image or text encoder that cannot be built or run."""


class BackendError(FiveError):
    """A language model or server that cannot be reached or used."""


class ItemError(FiveError):
    """One item of a batch failed; the batch records it and continues."""


class SlideError(ItemError):
    """A slide that cannot be opened or read, or has no usable resolution."""


class MissingMppError(SlideError):
    """The slide file has no microns per pixel, or only an implausible value."""

    def __init__(self, slide_path: object, *, absurd: str = "") -> None:
        super().__init__(
            f"{slide_path}: "
            + (
                f"implausible microns per pixel (mpp): {absurd}" if absurd else "no microns per pixel (mpp) in the file"
            ),
            hint="pass --mpp, for example --mpp 0.25 for a 40x scan, or add a column 'mpp' to the cohort table",
        )


class ReportError(ItemError):
    """A report that cannot be described. The message never contains report text."""


def _one_line(text: str) -> str:
    """Return ``text`` without its middle if it is long, and with escapes for what would change a terminal or log."""
    if len(text) > MAX_CHARACTERS:
        text = f"{text[: MAX_CHARACTERS // 2]} ... {text[-MAX_CHARACTERS // 3 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
