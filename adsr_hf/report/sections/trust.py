"""How far the figures can be trusted, and what they do not say."""

from adsr_hf.report.markup import Html, bullets, element
from adsr_hf.report.report_data import ReportData
from adsr_hf.report.sections.overview import STANDARD_ATTACKS
from adsr_hf.report.wording import recorded


def trust(data: ReportData) -> Html:
    """What holds for every report, what holds for this one, and the records' own notes."""
    texts = data.texts
    attacks = {attack["name"] for arm in data.arms for attack in arm.summary["attacks"]}
    keys = ["attack_full" if attacks >= STANDARD_ATTACKS else "attack_weak"] if attacks else []
    keys += ["interval", "seeds" if any(len(arm.members) > 1 for arm in data.arms) else "one_seed", "threat"]
    if any(arm.value("noise/accuracy") for arm in data.arms):
        keys.append("noise")
    if any(arm.summary["data"]["split"] == "validation" for arm in data.arms):
        keys.append("validation")
    notes = dict.fromkeys(
        recorded(note, texts) for _, _, member in data.members for note in member.records.summary["notes"]
    )
    return element(
        "section",
        element("h2", texts("trust.title")),
        bullets([*(texts(f"trust.{key}") for key in keys), *notes]),
    )
