"""Plan a prediction without a trained model: the texts, and the features of a joint encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines import __version__
from pipelines.core.classes import ClassTexts, load_class_texts
from pipelines.core.errors import SettingsError
from pipelines.core.files import fingerprint
from pipelines.core.provenance import Provenance
from pipelines.core.question_files import load_questions
from pipelines.core.settings import PredictSettings
from pipelines.model.data.feature_cohort import read_feature_cohort
from pipelines.model.data.splits.known_slides import Matches
from pipelines.model.prediction.job import JointTexts, PredictInputs, PredictionJob

MODEL = "zero-shot"


def joint_job(inputs: PredictInputs, settings: PredictSettings, joint_encoders: Sequence[str]) -> PredictionJob:
    """Read the texts and the shapes of the features.

    Parameters
    ----------
    joint_encoders
        Names of the encoders that have a text tower, for messages.

    Raises
    ------
    FiveError
        There are neither classes nor questions, an input is missing, or the features share no space with texts.
    """
    settings.require_run(given=False)
    if inputs.classes is None and inputs.questions is None:
        raise SettingsError(
            "neither a run nor texts are given",
            hint="pass a trained model with --run, or texts with --classes or --questions",
        )
    texts = load_class_texts(inputs.classes) if inputs.classes else ClassTexts({}, [])
    cohort = read_feature_cohort(inputs.features, inputs.cohort, each_alone=True)
    if not cohort.bags:
        raise next(iter(cohort.unusable.values()))
    joint = JointTexts(cohort.given_encoder, cohort.kind.space, texts.other, _answers(inputs))
    if not joint.space:
        raise SettingsError(
            f"{inputs.features}: features of {cohort.kind.encoder}, which share no space with texts",
            hint=f"embed with an encoder that has a text tower ({', '.join(joint_encoders)}), or pass --run",
        )
    read = [
        joint.space,
        list(texts.classes.items()),
        texts.other,
        [[q, list(a.items())] for q, a in joint.answers.items()],
    ]
    return PredictionJob(
        inputs=inputs,
        settings=settings,
        model=MODEL,
        texts=texts.classes,
        matches=Matches({}, {}),
        cohort=cohort,
        slides=cohort.slides,
        provenance=Provenance(settings.recorded(with_run=False), fingerprint(read), __version__),
        facts=_facts(joint, texts.classes),
        source=joint,
    )


def _answers(inputs: PredictInputs) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return question id -> answer -> texts; questions that are answered with words of the report are left out."""
    if inputs.questions is None:
        return {}
    asked = load_questions(inputs.questions).questions
    answers = {each.id: {name: value.texts for name, value in each.values.items()} for each in asked if each.values}
    if not answers:
        raise SettingsError(
            f"{inputs.questions}: no question has answers to choose from",
            hint="give a question set with presence or choice questions; `five questions list` shows them",
        )
    return answers


def _facts(joint: JointTexts, texts: Mapping[str, Sequence[str]]) -> dict[str, str]:
    facts = {"model": "none; tiles are compared with texts", "image encoder": joint.encoder, "space": joint.space}
    if joint.answers:
        facts["questions"] = ", ".join(joint.answers)
    named = {**texts, **({"other tissue": joint.other} if joint.other else {})}
    return facts | {f"texts of {name}": "; ".join(sentences) for name, sentences in named.items()}
