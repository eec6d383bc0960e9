import resource
import signal

import pytest
from matplotlib.figure import Figure

from pipelines.core.errors import ArtifactError
from pipelines.findings.figures import write_figure


@pytest.fixture
def small_disk():
    """Let no file become larger than 2,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("name", ["figure.jpg", "figure.png"])
def test_a_figure_that_does_not_fit_on_the_disk_is_an_error_and_leaves_no_file(tmp_path, small_disk, name):
    with pytest.raises(ArtifactError, match=name):
        write_figure(Figure(facecolor="red"), tmp_path / name, dpi=100)
    assert not list(tmp_path.iterdir())
