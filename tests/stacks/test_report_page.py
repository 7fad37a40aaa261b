"""The page: whatever names are in it, it is one well-formed document that asks for nothing."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as examples
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from report_account import DATASET, LANES, RECEIPT, T0, given, job, jobs

from cdk_cryoem_stacks.dataset_report.decide import report
from cdk_cryoem_stacks.dataset_report.markup import hours, plain, safe, table, usd
from cdk_cryoem_stacks.dataset_report.page import MOST_JOBS, html_of

_VOID = {"meta", "wbr"}
NASTY = "<script>alert(1)</script>\"'&amp;<!--]]>\x00\u202e\ud800</style></svg>é日"


class Page(HTMLParser):
    """What a page holds. Errors: AssertionError for elements that do not close in their order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open[-1] == tag, f"{self.open} ends with {tag}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def page(**changed: Any) -> Page:
    return Page(html_of(report(given(**changed))))


def test_everything_that_is_known_is_on_it() -> None:
    found = page()
    for text in (
        DATASET["sk"],
        "5,600 of 5,712 files, 1.6 TB",
        "nothing left to transfer",
        "safe to purge from the microscope",
        "datasets/2026-11-18-krios-spike.manifest.jsonl.gz",
        "158.96 USD",
        "us-east-1, 2026",
        "Booting and standing idle",
        "1 of 2",
        "2 of 2",
        "cancelled",
        "What this page does not know",
        "no speeds of CPUs are known",
        "0.5 to 1.2 (an assumption)",
    ):
        assert text in found.text, text
    for each in jobs():
        assert each["name"] in found.text


def test_it_asks_for_nothing_and_runs_nothing() -> None:
    found = page()
    kinds = {tag for tag, _ in found.tags}
    assert not kinds & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "image", "use"}
    for _, attributes in found.tags:
        assert not {"src", "href", "xlink:href", "srcset"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    text = html_of(report(given()))
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    (policy,) = [a["content"] for tag, a in found.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")


def test_it_can_be_read_by_those_who_do_not_see_it() -> None:
    found = page()
    tags = [tag for tag, _ in found.tags]
    assert found.tags[0] == ("html", {"lang": "en"})
    assert tags.count("h1") == 1
    assert [tag for tag in tags if tag in ("header", "main", "footer")] == ["header", "main", "footer"]
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in found.tags:
        if tag in ("section", "svg"):
            assert set((attributes["aria-labelledby"] or "").split()) <= set(ids)
        if tag == "th":
            assert attributes["scope"] in ("row", "col")
    assert tags.count("caption") == tags.count("table") >= 6
    assert tags.count("svg") == tags.count("desc") == 2
    assert "Lane gpu8: 3 jobs from 2026-11-19" in found.text


def test_no_name_gets_out_of_its_place() -> None:
    nasty = [
        job(n, f"{NASTY}{n}", NASTY, 18.5 + n, 1, 30, 1, 1.0, user=NASTY, state=NASTY, project=NASTY) for n in range(3)
    ]
    item = {**DATASET, "sk": NASTY, "reason": NASTY, "operator": NASTY, "operator_by": NASTY, "operator_reason": NASTY}
    item |= {"processing": NASTY, "archive": NASTY, "state": "landed"}
    document = {
        **RECEIPT,
        "statement": NASTY,
        "reasons": [NASTY],
        "examples": [NASTY],
        "left_out": [NASTY],
        "included": [NASTY],
    }
    document["manifest"] = {"key": NASTY}
    made = report(given(name=NASTY, item=item, document=document, jobs=nasty, notes=[NASTY], receipt={"state": NASTY}))
    text = html_of(made)
    found = Page(text)
    assert "script" not in {tag for tag, _ in found.tags}
    assert "<script>alert(1)</script>\"'&amp;<!--]]>␀\\u202e\\ud800" in found.text
    assert text.encode()
    assert "\x00" not in text
    assert text.count("</style>") == 1


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@examples(text=st.text(st.characters(categories=["L", "N", "P", "S", "Z", "C"]), max_size=40))
def test_any_name_makes_a_page(text: str) -> None:
    record = job(1, text, text or "x", 18.5, 1, 30, 1, 1.0, user=text, project="d", dataset=text or "d")
    found = Page(html_of(report(given(name=text or "d", jobs=[record], lanes=LANES))))
    shown = plain(text).replace("\r\n", "\n").replace("\r", "\n")
    assert shown in found.text.replace("\r\n", "\n").replace("\r", "\n")


def test_plain_text_is_utf_8_without_control_characters() -> None:
    assert plain("a\x00\x1b[31m\x7f\x85b\tc\n") == "a␀␛[31m␡\ufffdb\tc\n"
    assert plain("\ud800x") == "\\ud800x"
    assert plain("a\u202eb\u2067c") == "a\\u202eb\\u2067c"
    assert safe("<&\"'>") == "&lt;&amp;&quot;&#x27;&gt;"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "?"),
        (0.0, "0.00"),
        (0.0123, "0.012"),
        (0.1, "0.10"),
        (1234.5, "1,234.50"),
        (0.000027, "0.000027"),
        (1e-7, "0.00000010"),
    ],
)
def test_sums_of_money(value: float | None, shown: str) -> None:
    assert usd(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (3599, "60 min"), (3600, "1.0 h"), (4e6, "1,111.1 h")],
)
def test_durations(seconds: float, shown: str) -> None:
    assert hours(seconds) == shown


