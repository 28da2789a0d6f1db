"""Times as people say them. Imports nothing."""


def duration_in_words(seconds: float) -> str:
    """``"about 40 s"``, ``"about 12 min"`` or ``"about 3.5 h"``."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"
