"""What the archive costs is counted with the prices of the system: of its region, and of the file that its configuration names."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from archive_account import Archive, archive_at_hand
from operate_account import run

from cdk_cryoem_stacks import prices as table_of_prices
from cdk_cryoem_stacks.archive import prices
from cdk_cryoem_stacks.archive.prices import counting_with

HEADER = "item,region,usd,unit,date,source\n"


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Archive]:
    with archive_at_hand(monkeypatch, tmp_path) as made:
        yield made


def test_within_a_region_its_prices_are_counted_and_outside_those_of_us_east_1(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    items = {price.item: price.unit for price in prices.prices().values()}
    path.write_text(HEADER + "".join(f"{item},eu-west-1,7,{unit},2026-12-01,x\n" for item, unit in items.items()))
    table = table_of_prices.load(path)
    with counting_with(table, "eu-west-1"):
        assert prices.usd("standard") == 7
        assert prices.of_region("eu-west-1") == "list prices of eu-west-1, 2026-12-01"
    assert prices.usd("standard") == 0.023
    with counting_with(table, "eu-west-2"):
        assert prices.usd("standard") == 0.023
        assert prices.of_region("eu-west-2") == (
            "list prices of us-east-1, 2026-11; this system is in eu-west-2, where they differ"
        )


def test_prices_of_two_regions_are_said_to_be_so(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(HEADER + "s3:standard:gb-month,eu-west-1,0.024,GB-month,2026-12-01,x\n")
    with counting_with(table_of_prices.load(path), "eu-west-1"):
        assert prices.of_region("eu-west-1") == (
            "list prices of eu-west-1 and us-east-1, 2026-11; this system is in eu-west-1, where they differ"
        )


def test_an_error_within_ends_it_too() -> None:
    table = table_of_prices.PriceTable([])
    with pytest.raises(table_of_prices.NoPrice), counting_with(table, "eu-west-1"):
        prices.usd("standard")
    assert prices.usd("standard") == 0.023


def test_the_command_counts_with_the_file_that_the_configuration_names(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def once() -> float:
        capsys.readouterr()
        assert run("archive", "krios-1", "--json") == 0
        return float(json.loads(capsys.readouterr().out)["cost"]["once"])

    archive.dataset()
    before = once()
    (tmp_path / "mine.csv").write_text(
        HEADER + "s3:deep-archive-transition:1000-requests,us-east-1,0.5,1000 requests,2026-12-01,mine\n"
    )
    with (tmp_path / "cryoem.yaml").open("a") as file:
        file.write("prices: mine.csv\n")
    # Two files move, each for 0.0005 instead of 0.00005 USD.
    assert once() == pytest.approx(before + 2 * 0.00045)
    assert run("archive", "--list") == 0
    assert "list prices of us-east-1, 2026-11" in capsys.readouterr().out
