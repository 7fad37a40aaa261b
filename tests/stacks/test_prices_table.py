"""The table of prices is whole, says of each price where and when it is from, and tells what is wrong with a file line by line."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdk_cryoem import instance_shapes
from cdk_cryoem_stacks import prices
from cdk_cryoem_stacks.prices import HOME_REGION, NoPrice, Price, PriceFileError, file, items

HEADER = "item,region,usd,unit,date,source"
GOOD = "ec2:g5.4xlarge:on-demand,eu-west-1,1.824,hour,2026-11-20,price list"


def written(folder: Path, *lines: str) -> Path:
    path = folder / "prices.csv"
    path.write_text("\n".join((HEADER, *lines)) + "\n")
    return path


def wrong(folder: Path, *lines: str) -> list[tuple[int, str, object, str]]:
    path = written(folder, *lines)
    with pytest.raises(PriceFileError) as caught:
        prices.load(path)
    for fault in caught.value.faults:
        assert str(fault).startswith(f"{path}:{fault.line}: {fault.property}: got {fault.value!r}, allowed: ")
    assert str(caught.value).splitlines() == [str(fault) for fault in caught.value.faults]
    return [(fault.line, fault.property, fault.value, f"{fault.allowed}. {fault.fix}") for fault in caught.value.faults]


def test_every_price_is_above_nothing_and_has_a_unit_a_region_a_date_and_a_source() -> None:
    table = prices.load()
    assert len(table) > 100
    for price in table:
        assert price.usd > 0, price.item
        assert price.region == HOME_REGION
        assert re.fullmatch(r"20\d\d(-[01]\d(-[0-3]\d)?)?", price.date), price.item
        assert price.unit, price.item
        assert price.source, price.item
        assert re.fullmatch(r"[a-z0-9]+(:[a-z0-9.-]+)+", price.item)


def test_instances_on_demand_are_those_of_the_librarys_table_and_are_written_nowhere_else() -> None:
    table = prices.load()
    for shape in instance_shapes().values():
        found = table.ec2(shape.instance_type)
        assert float(found.usd) == shape.usd_per_hour
        assert (found.date, found.source) == (shape.price_date, shape.price_source)
    assert ":on-demand" not in (Path(prices.__file__).parent / "prices.csv").read_text()


def test_spot_never_costs_more_than_on_demand() -> None:
    table = prices.load()
    spot = [price for price in table if price.item.endswith(":spot")]
    assert len(spot) > 10
    for price in spot:
        assert price.usd < table.usd(price.item.replace(":spot", ":on-demand")).usd, price.item


def test_a_region_without_a_price_has_that_of_us_east_1_and_the_price_says_so() -> None:
    found = prices.load().usd("nat:hour", "eu-west-1")
    assert (found.usd, found.region, found.said) == (Decimal("0.045"), "us-east-1", "us-east-1, 2026-11")
    assert prices.load().exact("nat:hour", "eu-west-1") is None


def test_an_item_that_is_not_there_is_answered_with_the_nearest() -> None:
    with pytest.raises(NoPrice, match=r"'fsx:persistent2-200:gb-month'.*fsx:persistent2-250:gb-month"):
        prices.load().usd("fsx:persistent2-200:gb-month")
    with pytest.raises(NoPrice, match=r"^no price of 'zzz' for us-east-1\.$"):
        prices.load().usd("zzz")
    with pytest.raises(NoPrice, match=r"g5\.4xlarge"):
        prices.load().ec2("g5.4xlarg")


def test_spot_is_spots_price_where_there_is_one_and_on_demands_where_there_is_none(tmp_path: Path) -> None:
    table = prices.load()
    assert table.ec2("g5.4xlarge", spot=True).item == "ec2:g5.4xlarge:spot"
    assert table.ec2("g6e.4xlarge", spot=True) == table.ec2("g6e.4xlarge")
    # A region's own price on demand is nearer than another region's on spot.
    own = prices.load(written(tmp_path, GOOD))
    assert own.ec2("g5.4xlarge", "eu-west-1", spot=True).usd == Decimal("1.824")
    assert own.ec2("g5.4xlarge", "eu-west-2", spot=True).item == "ec2:g5.4xlarge:spot"


def test_a_files_prices_go_over_the_packages_and_leave_the_others(tmp_path: Path) -> None:
    path = written(tmp_path, "# mine", "", GOOD, "nat:hour,us-east-1,0.05,hour,2026-11,contract")
    table = prices.load(path)
    assert table.usd("nat:hour").usd == Decimal("0.05")
    assert table.ec2("g5.4xlarge", "eu-west-1").source == "price list"
    assert table.usd("nat:gb") == prices.load().usd("nat:gb")
    assert prices.load().usd("nat:hour").usd == Decimal("0.045")


@pytest.mark.parametrize("number", ["abc", "1,62", "-1", "0", "0.0", "1e5", "nan", "inf", "$1", "1.", ".5"])
def test_no_number(tmp_path: Path, number: str) -> None:
    quoted = f'"{number}"' if "," in number else number
    ((line, prop, value, _),) = wrong(tmp_path, GOOD, f"nat:hour,us-east-1,{quoted},hour,2026-11,x")
    assert (line, prop, value) == (3, "usd", number)


def test_a_decimal_comma_is_recognised(tmp_path: Path) -> None:
    ((*_, said),) = wrong(tmp_path, 'nat:hour,us-east-1,"0,05",hour,2026-11,x')
    assert "written with a point" in said


@pytest.mark.parametrize(
    ("row", "prop", "value", "said"),
    [
        ("nat:hours,us-east-1,1,hour,2026-11,x", "item", "nat:hours", "Did you mean nat:hour"),
        ("ec2:g5.4xlarg:on-demand,us-east-1,1,hour,2026-11,x", "item", "ec2:g5.4xlarg:on-demand", "ec2:g5.4xlarge:on-demand"),
        ("nat:hour,us-east-1,1,hours,2026-11,x", "unit", "hours", "hour"),
        ("nat:hour,eu-wst-1,1,hour,2026-11,x", "region", "eu-wst-1", "eu-west-1"),
        ("nat:hour,Ireland,1,hour,2026-11,x", "region", "Ireland", "a region of AWS"),
        ("nat:hour,us-east-1,1,hour,11/2026,x", "date", "11/2026", "YYYY-MM-DD"),
        ("nat:hour,us-east-1,1,hour,2026-13,x", "date", "2026-13", "YYYY-MM-DD"),
        ("nat:hour,us-east-1,1,hour,2026-11", "source", "nothing", "a value in each column"),
        ("nat:hour,us-east-1,1,hour,2026-11,a, b", "source", "a,b", "double quotes"),
    ],
)  # fmt: skip
def test_a_row_that_is_wrong(tmp_path: Path, row: str, prop: str, value: str, said: str) -> None:
    ((line, got, was, told),) = wrong(tmp_path, GOOD, row)
    assert (line, got, was) == (3, prop, value)
    assert said in told


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    found = wrong(tmp_path, "nat:hours,eu-wst-1,-1,hour,2026,x", GOOD, GOOD)
    assert [(line, prop) for line, prop, *_ in found] == [(2, "usd"), (2, "item"), (2, "region"), (4, "item")]
    assert found[-1][2:] == ("ec2:g5.4xlarge:on-demand in eu-west-1",
                             "one row for an item and region. The other is in line 3: remove one")  # fmt: skip


@pytest.mark.parametrize("text", ["", "# nothing\n", "item,usd\nnat:hour,1\n", "item;region;usd;unit;date;source\n"])
def test_a_file_without_the_header(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(text)
    with pytest.raises(PriceFileError, match=f"header: got .+, allowed: {HEADER}"):
        prices.load(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PriceFileError, match="a readable file of prices"):
        prices.load(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PriceFileError, match="a readable file of prices"):
        prices.load(tmp_path / "bad.csv")


def test_a_spreadsheets_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\r\n{GOOD}\r\n".encode())
    assert prices.load(path).ec2("g5.4xlarge", "eu-west-1").usd == Decimal("1.824")


@given(
    st.lists(
        st.builds(
            Price,
            item=st.sampled_from(sorted(prices.table.units())),
            usd=st.decimals("0.000000000001", "99999", allow_nan=False, places=12).filter(lambda usd: usd > 0),
            unit=st.just(""),
            region=st.sampled_from(sorted(items.regions())),
            date=st.dates().filter(lambda day: 2000 <= day.year < 2100).map(str),
            source=st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=30),
        ),
        max_size=8,
        unique_by=lambda price: (price.item, price.region),
    )
)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, given_prices: list[Price]) -> None:
    known = prices.table.units()
    put = [
        Price(item=p.item, usd=p.usd, unit=known[p.item], region=p.region, date=p.date, source=p.source)
        for p in given_prices
    ]
    path = tmp_path_factory.mktemp("prices") / "prices.csv"
    path.write_text(file.text(put, head=["a head, of two", "lines"]), encoding="utf-8")
    key = lambda price: (price.item, price.region)  # noqa: E731
    assert sorted(file.read(path, items=known), key=key) == sorted(put, key=key)
