"""``adsr compare CANDIDATE CURRENT [--baseline RUN]``."""

from pathlib import Path
from typing import TYPE_CHECKING

from adsr_hf.cli.main import OK
from adsr_hf.cli.options import OptionParser, yes_or_no
from adsr_hf.records.text_tables import quoted

if TYPE_CHECKING:
    from adsr_hf.decision.compare import Comparison

# Of more figures of classes only those with evidence are printed.
_SHOWN_CLASS_FIGURES = 40

_RUNS = "a folder that `adsr evaluate` or `adsr train` wrote; several seeds of one arm are joined by commas"


def run(words: list[str]) -> int:
    """Print every figure's difference with its interval and verdict, and write it down if asked to."""
    parser = OptionParser(
        prog="adsr compare",
        description="The A/B test: two models on the same test images, paired image by image. Figures that differ "
        "beyond chance, after Holm's correction, are called better or worse; the rest is no evidence.",
    )
    parser.add_argument("candidate", help=_RUNS)
    parser.add_argument("current", help=f"the model in use: {_RUNS}")
    parser.add_argument("--baseline", default=None, help=f"a third arm, against which both are shown too: {_RUNS}")
    parser.add_argument("--latency", type=yes_or_no, default=True, help="time both networks in turn (default true)")
    parser.add_argument("--output", type=Path, default=None, help="JSON file for everything that was found")
    arguments = parser.parse_args(words)
    from adsr_hf.decision.arms import read_arm
    from adsr_hf.decision.compare import compare
    from adsr_hf.records.files import write_json

    candidate, current = (read_arm(folders.split(",")) for folders in (arguments.candidate, arguments.current))
    comparisons = [compare(candidate, current, latency=arguments.latency)]
    if arguments.baseline is not None:
        baseline = read_arm(arguments.baseline.split(","))
        comparisons += [compare(arm, baseline, latency=False) for arm in (candidate, current)]
    for comparison in comparisons:
        print(as_text(comparison), end="\n\n")
    if arguments.output is not None:
        first, *others = [comparison.as_dict() for comparison in comparisons]
        write_json(arguments.output, first | {"against_baseline": others})
    return OK


def as_text(comparison: "Comparison") -> str:
    """A paragraph for a terminal: one line a figure."""
    from adsr_hf.decision.compare import SCOPE_WORDS, in_words, is_of_class
    from adsr_hf.records.sentences import worded

    averages = [delta for delta in comparison.deltas if not is_of_class(delta.name)]
    of_classes = [delta for delta in comparison.deltas if is_of_class(delta.name)]
    lines = [f"{comparison.candidate} against {comparison.current}, {comparison.images} test images, percent:"]
    lines += [f"  {in_words(delta)}" for delta in averages]
    lines += majority_lines(comparison)
    shown = of_classes
    if len(of_classes) > _SHOWN_CLASS_FIGURES:
        shown = [delta for delta in of_classes if delta.verdict != "no evidence"]
    lines += [f"  {in_words(delta)}" for delta in shown]
    if len(shown) < len(of_classes):
        lines.append(f"  {len(of_classes) - len(shown)} more figures of classes: no evidence (--output has them all)")
    lines.append(f"  {SCOPE_WORDS[comparison.scope]}")
    pair = comparison.latency
    if pair is not None and pair.proven:
        lines.append("  inference: both are one architecture, so that it costs the same")
    elif pair is not None:
        lines.append(
            f"  inference: {pair.candidate_milliseconds:.3f} against {pair.current_milliseconds:.3f} ms an image, "
            f"ratio {pair.ratio:.3f} [{pair.interval[0]:.3f}, {pair.interval[1]:.3f}]: {pair.verdict}"
        )
    lines += [f"  not compared: {name}: {worded(reason)}" for name, reason in comparison.not_compared.items()]
    return printable(lines)


def printable(lines: list[str]) -> str:
    """The lines as one text; a class's name may hold what a terminal would obey."""
    return "\n".join("".join(letter if letter.isprintable() else "?" for letter in line) for line in lines)


def majority_lines(comparison: "Comparison") -> list[str]:
    """What always saying the most frequent class would reach, and a warning where a side is not shown to beat it."""
    from adsr_hf.measures.majority import majority_warning

    share, name = comparison.majority_share, comparison.majority_class
    return [
        f"  always {quoted(name)}: {100 * share:.1f}, clean and under attack",
        *(
            f"  {majority_warning(name, share, conditions, of=f'the {side} model')}"
            for side, conditions in comparison.not_beaten.items()
            if conditions
        ),
    ]
