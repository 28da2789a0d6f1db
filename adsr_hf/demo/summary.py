"""From the demo's cells to its table and its words."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from adsr_hf.decision.arms import read_arm
from adsr_hf.decision.compare import corrected
from adsr_hf.decision.deltas import Delta, delta_of, run_delta
from adsr_hf.demo.settings import ARMS, EPSILON, EVALUATED_EPSILONS, EVALUATION_STEPS, SEEDS
from adsr_hf.records.text_tables import as_markdown, mean_and_spread

ARM_NAMES = {"clean": "clean training", "pgd_at": "adversarial training", "adsr": "ADSR"}

Result = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """One figure of the table.

    Attributes:
        name: heading.
        recorded: its name in a summary; None for the drop from the best to the last robust accuracy in training.
    """

    name: str
    recorded: str | None

    def read(self, result: Result) -> float:
        """Take it from a cell's result, as a share in [0, 1]."""
        if self.recorded is None:
            return float(result["robust_overfitting"]["student"]["gap"])
        return float(result["summary"]["figures"][self.recorded]["value"])


FIGURES = (
    Figure("accuracy", "accuracy"),
    Figure("robust accuracy", f"Linf {EPSILON}/robust_accuracy"),
    Figure("ECE", "ece"),
    Figure("ECE, one temperature fitted", "ece_after_temperature"),
    Figure("ECE under attack", f"Linf {EPSILON}/robust_ece"),
    Figure("best minus last robust", None),
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

ADSR against adversarial training, paired by image, with 95% intervals over images and seeds; better and worse after
Holm's correction over these figures. The change in ECE is that of the root mean squared gap between confidence and
accuracy, without the bias that chance brings:

{changes}
"""


def differences(results: Sequence[Result], first: str, second: str) -> list[str]:
    """What changes from arm ``second`` to arm ``first``, figure by figure, in plain words.

    By the tests and intervals of ``adsr compare``, which carry images and seeds, Holm-corrected over the figures. What
    is measured on held-out images while training has an interval over seeds and no test.
    """
    arms = [read_arm([result["folder"] for result in results if result["arm"] == arm]) for arm in (first, second)]
    deltas = []
    for figure in FIGURES:
        if figure.recorded is None:
            sides = ([figure.read(one) for one in results if one["arm"] == arm] for arm in (first, second))
            deltas.append(run_delta("best_to_last_gap", *sides))
        else:
            delta = delta_of(figure.recorded, *arms)
            assert delta is not None
            deltas.append(delta)
    return [f"{figure.name}: {_in_words(delta)}" for figure, delta in zip(FIGURES, corrected(deltas), strict=True)]


def _in_words(delta: Delta) -> str:
    low, high = (100 * end for end in delta.interval)
    verdict = "no clear difference" if delta.verdict == "no evidence" else delta.verdict
    words = "not tested" if delta.p_value is None else verdict
    return f"{100 * delta.delta:+.1f} points [{low:+.1f}, {high:+.1f}], {words}"


def curve(results: Sequence[Result], arm: str) -> tuple[list[float], list[list[float]]]:
    """Radii, 0 first, and for each the accuracies over seeds, as shares in [0, 1]."""
    names = ["accuracy", *(f"Linf {epsilon}/robust_accuracy" for epsilon in EVALUATED_EPSILONS)]
    own = [result for result in results if result["arm"] == arm]
    return [0.0, *EVALUATED_EPSILONS], [[Figure(name, name).read(result) for result in own] for name in names]


def training_curve(results: Sequence[Result], arm: str, figure: str) -> tuple[list[int], list[float]]:
    """Steps and mean over seeds of a logged figure; empty where the arm does not log it."""
    values: dict[int, list[float]] = {}
    for result in results:
        if result["arm"] == arm:
            for entry in result["log_history"]:
                if figure in entry:
                    values.setdefault(int(entry["step"]), []).append(float(entry[figure]))
    return list(values), [mean(one) for one in values.values()]