def test_a_dataset_that_arrives_and_one_without_anything() -> None:
    item = {
        "sk": "new",
        "state": "arriving",
        "objects": 3,
        "movies": 2,
        "size_bytes": 9,
        "first_at": T0,
        "last_at": T0 + 60,
    }
    found = page(name="new", item=item, document=None, jobs=[], nodes=[], lanes=())
    assert "still arriving" in found.text
    assert "not yet: what follows is what is known so far" in found.text
    assert "No job of this dataset has ended" in found.text
    assert "There is none yet." in found.text
    empty = page(name="x", item={"sk": "x", "state": "gone"}, document=None, jobs=[], nodes=[], lanes=())
    assert "Nothing has happened yet." in empty.text
    assert "nothing is left of it" in empty.text


def test_a_receipt_that_is_not_complete_says_so_first() -> None:
    document = {**RECEIPT, "complete": False, "statement": "NOT safe to purge from the microscope disk: see reasons.",
                "missing": 2, "verified": 5710, "reasons": ["2 files missing in the bucket"], "examples": ["a.mrc"]}  # fmt: skip
    found = page(document=document, receipt={"state": "not-safe"})
    for text in ("NOT safe to purge", "2 missing", "2 files missing in the bucket", "a.mrc"):
        assert text in found.text


def test_lanes_that_cannot_be_read_leave_the_rest() -> None:
    found = page(lanes=(), notes=["The lanes: no."])
    assert "The lanes of the system could not be read" in found.text
    assert "158.96 USD" in found.text
    assert "The lanes: no." in found.text


def test_of_very_many_jobs_the_last_are_listed_and_the_picture_is_an_area() -> None:
    many = [
        job(n, f"cryosparc_P3_J{n}_class_2D_new", "gpu4", 18.5 + n / 40, 2, 45, 4, 0.5) for n in range(MOST_JOBS + 40)
    ]
    many.append(
        job(9999, "cryosparc_P3_J9999_class_2D_new", "gpu4", 20, 30, 0, 4, 0.0, state="CANCELLED", started_at=0)
    )
    text = html_of(report(given(jobs=many)))
    found = Page(text)
    assert "the first 41 are not shown" in found.text
    assert "cryosparc_P3_J41_class_2D_newjob 41" in found.text
    assert "cryosparc_P3_J40_class_2D_newjob 40" not in found.text
    assert "at most" in found.text
    assert len(text) < 800_000
    highest = [
        re.findall(r"V([\d.]+)H", a["d"] or "") for tag, a in found.tags if tag == "path" and a.get("class") == "waits"
    ]
    assert min(float(y) for y in highest[0]) == pytest.approx(18 + 80 - 76)


def test_rows_of_a_table_have_as_many_cells_as_it_has_columns() -> None:
    from cdk_cryoem_stacks.dataset_report.markup import Column

    columns = [Column(head="a"), Column(head="b", number=True)]
    made = Page(table("c", columns, [("x", 1)]))
    assert ("td", {"class": "n", "data-label": "b", "role": "cell"}) in made.tags
    with pytest.raises(ValueError, match="shorter"):
        table("c", columns, [("x",)])


@pytest.mark.parametrize("factor", [1.0, 0.0001])
def test_the_bar_of_prices_is_full_however_little_it_is(factor: float) -> None:
    records = [{**each, **({"usd": each["usd"] * factor} if "usd" in each else {})} for each in jobs()]
    found = page(jobs=records)
    widths = [a["style"] for tag, a in found.tags if tag == "i" and (a.get("class") or "").startswith("k")]
    assert len(widths) == 4
    assert sum(float(str(width)[len("width:") : -1]) for width in widths) == pytest.approx(100, abs=0.1)
