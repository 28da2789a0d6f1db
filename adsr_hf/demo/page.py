"""The demo's page: one self-contained HTML file in plain words."""

from collections.abc import Sequence
from html import escape
from typing import Any

from adsr_hf.demo.settings import ARMS, EPSILON, EVALUATION_STEPS, SEEDS, arm_settings
from adsr_hf.demo.summary import ARM_NAMES, curve, differences, table, training_curve
from adsr_hf.measures.calibration import ReliabilityBin
from adsr_hf.report.figures import accuracy_against_epsilon, reliability_diagram, training_curves

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-size: .85rem; display: block; overflow-x: auto; }
td, th { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #8886; }
td:first-child, th:first-child { text-align: left; }
svg { max-width: 100%; height: auto; } figure { margin: 1.5rem 0; } figcaption { font-size: .85rem; opacity: .8; }
"""


def demo_page(results: Sequence[dict[str, Any]], machine: str, seconds: float) -> str:
    """HTML text of the whole page.

    Args:
        results: one entry for each arm and seed.
        machine: what it ran on.
        seconds: wall time of training and evaluation.
    """
    images = results[0]["summary"]["data"]["images"]
    settings = arm_settings("adsr")
    comparisons = "".join(
        f"<h3>{escape(ARM_NAMES[first])} against {escape(ARM_NAMES[second])}</h3><ul>"
        + "".join(f"<li>{escape(line)}</li>" for line in differences(results, first, second))
        + "</ul>"
        for first, second in (("pgd_at", "clean"), ("adsr", "pgd_at"))
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>adsr demo: what robust training buys</title><style>{_STYLE}</style></head><body>
<h1>What robust training buys</h1>
<p>The same small vision transformer, trained three ways on 8×8 px images of handwritten digits with the same
budget, then attacked: each of {images} test images may be changed by at most {EPSILON} of the full brightness range in
every pixel, in the direction that hurts most (PGD, {EVALUATION_STEPS} steps; training used
{settings["attack_steps"]}). A robust image is one that is still read correctly. Figures are percent, mean ± standard
deviation over {len(SEEDS)} seeds.</p>
{_html_table(table(results))}
<h2>What changed, in words</h2>
{comparisons}
<p>“Better” and “worse” mean: the 95% interval, which carries the images and the seeds, lies beside 0, and the p-value
stays below 0.05 when it is corrected for the number of figures. ECE is the
gap between how sure the model says it is and how often it is right; 0 is best, and chance alone makes it larger, which
its change is freed from. “One temperature fitted” divides the
logits by one number fitted on held-out images, which changes no decision.</p>
<figure>{accuracy_against_epsilon({ARM_NAMES[arm]: curve(results, arm) for arm in ARMS}, EPSILON)}
<figcaption>Accuracy against the attacker's radius; bands are the range over seeds. Radius 0 is no attack.</figcaption>
</figure>
<figure>{reliability_diagram({ARM_NAMES[arm]: _bins(results, arm) for arm in ARMS})}
<figcaption>Reliability on clean test images, seed {SEEDS[0]}, before any temperature. Above the diagonal a model is
less sure than it could be; below, too sure. Larger marks hold more images.</figcaption></figure>
<figure>{training_curves(_panels(results))}
<figcaption>Left: ADSR's schedules. Right: robust accuracy on held-out images while training (PGD-10).</figcaption>
</figure>
<h2>How far to trust this</h2>
<p>These are toy images and a toy network, and PGD gives an upper bound: stronger attacks can only lower robust
accuracy. Whether ADSR is ahead here is what the table says and nothing more; measure it on your own images.</p>
<p>Made by <code>adsr demo</code> in {seconds:.0f} s on {escape(machine)}. Each run is an ordinary Hugging Face
checkpoint in <code>runs/</code>, with <code>run.json</code> and per-image records beside it.</p>
</body></html>
"""


def _html_table(rows: list[list[str]]) -> str:
    head, *body = rows
    heading = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body)
    return f"<table><thead><tr>{heading}</tr></thead><tbody>{lines}</tbody></table>"


def _bins(results: Sequence[dict[str, Any]], arm: str) -> list[ReliabilityBin]:
    first = next(result for result in results if result["arm"] == arm and result["seed"] == SEEDS[0])
    filled = [entry for entry in first["summary"]["reliability"]["clean"] if entry["count"]]
    return [ReliabilityBin(**entry) for entry in filled]


def _panels(results: Sequence[dict[str, Any]]) -> dict[str, dict[str, tuple[list[int], list[float]]]]:
    schedules = {
        name: training_curve(results, "adsr", figure)
        for name, figure in (
            ("temperature", "temperature"),
            ("interpolation λ", "interpolation"),
            ("mean λ over images", "mean_lambda"),
        )
    }
    robust = {ARM_NAMES[arm]: training_curve(results, arm, "eval_robust_accuracy") for arm in ARMS}
    return {"ADSR's schedules": schedules, "robust accuracy, held-out images": robust}
