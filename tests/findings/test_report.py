from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from pipelines.core.errors import ArtifactError
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import PREDICTIONS
from pipelines.findings.report import write_report


class Page(HTMLParser):
    """Collects the tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data.strip())

    def attributes(self, tag, name):
        return [attributes[name] for other, attributes in self.tags if other == tag and name in attributes]


def prediction(slide_id, **more):
    row = {"slide_id": slide_id, "patient_id": "p1", "label": "LUAD", "split": "test", "predicted": "LUAD"}
    return row | {"n_tiles": 12, "prob_LUAD": 0.75, "prob_LUSC": 0.25} | more


@pytest.fixture
def report(tmp_path):
    def write(rows, facts=None):
        PREDICTIONS.write(tmp_path / "predictions.parquet", rows, Provenance({"max_tiles": 512}))
        return Page(write_report(tmp_path, facts=facts or {}).read_text(encoding="utf-8"))

    return write


def test_the_page_shows_each_prediction_and_the_settings(report):
    page = report([prediction("s1"), prediction("s2", split=None, label=None)], {"encoder": "uni2"})
    for words in ("s1", "s2", "0.750", "0.250", "unseen", "encoder", "uni2", "max tiles", "512", "12"):
        assert words in page.words


def test_a_slide_id_cannot_inject_markup(report):
    evil = '<script>alert("x")</script>'
    page = report([prediction(evil, patient_id=evil, label=evil, predicted=evil)], {evil: evil})
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.words.count(evil) >= 5


def test_a_class_name_cannot_inject_markup(report):
    row = prediction("s1")
    row["prob_<b>"] = row.pop("prob_LUSC")
    page = report([row])
    assert "b" not in {tag for tag, _ in page.tags}
    assert "<b>" in page.words


def test_heatmaps_of_the_predictions_are_relative_links_to_files_that_exist(report, tmp_path):
    slide_id = 'site 1/50% "a"#2'
    picture = tmp_path / "heatmaps" / f"{slide_id}.jpg"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"jpg")
    (tmp_path / "heatmaps" / "left-over.jpg").write_bytes(b"of earlier settings, so not of the prediction")
    page = report([prediction(slide_id, heatmap="a1"), prediction("lost", heatmap="b2"), prediction("left-over")])
    (source,) = page.attributes("img", "src")
    assert not source.startswith("/")
    assert (tmp_path / unquote(source)).samefile(picture)
    assert page.attributes("figure", "id") == [page.attributes("a", "href")[0].removeprefix("#")]


def test_the_page_loads_nothing_from_the_network(report):
    page = report([prediction("s1")])
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "img"}


def test_a_prediction_that_differs_from_the_label_is_marked(report):
    page = report([prediction("s1"), prediction("s2", label="LUSC"), prediction("s3", label=None)])
    assert page.attributes("td", "class").count("wrong") == 1


def test_settings_are_written_for_people(report):
    page = report([prediction("s1")], {"attention": True, "limit": 200000})
    assert {"yes", "200,000"} <= set(page.words)


def test_a_folder_without_predictions_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no such file"):
        write_report(tmp_path, facts={})
