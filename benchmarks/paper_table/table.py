"""From the records of finished rows to JSON and Markdown."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from adsr_hf.evaluation.vectors import figure_vector
from adsr_hf.measures.statistics import bootstrap_interval, resampling_weights, wilson_interval
from benchmarks.paper_table.settings import PAIRS, ROWS, THREAT
from benchmarks.paper_table.work import FINISHED_FILE, read_row

_PGD = f"{THREAT}/robust_accuracy"


def collect(folder: Path, plan: dict[str, Any], parts: int) -> dict[str, Any]:
    """Everything that is finished so far.

    Args:
        folder: that holds a folder for each network.
        plan: see :func:`benchmarks.paper_table.plan.make_plan`.
        parts: into how many parts the test images were cut.

    Returns:
        ``rows``, ``comparisons`` and ``complete``; accuracies are shares in [0, 1].
    """
    rows, comparisons = [], []
    for network in plan["networks"]:
        own = [row for row, (run, _) in ROWS.items() if run in plan["runs"]]
        # Only parts that every row has: all figures and differences are over the same images.
        whole = 0
        while whole < parts and all(_part(folder / network, row, whole) is not None for row in own):
            whole += 1
        vectors = {row: _stands(folder / network, row, whole) for row in own}
        found = [_row(folder / network, network, row, vectors[row], plan) for row in own]
        rows += [entry for entry in found if entry is not None]
        for better, base in PAIRS:
            first, second = vectors.get(better), vectors.get(base)
            if first is not None and second is not None:
                comparisons.append(_difference(network, better, base, first, second))
    wanted = sum(run in plan["runs"] for run, _ in ROWS.values()) * len(plan["networks"])
    complete = len(rows) == wanted and all(row["autoattack_parts"] == parts for row in rows)
    return {"rows": rows, "comparisons": comparisons, "complete": complete}


def _part(folder: Path, row: str, number: int) -> Any:
    return read_row(folder, row, f"autoattack-{number}")


def _stands(folder: Path, row: str, whole: int) -> np.ndarray | None:
    """(N,) of 0 and 1: which images withstand AutoAttack, over the first ``whole`` parts; None before the first."""
    vectors = [figure_vector(_part(folder, row, number), _PGD) for number in range(whole)]
    return np.concatenate([vector for vector in vectors if vector is not None]) if vectors else None


def _row(
    folder: Path, network: str, row: str, stands: np.ndarray | None, plan: dict[str, Any]
) -> dict[str, Any] | None:
    run, weights = ROWS[row]
    if not (folder / run / FINISHED_FILE).is_file():
        return None
    facts = json.loads((folder / run / FINISHED_FILE).read_text(encoding="utf-8"))
    record: dict[str, Any] = {
        "network": network,
        "row": row,
        "weights": weights,
        "epochs": plan["epochs"][network],
        "trained_on": plan["trained_on"]["words"],
        "tested_on": plan["tested_on"]["words"],
        "train_images": facts["images"]["train"],
        "images_per_second": facts["images_per_second"],
        "zero_gradient_share": facts["zero_gradient_share"],
        "best_minus_last_pgd": facts["robust_overfitting"][weights]["gap"],
        "accuracy": None,
        "pgd_accuracy": None,
        "ece": None,
        "images": None,
        "autoattack_accuracy": None,
        "autoattack_images": 0,
        "autoattack_interval": None,
        "autoattack_parts": 0,
    }
    pgd = read_row(folder, row, "pgd")
    if pgd is not None:
        record |= {"accuracy": pgd.figure("accuracy"), "pgd_accuracy": pgd.figure(_PGD), "ece": pgd.figure("ece")}
        record["images"] = pgd.images
    if stands is not None:
        record |= {
            "autoattack_accuracy": float(stands.mean()),
            "autoattack_images": len(stands),
            "autoattack_interval": list(wilson_interval(int(stands.sum()), len(stands))),
            "autoattack_parts": sum(
                1 for path in (folder / run / f"measured-{weights}").glob("autoattack-*/summary.json")
            ),
        }
    return record


def _difference(network: str, better: str, base: str, first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    change = first - second
    low, high = bootstrap_interval(change, resampling_weights(len(change)))
    return {
        "network": network,
        "row": better,
        "against": base,
        "images": len(change),
        "difference": float(change.mean()),
        "interval": [low, high],
    }


def markdown(record: dict[str, Any]) -> str:
    """The table for people, with what it can and cannot say."""
    plan, complete = record["plan"], record["complete"]
    state = "complete" if complete else "NOT complete: some rows or images are still to come"
    smoke = ["", "**Smoke run: networks and data too small to mean anything.**"] if plan["smoke"] else []
    jpeg = plan["trained_on"]["coding"] == "JPEG"
    lossy = ", which are lossy, so that no figure is comparable with published tables" if jpeg else ""
    trained = " (JPEG-trained)" if jpeg else ""
    lines = [
        "# The paper's CIFAR-10 rows, in a short schedule",
        "",
        "Regenerate: `python -m benchmarks.paper_table`, again and again until it exits with 0.",
        f"On {plan['device']}; {state}.",
        *smoke,
        "",
        f"**Trained on {plan['trained_on']['words']}**{lossy}.",
        f"Tested on {plan['tested_on']['words']}, the first ones.",
        f"{THREAT}; all rows of a network have the same images, epochs and seed. Percent.",
        "PGD: 20 steps, an upper bound. Best − last: robust accuracy (PGD-10) on held-out images.",
        "",
        "| network | row | epochs | accuracy | PGD | AutoAttack [95%] | on images | ECE | best − last | images/s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        interval = row["autoattack_interval"]
        attacked = f"{_percent(row['autoattack_accuracy'])}" + (
            f" [{_percent(interval[0])}, {_percent(interval[1])}]" if interval else ""
        )
        lines.append(
            f"| {row['network']}{trained} | {row['row']} | {row['epochs']} | {_percent(row['accuracy'])} | "
            f"{_percent(row['pgd_accuracy'])} | {attacked} | {row['autoattack_images']} | {_percent(row['ece'])} | "
            f"{_percent(row['best_minus_last_pgd'])} | {row['images_per_second']:.0f} |"
        )
    if record["comparisons"]:
        lines += [
            "",
            "Differences under AutoAttack, image by image, in points (95% interval of the bootstrap; one seed):",
            "",
        ]
    for one in record["comparisons"]:
        low, high = one["interval"]
        lines.append(
            f"- {one['network']}: {one['row']} − {one['against']}: {100 * one['difference']:+.1f} "
            f"[{100 * low:+.1f}, {100 * high:+.1f}] on {one['images']} images"
        )
    lines += ["", *[f"- {verdict}" for verdict in record["verdicts"]]]
    return "\n".join(lines) + "\n"


def verdicts(found: dict[str, Any]) -> list[str]:
    """The goals of this table, and what its figures say about them."""
    lines = []
    for one in found["comparisons"]:
        if (one["row"], one["against"]) == ("ADR", "AT"):
            low, high = one["interval"]
            outcome = "met" if low >= 0.01 else "not met" if high < 0.01 else "not decidable with these images"
            lines.append(f"{one['network']}: ADR at least 1 point of AutoAttack above AT: {outcome}")
    gaps = {(row["network"], row["row"]): row["best_minus_last_pgd"] for row in found["rows"]}
    for (network, row), gap in gaps.items():
        if row == "ADR" and (network, "AT") in gaps:
            outcome = "met" if gap <= gaps[network, "AT"] / 2 else "not met"
            lines.append(f"{network}: ADR's drop from best to last at most half of AT's: {outcome}")
    best = [row["autoattack_accuracy"] for row in found["rows"] if row["network"] == "vit_t"]
    if any(value is not None for value in best):
        top = max(value for value in best if value is not None)
        lines.append(f"vit_t: 45% AutoAttack from scratch: {'met' if top >= 0.45 else 'not met'} ({_percent(top)})")
    return lines


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
