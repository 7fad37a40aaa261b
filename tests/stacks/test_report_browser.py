"""The page in a real browser: nothing is asked for, nothing complains, it fits a phone, and it prints on A4."""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pypdf import PdfReader

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))

from browser import PROGRAMS, Browser, Page, browser
from report_account import DATASET, T0, given, job, jobs

from cdk_cryoem_stacks.dataset_report.decide import report
from cdk_cryoem_stacks.dataset_report.model import Report
from cdk_cryoem_stacks.dataset_report.page import html_of

LONG = "a_name_without_any_place_to_break_" * 8
A4 = (595, 842)
# What sticks out of the window on the right, and is not within something that scrolls or is hidden.
OVERFLOWING = """[...document.querySelectorAll('body *')].filter(e => {
  const box = e.getBoundingClientRect();
  return box.width && box.right > innerWidth + 0.5;
}).map(e => e.outerHTML.slice(0, 120))"""
REPORTS = {
    "whole": given(),
    "arriving": given(
        name="new",
        item={"sk": "new", "state": "arriving", "objects": 3, "movies": 2, "size_bytes": 9, "first_at": T0, "last_at": T0 + 60},
        document=None, jobs=[], nodes=[], lanes=(),
    ),
    "awkward": given(
        name=f"{LONG}<script>document.title='gone'</script>",
        item={**DATASET, "reason": LONG, "operator": "landed", "operator_by": LONG},
        jobs=[
            job(n, f"<img src=//example.org/x onerror=alert(1)>{LONG}", LONG, 18 + n, 30, 60, 1, 12345.67, user=LONG,
                state="NODE_FAIL", project=f"{LONG}<script>document.title='gone'</script>")
            for n in range(3)
        ],
    ),
    "many": given(jobs=[job(n, f"cryosparc_P3_J{n}_class_2D_new", "gpu4", 19 + n / 30, 5, 90, 4, 8.5) for n in range(450)]),
}  # fmt: skip


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Started once for the module."""
    with browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="module")
def pages(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Page]:
    """Each report, opened."""
    folder = tmp_path_factory.mktemp("pages")
    opened = {}
    for name, what in REPORTS.items():
        made: Report = report(what)
        (folder / f"{name}.html").write_text(html_of(made), encoding="utf-8")
        opened[name] = chromium.open(folder / f"{name}.html")
    return opened


EACH = pytest.mark.parametrize("name", REPORTS)


@EACH
def test_it_asks_for_nothing_but_itself_and_nothing_complains(pages: dict[str, Page], name: str) -> None:
    page = pages[name]
    assert [request.rpartition("/")[2] for request in page.requests] == [f"{name}.html"]
    assert page.requests[0].startswith("file://")
    assert page.said == []
    assert page.read("document.title").endswith("· dataset report")
    assert page.read("document.scripts.length + document.images.length") == 0


@EACH
@pytest.mark.parametrize("width", [320, 360, 768, 960, 1280])
def test_nothing_is_wider_than_the_window(pages: dict[str, Page], name: str, width: int) -> None:
    page = pages[name]
    page.size(width)
    assert page.read("[innerWidth, document.documentElement.scrollWidth]") == [width, width]
    assert page.read(OVERFLOWING) == []


def test_on_a_phone_the_picture_is_another_and_its_letters_can_be_read(pages: dict[str, Page]) -> None:
    page = pages["whole"]
    shown = "[...document.querySelectorAll('svg')].filter(e => e.getBoundingClientRect().width).map(e => e.getAttribute('class'))"
    letters = "Math.min(...[...document.querySelectorAll('svg.CLASS text')].map(e => e.getBoundingClientRect().height))"
    for width, kind in ((360, "phone"), (1280, "wide")):
        page.size(width)
        assert page.read(shown) == [f"timeline {kind}"]
        assert page.read(letters.replace("CLASS", kind)) >= 9.5
    page.size(360)
    assert page.read("parseFloat(getComputedStyle(document.querySelector('td')).fontSize)") >= 13


def test_a_table_stays_a_table_for_those_who_hear_it(pages: dict[str, Page]) -> None:
    page = pages["whole"]
    counts = []
    for width in (1280, 360):
        page.size(width)
        tree = page.call("Accessibility.getFullAXTree")["nodes"]
        counts.append(Counter(str(node["role"]["value"]) for node in tree if not node["ignored"]))
    assert counts[0]["table"] == counts[1]["table"] == page.read("document.querySelectorAll('table').length")
    assert (
        counts[0]["columnheader"]
        == counts[1]["columnheader"]
        == page.read("document.querySelectorAll('thead th').length")
    )
    assert counts[0]["row"] == counts[1]["row"]
    assert counts[0]["rowheader"] == counts[1]["rowheader"]
    assert counts[0]["image"] == counts[1]["image"] == 1


def test_light_and_dark_have_enough_contrast(pages: dict[str, Page]) -> None:
    page = pages["whole"]
    page.size(1280)
    ratio = """(() => {
      const luminance = c => { const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b };
      const colour = name => { const e = document.createElement('i'); e.style.color = `var(--${name})`;
        document.body.append(e); const c = getComputedStyle(e).color; e.remove(); return luminance(c) };
      const against = (a, b) => { const [x, y] = [colour(a), colour(b)]; return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05) };
      const words = ['ink', 'soft', 'good', 'bad', 'warn'].flatMap(n => [against(n, 'panel'), against(n, 'page')]);
      const bars = [0, 1, 2, 3, 4, 5, 6, 7].map(n => against('on', 'c' + n));
      return Math.min(...words, ...bars);
    })()"""
    for scheme, dark in (("light", False), ("dark", True)):
        page.scheme(scheme)
        assert page.read("matchMedia('(prefers-color-scheme: dark)').matches") is dark
        # WCAG 2.2, 1.4.3.
        assert page.read(ratio) >= 4.5
    page.scheme("light")


def test_the_whole_page_is_drawn(pages: dict[str, Page]) -> None:
    page = pages["whole"]
    page.size(1280)
    assert page.read("document.querySelectorAll('svg.wide rect.run').length") == len(jobs()) - 1
    assert page.read("document.querySelector('svg.wide path.landed').getBoundingClientRect().width") > 5
    assert page.read("[...document.querySelectorAll('h2')].every(e => e.getBoundingClientRect().height > 10)")
    widths = "[...document.querySelectorAll('.split, .split i')].map(e => e.getBoundingClientRect().width)"
    whole, *parts = page.read(widths)
    assert sum(parts) == pytest.approx(whole, abs=4)
    # Words on bars are within their bars.
    outside = """[...document.querySelectorAll('svg.wide text.on')].filter(e => {
      const bar = e.parentNode.querySelector('.run').getBoundingClientRect(), box = e.getBoundingClientRect();
      return box.left < bar.left || box.right > bar.right; }).length"""
    assert page.read(outside) == 0


def test_it_prints_on_a4_with_everything_on_it(pages: dict[str, Page]) -> None:
    page = pages["whole"]
    page.size(1280)
    page.scheme("dark")
    printed = PdfReader(io.BytesIO(page.pdf()))
    page.scheme("light")
    assert 3 <= len(printed.pages) <= 6
    for sheet in printed.pages:
        assert (round(float(sheet.mediabox.width)), round(float(sheet.mediabox.height))) == A4
    sheets = [sheet.extract_text().replace("ﬁ", "fi").replace("ﬂ", "fl") for sheet in printed.pages]
    text = " ".join("\n".join(sheets).split())
    assert DATASET["sk"] in sheets[0]
    for words in (
        "What arrived",
        "What ran where",
        "What it cost",
        "on other lanes",
        "Every job",
        "does not know",
        "158.96 USD",
    ):
        assert words in text, words
    assert "cryosparc_P3_J6" in text
    assert "homo_abinit" in text, "the words of the picture"


def test_the_setup_looks_for_and_installs_what_the_tests_start() -> None:
    setup = (Path(__file__).parents[2] / "tools" / "setup.sh").read_text()
    assert f"command -v {' '.join(PROGRAMS)})" in setup
    assert f"apt_install {PROGRAMS[0]} ||" in setup
