"""What can go wrong, in one tree. Each error is a sentence (where, what) and a hint (what to do).

FiveError
├── SettingsError             a setting or configuration file that cannot be used
├── CohortError               a cohort, report or split table that cannot be used
├── ArtifactError             a file between stages: missing, damaged, or not what the stage reads
│   └── ChangedSettingsError  the output folder was made with other settings
├── EncoderError              an image or text encoder that cannot be built or run
├── BackendError              a language model or server that cannot be reached or used
└── ItemError                 one item of a batch failed; the batch records it and goes on
    ├── SlideError            a slide that cannot be opened, read, or placed on a micron scale
    │   └── MissingMppError   the slide file records no usable microns per pixel
    └── ReportError           a report that cannot be described (its text is never in the message)
"""

from __future__ import annotations


class FiveError(Exception):
    """Something the user can put right.

    Parameters
    ----------
    message
        Where and what, in one line that starts with the file or value concerned.
    hint
        What to do about it, or an empty string.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class SettingsError(FiveError):
    """A setting or configuration file that cannot be used."""


class CohortError(FiveError):
    """A cohort, report or split table that cannot be used."""


class ArtifactError(FiveError):
    """A file between stages that is missing, damaged, or not what the stage reads."""


class ChangedSettingsError(ArtifactError):
    """The output folder was made with other settings."""


class EncoderError(FiveError):
    """An image or text encoder that cannot be built or run."""


class BackendError(FiveError):
    """A language model or server that cannot be reached or used."""


class ItemError(FiveError):
    """One item of a batch failed; the batch records it and goes on."""


class SlideError(ItemError):
    """A slide that cannot be opened, read, or placed on a micron scale."""


class MissingMppError(SlideError):
    """The slide file records no microns per pixel, or only an absurd value."""

    def __init__(self, slide_path: object, *, absurd: str = "") -> None:
        problem = f"its microns-per-pixel (mpp) is absurd: {absurd}" if absurd else "records no microns-per-pixel (mpp)"
        super().__init__(
            f"{slide_path}: {problem}",
            hint="pass --mpp, for example --mpp 0.25 for a 40x scan, "
            "or give the slide a value in the cohort column 'mpp'",
        )


class ReportError(ItemError):
    """A report that cannot be described. The message never holds report text."""
