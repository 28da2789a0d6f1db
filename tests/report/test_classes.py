"""What an average hides is on the page: classes, error rates, the most frequent class."""

from pathlib import Path

import pytest

from adsr_hf.decision.arms import read_arm
from adsr_hf.decision.compare import compare
from tests.report.reading import Reader, page_of, write_run

NAMES = ("good", "defective <1>")


def two_class_runs(folder: Path, positive_class: str | None = None) -> list[Path]:
    """A candidate that is right for nearly the majority class's share, and a better current model."""
    settings = {
        "examples": 0,
        "images": 400,
        "num_classes": 2,
        "class_names": NAMES,
        "class_shares": (0.7, 0.3),
        "positive_class": positive_class,
    }
    return [
        write_run(folder / "candidate", accuracy=0.68, robust={"Linf 8/255": 0.6}, **settings),
        write_run(folder / "current", accuracy=0.95, robust={"Linf 8/255": 0.9}, train_seed=1, seed=1, **settings),
    ]


def test_every_class_stands_with_its_images_its_verdict_and_both_accuracies(tmp_path: Path) -> None:
    runs = two_class_runs(tmp_path)
    found = compare(*(read_arm([str(run)]) for run in runs), latency=False)
    page = Reader(page_of(*runs))
    images, verdict, change, mine, theirs = page.row("defective <1>")
    delta = found.delta("class_accuracy/defective <1>")
    assert delta is not None
    assert delta.verdict == "worse"
    assert int(images) == delta.images
    assert verdict == "worse"
    assert change.startswith(f"{100 * delta.delta:+.1f}".replace("-", "−"))
    assert (mine.split()[0], theirs.split()[0]) == tuple(
        f"{100 * one:.1f}%" for one in (delta.candidate, delta.current)
    )


def test_a_class_that_got_worse_and_an_accuracy_within_the_majority_share_are_said_at_the_top(tmp_path: Path) -> None:
    page = Reader(page_of(*two_class_runs(tmp_path)))
    top = page.text[: page.text.index("What was trained, against what")]
    assert "Worse than current for single classes:" in top
    assert "“defective <1>”, clean images" in top
    assert "candidate is not shown to do better than always saying “good”: clean images" in top
    assert "current is not shown" not in top


def test_a_model_that_beats_the_majority_class_is_not_warned_of_and_the_share_stands_beside_it(tmp_path: Path) -> None:
    page = Reader(page_of(two_class_runs(tmp_path)[1]))
    assert "is not shown to do better" not in page.text
    assert "A model that always said “good”, the most frequent class, would reach" in page.text


@pytest.mark.parametrize(
    ("positive", "wanted"),
    [
        (None, "“defective <1>” read as “good”, clean images"),
        ("defective <1>", "Missed: “defective <1>” read as “good”, clean images"),
        ("good", "False alarm: “defective <1>” read as “good”, clean images"),
    ],
)
def test_error_rates_of_two_classes_have_their_names(tmp_path: Path, positive: str | None, wanted: str) -> None:
    page = Reader(page_of(*two_class_runs(tmp_path, positive)))
    mine = float(page.row(wanted)[0].split("%")[0])
    right = float(page.row("defective <1>")[3].split("%")[0])
    assert mine == pytest.approx(100 - right, abs=0.11)


def test_confusion_matrices_hold_every_image_and_their_diagonal_is_what_is_right(tmp_path: Path) -> None:
    runs = two_class_runs(tmp_path)
    page = Reader(page_of(runs[0]))
    matrices = [
        [[int(cell) for cell in row[1:]] for row in page.rows[place + 1 : place + 3]]
        for place, row in enumerate(page.rows)
        if row == ["true \\ read as", *NAMES]
    ]
    assert len(matrices) == 2
    for matrix, right in zip(matrices, (0.68, 0.6), strict=True):
        assert sum(map(sum, matrix)) == 400
        assert (matrix[0][0] + matrix[1][1]) / 400 == pytest.approx(right, abs=0.003)


def test_the_worst_of_many_classes_come_first_and_the_others_are_counted(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", images=900, num_classes=30)
    page = Reader(page_of(run))
    assert "The 20 worst of 30 classes are shown" in page.text
    assert "A matrix of 30 classes does not fit a page" in page.text
