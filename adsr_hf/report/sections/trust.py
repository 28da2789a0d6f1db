"""How far the figures can be trusted, and what they do not say."""

from adsr_hf.report.markup import Html, bullets, element, joined
from adsr_hf.report.report_data import ReportData
from adsr_hf.report.sections.overview import STANDARD_ATTACKS
from adsr_hf.report.wording import recorded


def trust(subject: ReportData) -> Html:
    """What holds for every report, what holds for this one, and the records' own notes."""
    texts = subject.texts
    attacks = {attack["name"] for arm in subject.arms for attack in arm.summary["attacks"]}
    keys = ["attack_full" if attacks >= STANDARD_ATTACKS else "attack_weak"] if attacks else []
    keys += ["interval", "seeds" if any(len(arm.members) > 1 for arm in subject.arms) else "one_seed", "threat"]
    if any(arm.value("noise/accuracy") for arm in subject.arms):
        keys.append("noise")
    if any(arm.summary["data"]["split"] == "validation" for arm in subject.arms):
        keys.append("validation")
    notes = dict.fromkeys(note for _, _, member in subject.members for note in member.records.summary["notes"])
    return element(
        "section",
        element("h2", texts("trust.title")),
        bullets([*(texts(f"trust.{key}") for key in keys), *(joined([recorded(note, texts)]) for note in notes)]),
    )
