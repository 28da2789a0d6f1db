"""Which line is whose."""

from adsr_hf.report.drawing import swatch
from adsr_hf.report.markup import Html, element
from adsr_hf.report.report_data import ReportData


def legend(data: ReportData) -> Html:
    """Every arm's line with its name."""
    entries = [element("li", Html(swatch(arm.style)), arm.name) for arm in data.arms]
    return element("ul", *entries, css="legend")
