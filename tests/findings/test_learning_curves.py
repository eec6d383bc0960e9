import pytest
from matplotlib.figure import Figure

from pipelines.findings.learning_curves import draw_learning_curves


@pytest.mark.parametrize("epochs", [1, 2, 9])
def test_the_ticks_of_the_epochs_are_whole_numbers(tmp_path, monkeypatch, epochs):
    drawn = []
    save = Figure.savefig

    def note(figure, *given, **more):
        drawn.append(figure)
        save(figure, *given, **more)

    monkeypatch.setattr(Figure, "savefig", note)
    rows = [
        {"epoch": epoch, "split": split, "name": "loss", "value": 1 / epoch}
        for epoch in range(1, epochs + 1)
        for split in ("train", "val")
    ]
    draw_learning_curves(rows, tmp_path / "curves.png", best_epoch=1)
    axes = drawn[0].axes[0]
    low, high = axes.get_xlim()
    shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert shown
    assert all(tick == round(tick) for tick in shown)
    assert [len(line.get_xdata()) for line in axes.lines[:2]] == [epochs, epochs]
