"""Numbers and names of figures as a reader meets them."""

from adsr_hf.attacks import ThreatModel
from adsr_hf.decision.deltas import Delta
from adsr_hf.evaluation.figure_names import figure_kind
from adsr_hf.records.sentences import Recorded
from adsr_hf.report.markup import Html, element, joined
from adsr_hf.report.report_data import Value
from adsr_hf.report.texts import Texts

# Figures that are no shares; all others are told in percent.
_PLAIN = {"negative_log_likelihood": 3, "brier_score": 3, "training_images_per_second": 0, "images_per_second": 0}


def number(name: str, value: float) -> str:
    """A figure's value: ``"71.8%"``, or a plain number where it is no share."""
    digits = _decimals(name)
    return f"{100 * value:.1f}%" if digits is None else f"{value:.{digits}f}"


def span(name: str, low: float, high: float) -> str:
    """An interval: ``"67.7–75.6%"``."""
    digits = _decimals(name)
    return f"{100 * low:.1f}–{100 * high:.1f}%" if digits is None else f"{low:.{digits}f}–{high:.{digits}f}"


def change(name: str, value: float) -> str:
    """A difference with its sign, in percentage points or in the figure's own unit."""
    digits = _decimals(name)
    shown = round(100 * value, 1) if digits is None else round(value, digits)
    # Adding 0 takes the sign from a zero.
    return f"{shown + 0.0:+.{1 if digits is None else digits}f}".replace("-", "−")


def css_of(delta: Delta) -> str:
    """The class of a verdict."""
    return {"better": "good", "worse": "bad", "no evidence": "muted"}[delta.verdict]


def _decimals(name: str) -> int | None:
    """Of a figure that is no share; None for shares."""
    return _PLAIN.get(figure_kind(name).removeprefix("robust_"))


def with_interval(name: str, value: Value | None, texts: Texts) -> Html:
    """A table's cell: the value, and its interval in small print; says so where it was not measured."""
    if value is None:
        return element("span", texts("missing.cell"), css="muted")
    return joined(
        [number(name, value.value), element("small", Html("&nbsp; "), span(name, value.low, value.high), css="muted")]
    )


def figure_name(name: str, threats: list[str], texts: Texts) -> str:
    """What people call a figure of the records."""
    for threat in sorted(threats, key=len, reverse=True):
        if name.startswith(f"{threat}/"):
            attack, _, figure = name.removeprefix(f"{threat}/").rpartition("/")
            if attack:
                return texts("figure.by_attack", threat=threat, attack=attack)
            plain = figure if figure == "robust_accuracy" else figure.removeprefix("robust_")
            return texts("figure.attacked", figure=texts(f"figure.{plain}"), threat=threat)
    return texts(f"figure.{name}")


def threat_words(threat: str, texts: Texts) -> str:
    """What the attacker may do, in words."""
    parsed = ThreatModel.parse(threat)
    if parsed.norm == "Linf":
        return texts("threat.linf", levels=f"{255 * parsed.epsilon:.4g}")
    return texts("threat.l2", epsilon=f"{parsed.epsilon:.4g}")


def recorded(words: Recorded, texts: Texts) -> Html:
    """A sentence from a record in the page's language; of an earlier version's record in English, and marked so."""
    if isinstance(words, str) and texts.language != "en":
        return element("q", words, lang="en")
    return joined([texts.recorded(words)])


def missing(words: str) -> Html:
    """A paragraph that says what is not there, and how to get it."""
    return element("p", words, css="missing")
