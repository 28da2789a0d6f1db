"""What was trained, on what, against whom."""

from pathlib import Path
from typing import Any

from adsr_hf.report.markup import Html, element, joined, table
from adsr_hf.report.report_data import ReportData, ShownArm, trained_threat
from adsr_hf.report.texts import Texts
from adsr_hf.report.wording import missing, recorded, threat_words

_SPLITS = ("train", "validation", "test")


def trained(data: ReportData) -> Html:
    """A table with a column for each arm."""
    texts = data.texts
    facts = [_facts(arm, texts) for arm in data.arms]
    keys = list(dict.fromkeys(key for row in facts for key in row))
    absent = ["–" if arm.members[0].run else texts("missing.record") for arm in data.arms]
    rows = [
        [texts(f"trained.{key}"), *(row.get(key, mark) for row, mark in zip(facts, absent, strict=True))]
        for key in keys
    ]
    unknown = [arm.name for arm in data.arms if arm.members[0].run is None]
    parts = [element("h2", texts("trained.title"))]
    if len(data.arms) == 2:
        parts.append(element("p", texts("trained.roles", candidate=data.arms[0].name, current=data.arms[1].name)))
    content = table(["", *(arm.name for arm in data.arms)], rows, label=texts("trained.title"))
    parts.append(element("div", content, css="wordy"))
    parts += [missing(texts("trained.no_record", name=name)) for name in unknown]
    if data.threat is not None:
        parts.append(element("p", texts("trained.threat_words", change=threat_words(data.threat, texts))))
    return element("section", *parts)


def _facts(arm: ShownArm, texts: Texts) -> dict[str, str]:
    """Names of rows and what stands in this arm's column."""
    summary, run = arm.summary, arm.members[0].run
    model, data = summary["model"], summary["data"]
    facts = {} if run is None else _training_facts(arm, run, texts)
    return facts | {
        "weights": texts(f"weights.{model['weights']}") if model["weights"] else texts("missing.record"),
        "parameters": f"{model['parameters']:,}",
        "measured_on": texts("trained.images_of", images=f"{data['images']:,}", split=texts(f"split.{data['split']}")),
        "image_shape": " × ".join(map(str, data["image_shape"])),
        "classes": _classes(model["class_names"], texts),
        "measured_against": texts("list.comma").join(summary["threats"]) or texts("trained.no_threat"),
        "attacks": joined_attacks(summary["attacks"], texts) or texts("trained.no_threat"),
    }


def _training_facts(arm: ShownArm, run: dict[str, Any], texts: Texts) -> dict[str, str]:
    config, model = run["config"], run["model"]
    threat = trained_threat(arm.members[0])
    seeds = [str(member.run["config"].get("seed")) for member in arm.members if member.run is not None]
    facts = {
        "method": _method(config.get("method"), texts),
        "threat": threat or texts("trained.no_threat"),
        "attack": texts("trained.pgd", steps=config["attack_steps"]) if threat and "attack_steps" in config else "",
        "network": str(model.get("model") or model.get("model_type")),
        "data": _data(run, texts),
        "epochs": _epochs(run),
        "teacher": f"{config['teacher_decay']:g}"
        if config.get("method") == "adsr" and "teacher_decay" in config
        else "",
        "seed": texts("list.comma").join(seeds),
    }
    return {key: value for key, value in facts.items() if value}


def _epochs(run: dict[str, Any]) -> str:
    """How many were trained, which is not num_train_epochs where max_steps ends a run."""
    logged = [float(entry["epoch"]) for entry in run["log_history"] if "epoch" in entry]
    return f"{max(logged):.3g}" if logged else ""


def _data(run: dict[str, Any], texts: Texts) -> Html:
    """Name and sizes of the data, and what was done to its images."""
    sizes = [f"{texts(f'split.{name}')} {count:,}" for name in _SPLITS if (count := run["images"].get(name))]
    name = Path(run["data"]["dataset"]).name
    sizes_in_words = texts("trained.data_sizes", name=name, sizes=texts("list.comma").join(sizes))
    summary = run["data_summary"]
    # Earlier versions recorded one line. Each leads with what stands here already.
    parts = summary.split("; ") if isinstance(summary, str) else summary
    treated = [recorded(part, texts) for part in parts[1:]]
    return joined([sizes_in_words, *(piece for part in treated for piece in (texts("list.comma"), part))])


def _method(method: str | None, texts: Texts) -> str:
    key = f"method.{method}"
    return texts(key) if key in texts else str(method)


def _classes(names: list[str], texts: Texts) -> str:
    shown = texts("list.comma").join(names[:10])
    return shown if len(names) <= 10 else texts("trained.classes_more", shown=shown, count=len(names))


def joined_attacks(attacks: list[dict[str, Any]], texts: Texts) -> Html:
    """Every attack with its settings, in the order in which they were run."""
    described = []
    for attack in attacks:
        settings = [f"{key}={value}" for key, value in attack.items() if key not in ("name", "note")]
        described.append(f"{attack['name']} ({', '.join(settings)})" if settings else attack["name"])
    return joined([texts("list.then").join(described)])
