"""HTML from text: everything is escaped on the way in, unless it is already markup."""

from collections.abc import Iterable, Sequence
from html import escape


class Html(str):
    """Text that is markup already."""


def element(name: str, *parts: str, css: str | None = None, **attributes: str) -> Html:
    """``<name …>parts</name>``.

    Args:
        parts: escaped unless they are :class:`Html`.
        css: the class attribute.
        attributes: their names with ``_`` for ``-``.
    """
    given = attributes if css is None else {"class": css, **attributes}
    written = "".join(f' {key.replace("_", "-")}="{escape(value)}"' for key, value in given.items())
    return Html(f"<{name}{written}>{joined(parts)}</{name}>")


def joined(parts: Iterable[str]) -> Html:
    """Parts one after the other, each escaped unless it is markup."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def bullets(items: Iterable[str]) -> Html:
    """An unordered list."""
    return element("ul", *(element("li", item) for item in items))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, label: str) -> Html:
    """A table that scrolls sideways in its own box where the page is narrow; the first column heads the rows."""
    heading = element("tr", *(element("th", cell, scope="col") for cell in head))
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:])) for row in rows
    ]
    content = element("table", element("thead", heading), element("tbody", *body))
    return element("div", content, css="scroll", tabindex="0", role="region", aria_label=label)


def figure(drawing: str, caption: str) -> Html:
    """A drawing with its title above it.

    Args:
        drawing: an ``<svg>`` element.
    """
    return element("figure", element("figcaption", caption), Html(drawing))


def grid(figures: Iterable[Html], *, small: bool = False) -> Html:
    """Figures side by side where there is room."""
    return element("div", *figures, css="grid small" if small else "grid")
