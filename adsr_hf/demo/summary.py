"""From the demo's cells to its table and its words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from adsr_hf.demo.settings import ARMS, EPSILON, EVALUATED_EPSILONS, EVALUATION_STEPS, SEEDS
from adsr_hf.tables import as_markdown, mean_and_spread

ARM_NAMES = {"clean": "clean training", "pgd_at": "adversarial training", "adsr": "ADSR"}

Result = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """One figure of the table.

    Attributes:
        name: heading.
        read: takes it from a cell's result, as a share in [0, 1].
        higher_is_better: which direction a reader hopes for.
    """

    name: str
    read: Callable[[Result], float]
    higher_is_better: bool


def _recorded(name: str) -> Callable[[Result], float]:
    return lambda result: float(result["summary"]["figures"][name]["value"])


FIGURES = (
    Figure("accuracy", _recorded("accuracy"), True),
    Figure("robust accuracy", _recorded(f"Linf {EPSILON}/robust_accuracy"), True),
    Figure("ECE", _recorded("ece"), False),
    Figure("ECE, one temperature fitted", _recorded("ece_after_temperature"), False),
    Figure("ECE under attack", _recorded(f"Linf {EPSILON}/robust_ece"), False),
    Figure("best minus last robust", lambda result: result["robust_overfitting"]["student"]["gap"], False),
)


def table(results: Sequence[Result]) -> list[list[str]]:
    """Rows of text: a heading, then one row for each arm with mean ± standard deviation over seeds, in percent."""
    rows = [["trained by", *(figure.name for figure in FIGURES), "seconds"]]
    for arm in ARMS:
        own = [result for result in results if result["arm"] == arm]
        cells = [mean_and_spread([figure.read(result) for result in own]) for figure in FIGURES]
        rows.append([ARM_NAMES[arm], *cells, f"{mean(result['train_seconds'] for result in own):.0f}"])
    return rows


def as_document(results: Sequence[Result], machine: str, seconds: float) -> str:
    """The table as a Markdown file that says what was measured, on what, and by which command."""
    changes = "\n".join(f"- {line}" for line in differences(results, "adsr", "pgd_at"))
    return f"""# What the demo printed

Regenerate: `make demo`, then `cp demo-output/table.md docs/results/demo.md` (the figures follow the machine's
arithmetic in the last digits). {seconds:.0f} s on {machine}.

The same small ViT on scikit-learn's 8x8 digits, seeds {", ".join(map(str, SEEDS))};
{results[0]["summary"]["data"]["images"]} test images, on which nothing was chosen.
Percent, mean ± standard deviation over seeds. Robust: Linf {EPSILON}, PGD-{EVALUATION_STEPS}, which is an upper bound.

{as_markdown(table(results))}

ADSR against adversarial training, paired by seed:

{changes}
"""


def differences(results: Sequence[Result], first: str, second: str) -> list[str]:
    """What changes from arm ``second`` to arm ``first``, figure by figure, paired by seed, in plain words.

    A change is called better or worse only if it goes the same way for every seed and exceeds the spread between
    seeds; otherwise there is no clear difference. Three seeds are few: this is a reading aid, not a test.
    """
    by_seed = {(result["arm"], result["seed"]): result for result in results}
    seeds = sorted({result["seed"] for result in results})
    lines = []
    for figure in FIGURES:
        changes = [figure.read(by_seed[first, seed]) - figure.read(by_seed[second, seed]) for seed in seeds]
        lines.append(f"{figure.name}: {_in_words(changes, figure)}")
    return lines


def _in_words(changes: list[float], figure: Figure) -> str:
    average, spread = mean(changes), stdev(changes) if len(changes) > 1 else 0.0
    same_way = all(change > 0 for change in changes) or all(change < 0 for change in changes)
    if not same_way or abs(average) <= spread:
        verdict = "no clear difference"
    else:
        verdict = "better" if (average > 0) == figure.higher_is_better else "worse"
    return f"{100 * average:+.1f} ± {100 * spread:.1f} points, {verdict}"


def curve(results: Sequence[Result], arm: str) -> tuple[list[float], list[list[float]]]:
    """Radii, 0 first, and for each the accuracies over seeds, as shares in [0, 1]."""
    names = ["accuracy", *(f"Linf {epsilon}/robust_accuracy" for epsilon in EVALUATED_EPSILONS)]
    own = [result for result in results if result["arm"] == arm]
    return [0.0, *EVALUATED_EPSILONS], [[_recorded(name)(result) for result in own] for name in names]


def training_curve(results: Sequence[Result], arm: str, figure: str) -> tuple[list[int], list[float]]:
    """Steps and mean over seeds of a logged figure; empty where the arm does not log it."""
    values: dict[int, list[float]] = {}
    for result in results:
        if result["arm"] == arm:
            for entry in result["log_history"]:
                if figure in entry:
                    values.setdefault(int(entry["step"]), []).append(float(entry[figure]))
    return list(values), [mean(one) for one in values.values()]
