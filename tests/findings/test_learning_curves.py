import pytest
from matplotlib.figure import Figure

from pipelines.findings.learning_curves import draw_learning_curves


@pytest.mark.parametrize("epochs", [1, 2, 9])
def test_ticks_on_the_axis_of_epochs_are_whole_numbers(tmp_path, monkeypatch, epochs):
    saved = []
    save = Figure.savefig

    def record(figure, *args, **kwargs):
        saved.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", record)
    rows = [
        {"epoch": epoch, "split": split, "name": "loss", "value": 1 / epoch}
        for epoch in range(1, epochs + 1)
        for split in ("train", "val")
    ]
    draw_learning_curves(rows, tmp_path / "curves.png", best_epoch=1)
    axes = saved[0].axes[0]
    low, high = axes.get_xlim()
    visible = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert visible
    assert all(tick == round(tick) for tick in visible)
    assert [len(line.get_xdata()) for line in axes.lines[:2]] == [epochs, epochs]
