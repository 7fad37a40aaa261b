"""HTML that is safe whatever the names in it are, and times and sums as the page shows them. Pure."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

# Control characters as pictures of them, what would turn the text after it around as an escape; the others are no HTML.
_SHOWN: dict[int, int | str] = {code: 0x2400 + code for code in range(32) if code not in (9, 10, 13)}
_SHOWN |= {0x7F: 0x2421, **dict.fromkeys((0xFFFE, 0xFFFF, *range(0x80, 0xA0)), 0xFFFD)}
_SHOWN |= {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


# No reference to a character has one of them in it.
_BREAK = re.compile(r"([_/]+)(?=.)")


class Html(str):
    """A text that is HTML already."""

    __slots__ = ()


def plain(value: object) -> str:
    """A text as it may be shown: what is no UTF-8 as an escape, control characters as pictures."""
    return str(value).encode(errors="backslashreplace").decode().translate(_SHOWN)


def safe(value: object) -> Html:
    """A value as HTML: a text escaped, HTML as it is."""
    return value if isinstance(value, Html) else Html(html.escape(plain(value)))


def name(value: object) -> Html:
    """A name that somebody chose: of whatever direction its letters are, the text around it keeps its own.

    A line breaks in it after _ and / before it breaks anywhere.
    """
    broken = _BREAK.sub(r"\1<wbr>", safe(value))
    return Html(f"<bdi>{broken}</bdi>")


def tag(kind: str, *inside: object, **attributes: object) -> Html:
    """An element. Attributes that are None are left out; class_ is class, and data_label data-label."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{safe(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{kind}{told}>{join(inside)}</{kind}>")


def join(parts: Iterable[object], between: str = "") -> Html:
    """Parts one after the other, texts escaped."""
    return Html(between.join(safe(part) for part in parts))


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column: its head, and whether it has numbers, which are set right."""

    head: str
    number: bool = False


def table(
    caption: str, columns: Sequence[Column], rows: Iterable[Sequence[object]], *, foot: Sequence[object] = ()
) -> Html:
    """A table whose first column heads its rows. On a narrow screen each row is a card, its cells labelled by their heads."""

    def cells(row: Sequence[object]) -> Html:
        first, *rest = row
        # Roles are said too: as cards some browsers would take the elements for no table any more.
        made = [tag("th", first, scope="row", role="rowheader")]
        made += [
            tag(
                "td",
                tag("div", value) if value else "",
                class_="n" if column.number else None,
                data_label=column.head,
                role="cell",
            )
            for column, value in zip(columns[1:], rest, strict=True)
        ]
        return tag("tr", *made, role="row")

    heads = [
        tag("th", column.head, scope="col", class_="n" if column.number else None, role="columnheader")
        for column in columns
    ]
    return tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *heads, role="row"), role="rowgroup"),
        tag("tbody", *(cells(row) for row in rows), role="rowgroup"),
        tag("tfoot", cells(foot), role="rowgroup") if foot else "",
        role="table",
    )


def when(at: float | None) -> str:
    """A moment, UTC, to the minute."""
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def number(value: float) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,.0f}"


def counted(value: int, one: str) -> str:
    """A number and its noun: 1 file, 5,712 files."""
    return f"{value:,} {one}" + ("" if value == 1 else "s")


def hours(seconds: float) -> str:
    """A duration in hours; in minutes or seconds where hours would say nothing."""
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 120 or seconds == 60 else f"{seconds:.0f} s"


def usd(value: float | None) -> str:
    """A sum of money without its unit: two digits, and more where two would say nothing."""
    if value is None:
        return "?"
    if value >= 0.1 or value <= 0:
        return f"{value:,.2f}"
    return f"{value:.{1 - math.floor(math.log10(value))}f}"


def spread(values: tuple[float, float, float], shown: Callable[[float], str] = usd) -> Html:
    """The most likely of a range, and below it the range where there is one."""
    low, likely, high = (shown(value) for value in values)
    return safe(likely) if low == high else join([likely, tag("small", f"{low} to {high}")])
