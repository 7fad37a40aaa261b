"""`cryoem prices`: what it asks AWS, what it prints, what it writes. The answers have the shapes that AWS documents; none is of AWS."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

sys.path.insert(0, str(Path(__file__).parent))

from test_prices_parse import product

from cdk_cryoem_stacks import cli, prices
from cdk_cryoem_stacks.prices import aws, file, offers

ROOT = Path(__file__).parents[2]
REGION = "eu-west-1"
HEADER = "item,region,usd,unit,date,source"
TODAY = f"{datetime.now(UTC):%Y-%m-%d}"
CONFIG = {
    "name": "em", "region": REGION, "prices": "prices.csv", "head_node": {"instance_type": "m7i.xlarge"},
    "lanes": [{"name": "one", "instance_types": ["g5.4xlarge", "g6e.4xlarge"], "gpus": 1}],
}  # fmt: skip
TYPES = ("g5.4xlarge", "g6e.4xlarge", "m7i.xlarge")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        cli.main(["prices", *arguments])
    said = capsys.readouterr()
    return int(caught.value.code or 0), said.out, said.err


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CRYOEM_CONFIG", raising=False)
    return tmp_path


def configured(folder: Path) -> None:
    (folder / "cryoem.yaml").write_text(json.dumps(CONFIG))


# --- list ---------------------------------------------------------------------------------------------------------------


def test_every_price_is_listed_with_its_region_its_date_and_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys)
    first, header, *rows = out.splitlines()
    assert (code, first) == (0, "list prices for us-east-1, USD without tax")
    assert header.split() == ["item", "USD", "unit", "region", "date", "source"]
    assert len(rows) == len(prices.load())
    (nat,) = [row for row in rows if row.startswith("nat:hour ")]
    assert nat.split(maxsplit=5) == ["nat:hour", "0.045", "hour", "us-east-1", "2026-11", "infracost's goldens"]


def test_of_another_region_it_is_said_whose_prices_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "list", "--region", REGION, "--find", "NAT:")
    assert out.splitlines()[0] == (
        "list prices for eu-west-1, USD without tax; 2 prices of us-east-1, where eu-west-1 has none in the table"
    )


def test_the_configurations_file_is_read_and_its_region_taken(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    configured(place)
    (place / "prices.csv").write_text(f"{HEADER}\nnat:hour,eu-west-1,0.048,hour,2026-11-20,mine\n")
    code, out, _ = run(capsys, "--json", "--find", "nat:")
    gb, hour = json.loads(out)
    assert (code, hour["usd"], hour["region"], hour["source"]) == (0, 0.048, REGION, "mine")
    assert (gb["usd"], gb["region"], gb["unit"], gb["date"]) == (0.045, "us-east-1", "GB", "2026-11")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--find", "persistent2-200"], 1, "no item has 'persistent2-200' in its name"),
        (["--find", "nat:hours"], 1, "Did you mean nat:hour"),
        (["--region", "eu-wst-1"], 2, "--region: got eu-wst-1, allowed: a region of AWS. Did you mean eu-west-1"),
        (["--output", "x.csv"], 2, "--output, --zone, --accept and --dry-run are for refresh"),
        (["refresh"], 2, "refresh needs --output FILE, or --dry-run"),
        (["refresh", "--dry-run", "--json"], 2, "--find and --json are for list"),
        (["refresh", "--output", "no/where.csv"], 2, "a file in a folder that is there"),
        (["refresh", "--dry-run", "--region", "cn-north-1"], 2, "in CNY"),
        (["refresh", "--dry-run", "--zone", "b"], 2, "--zone: got b, allowed: a zone of us-east-1, as us-east-1a"),
        (["--config", "none.yaml"], 2, "none.yaml:1: none.yaml: got"),
        (["sell"], 2, "invalid choice"),
    ],
)
def test_what_is_wrong_is_said(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str) -> None:
    got, _, err = run(capsys, *arguments)
    assert (got, said in err) == (code, True), err


# --- refresh ------------------------------------------------------------------------------------------------------------

ANSWERS = {
    "nat:hour": product("EU-NatGateway-Hours", ("0", "0.0480000000")),
    "nat:gb": product("EU-NatGateway-Bytes", ("0", "0.0480000000"), unit="GB"),
    "endpoint:hour": product("EU-VpcEndpoint-Hours", ("0", "0.0110000000")),
    "fsx:persistent2-250:gb-month": product("EU-L", ("0", "0.2310000000"), unit="GB-Mo", throughputCapacity="250"),
    "ec2:g5.4xlarge:on-demand": product("EU-BoxUsage:g5.4xlarge", ("0", "1.8130000000")),
    "ec2:m7i.xlarge:on-demand": product("EU-BoxUsage:m7i.xlarge", ("0", "0.2247000000")),
    "s3:standard:gb-month": product(
        "EU-TimedStorage-ByteHrs", ("0", "0.0230000000"), ("51200", "0.0220000000"), unit="GB-Mo", volumeType="Standard"
    ),
    # Where sources differ on the service, that of the second is found too.
    "s3:restore-bulk:gb": product(
        "EU-Bulk-Retrieval-Bytes", ("0", "0.0025000000"), unit="GB", operation="DeepArchiveRestoreObject"
    ),
    "s3:put:1000-requests": product("EU-Requests-Tier1", ("0", "0.0000050000"), unit="Requests"),
}


def questions(types: tuple[str, ...] = TYPES) -> dict[offers.Question, list[str]]:
    """What is asked, in its order, and the products that answer it."""
    asked: dict[offers.Question, list[str]] = {}
    for each in (*(offers.instance_offer(name) for name in types), *offers.OFFERS):
        for question in each.questions:
            asked.setdefault(question, [])
        if each.item in ANSWERS:
            asked[each.questions[-1]].append(ANSWERS[each.item])
    return asked


@contextmanager
def answering(
    monkeypatch: pytest.MonkeyPatch,
    *,
    types: tuple[str, ...] = TYPES,
    sold: tuple[str, ...] = ("g5.4xlarge", "m7i.xlarge"),
    changed: dict[str, str] | None = None,
) -> Iterator[None]:
    """AWS as it is documented, asked just so, each question once; the first answer comes on two pages."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    for item, text in (changed or {}).items():
        monkeypatch.setitem(ANSWERS, item, text)
    pricing, ec2 = aws.connect(REGION)
    now = datetime.now(UTC)
    history = [
        {"AvailabilityZone": f"{REGION}{zone}", "InstanceType": "g5.4xlarge", "ProductDescription": "Linux/UNIX",
         "SpotPrice": usd, "Timestamp": now - timedelta(days=20)}
        for zone, usd in (("a", "0.61"), ("b", "0.72"), ("c", "0.65"))
    ]  # fmt: skip
    with Stubber(pricing) as of_pricing, Stubber(ec2) as of_ec2:
        for number, (question, found) in enumerate(questions(types).items()):
            expected = {
                "ServiceCode": question.service, "Filters": question.of_region(REGION), "FormatVersion": "aws_v1", "MaxResults": 100,
            }  # fmt: skip
            if number == 0:
                of_pricing.add_response(
                    "get_products", {"FormatVersion": "aws_v1", "PriceList": [], "NextToken": "more"}, expected
                )
                expected = {**expected, "NextToken": "more"}
            of_pricing.add_response("get_products", {"FormatVersion": "aws_v1", "PriceList": found}, expected)
        asked = {
            "InstanceTypes": list(sold), "ProductDescriptions": ["Linux/UNIX"], "StartTime": ANY, "EndTime": ANY,
        }  # fmt: skip
        of_ec2.add_response("describe_spot_price_history", {"SpotPriceHistory": history[:2], "NextToken": "n"}, asked)
        of_ec2.add_response(
            "describe_spot_price_history", {"SpotPriceHistory": history[2:]}, {**asked, "NextToken": "n"}
        )
        monkeypatch.setattr(aws, "connect", lambda region: (pricing, ec2))
        yield
        of_pricing.assert_no_pending_responses()
        of_ec2.assert_no_pending_responses()


def test_a_refresh_writes_the_regions_prices_and_says_which_are_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    configured(place)
    with answering(monkeypatch):
        code, out, err = run(capsys, "refresh", "--config", "cryoem.yaml", "--output", "prices.csv")
    assert (code, err) == (0, "")
    written = {price.item: price for price in file.read(place / "prices.csv", items=prices.table.units())}
    assert set(written) == {*ANSWERS, "ec2:g5.4xlarge:spot"}
    assert {price.region for price in written.values()} == {REGION}
    assert {price.date for price in written.values()} == {TODAY}
    assert (written["s3:put:1000-requests"].usd, written["s3:standard:gb-month"].usd) == (
        Decimal("0.005"),
        Decimal("0.023"),
    )
    assert written["nat:hour"].source == "AWS Price List of 2026-11-19: EU-NatGateway-Hours"
    spot = written["ec2:g5.4xlarge:spot"]
    assert (spot.usd, spot.source) == (Decimal("0.65"), "median of 7 days in eu-west-1c; 3 zones: 0.61 to 0.72")
    assert out.startswith("prices of eu-west-1: 10 taken, 0 of them as they were\n")
    absent = out.partition("not sold in eu-west-1, or without spot prices:\n")[2]
    assert "  ec2:g6e.4xlarge:on-demand\n" in absent
    assert "  ec2:m7i.xlarge:spot\n" in absent
    assert out.splitlines()[-2].startswith("not asked for, type them in by hand: datasync:basic:gb, ")
    assert out.splitlines()[-1] == "prices.csv is written"
    # And then the configuration has them, whose file was not there before.
    _, listed, _ = run(capsys, "--json", "--find", "g5.4xlarge:on-demand")
    assert [(row["usd"], row["region"]) for row in json.loads(listed)] == [(1.813, REGION)]


def test_once_more_the_old_file_is_kept_and_what_changed_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    configured(place)
    old = (
        f"{HEADER}\nnat:hour,eu-west-1,0.05,hour,2026-10-01,before\npcs:small:hour,eu-west-1,0.7,hour,2026-10-01,mine\n"
    )
    (place / "prices.csv").write_text(old)
    (place / "prices.csv").chmod(0o640)
    with answering(monkeypatch):
        code, out, _ = run(capsys, "refresh", "--config", "cryoem.yaml", "--output", "prices.csv")
    assert code == 0
    assert (place / "prices.csv.bak").read_text() == old
    assert (place / "prices.csv").stat().st_mode & 0o777 == 0o640
    (row,) = [line.split() for line in out.splitlines() if line.startswith("  nat:hour ")]
    assert row == ["nat:hour", "0.05", "(2026-10-01)", "to", "0.048", "-4.0", "%"]
    kept = prices.load(place / "prices.csv").usd("pcs:small:hour", REGION)
    assert (kept.usd, kept.source) == (Decimal("0.7"), "mine")
    assert sorted(path.name for path in place.iterdir()) == ["cryoem.yaml", "prices.csv", "prices.csv.bak"]


def test_a_price_that_jumps_is_refused_and_the_others_are_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    configured(place)
    jumped = {"nat:hour": product("EU-NatGateway-Hours", ("0", "4.8"))}
    with answering(monkeypatch, changed=jumped):
        code, out, _ = run(capsys, "refresh", "--config", "cryoem.yaml", "--output", "prices.csv")
    assert code == 1
    assert (
        "refused:\n  nat:hour: 4.8 is more than a factor 3 from 0.045 (us-east-1, 2026-11); --accept takes it\n" in out
    )
    assert prices.load(place / "prices.csv").exact("nat:hour", REGION) is None
    with answering(monkeypatch, changed=jumped):
        code, _, _ = run(capsys, "refresh", "--config", "cryoem.yaml", "--output", "prices.csv", "--accept")
    assert code == 0
    assert prices.load(place / "prices.csv").usd("nat:hour", REGION).usd == Decimal("4.8")


def test_what_is_not_understood_is_said_and_not_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    configured(place)
    with answering(monkeypatch, changed={"nat:hour": product("EU-NatGateway-Hours", ("0", "0.04"), currency="EUR")}):
        code, out, _ = run(capsys, "refresh", "--config", "cryoem.yaml", "--output", "prices.csv")
    assert code == 1
    assert "  nat:hour: a price in EUR, not in USD\n" in out
    assert prices.load(place / "prices.csv").exact("nat:hour", REGION) is None


def test_a_dry_run_writes_nothing_and_a_zone_can_be_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    configured(place)
    with answering(monkeypatch):
        code, out, _ = run(capsys, "refresh", "--config", "cryoem.yaml", "--dry-run", "--zone", "eu-west-1b")
    assert code == 0
    assert out.endswith("nothing was written: --dry-run\n")
    (row,) = [line.split() for line in out.splitlines() if line.startswith("  ec2:g5.4xlarge:spot ")]
    assert row == ["ec2:g5.4xlarge:spot", "new", "0.72"]
    assert [path.name for path in place.iterdir()] == ["cryoem.yaml"]


def test_the_zone_of_the_configuration_is_the_one_of_its_spot_prices(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    (place / "cryoem.yaml").write_text(json.dumps(CONFIG | {"network": {"availability_zone": "eu-west-1a"}}))
    with answering(monkeypatch):
        code, out, _ = run(capsys, "refresh", "--config", "cryoem.yaml", "--dry-run")
    assert code == 0
    (row,) = [line.split() for line in out.splitlines() if line.startswith("  ec2:g5.4xlarge:spot ")]
    assert row == ["ec2:g5.4xlarge:spot", "new", "0.61"]


def test_without_a_configuration_all_types_of_the_table_are_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    every = tuple(sorted(p.item.split(":")[1] for p in prices.load() if p.item.endswith(":on-demand")))
    assert len(every) > 50
    with answering(monkeypatch, types=every):
        code, _, _ = run(capsys, "refresh", "--region", REGION, "--output", "all.csv")
    assert code == 0


def test_a_file_that_is_wrong_is_not_written_over(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    (place / "prices.csv").write_text(f"{HEADER}\nnat:hour,eu-west-1,0.05,day,2026-10-01,before\n")
    monkeypatch.setattr(aws, "connect", lambda region: pytest.fail("AWS was asked"))
    code, _, err = run(capsys, "refresh", "--region", REGION, "--output", "prices.csv")
    assert (code, err) == (2, "prices.csv:2: unit: got 'day', allowed: hour\n")
    assert [path.name for path in place.iterdir()] == ["prices.csv"]


@pytest.mark.parametrize(
    ("error", "said"),
    [("AccessDeniedException", "may not pricing:GetProducts: allow it; docs/iam.md, 'Prices', has the whole policy"),
     ("ExpiredTokenException", "log in again"), ("InternalErrorException", "was answered with InternalErrorException")],
)  # fmt: skip
def test_what_aws_refuses_is_said_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Path, error: str, said: str
) -> None:
    client = boto3.client("pricing", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y")
    with Stubber(client) as stubber:
        stubber.add_client_error("get_products", error, "no")
        monkeypatch.setattr(aws, "connect", lambda region: (client, None))
        code, _, err = run(capsys, "refresh", "--region", REGION, "--output", "prices.csv")
    assert code == 1
    assert said in err
    assert list(place.iterdir()) == []


def test_a_disk_that_is_full_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("old")
    rows = list(prices.load())[:3]

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(file.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        file.write(path, rows)
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["prices.csv"]


@pytest.mark.parametrize(
    ("region", "at"),
    [
        ("us-east-1", "us-east-1"),
        ("eu-north-1", "eu-central-1"),
        ("ap-southeast-2", "ap-south-1"),
        ("sa-east-1", "us-east-1"),
    ],
)
def test_the_price_list_is_asked_where_it_answers(region: str, at: str) -> None:
    pricing, ec2 = aws.connect(region)
    assert (pricing.meta.region_name, ec2.meta.region_name) == (at, region)


def test_the_documented_policy_is_what_is_called() -> None:
    section = (ROOT / "docs" / "iam.md").read_text().partition("\n## Prices\n")[2].partition("\n## ")[0]
    statements = json.loads(section.partition("```json\n")[2].partition("```")[0])["Statement"]
    called = [
        line.split('"')[1]
        for line in Path(aws.__file__).read_text().splitlines()
        if line.strip().startswith(('"pricing:', '"ec2:'))
    ]
    assert sorted(action for statement in statements for action in statement["Action"]) == sorted(called)
    assert len(called) == 2


# --- the page -----------------------------------------------------------------------------------------------------------

PAGE = (ROOT / "docs" / "prices.md").read_text()


def test_what_the_page_shows_is_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    shown = PAGE.partition("$ cryoem prices --find fsx\n")[2].partition("```")[0]
    assert run(capsys, "--find", "fsx")[1] == shown


def test_the_mistakes_on_the_page_are_told_as_it_says(place: Path) -> None:
    shown = PAGE[PAGE.index("prices.csv:2: usd") :].partition("```")[0]
    (place / "prices.csv").write_text(
        f'{HEADER}\nnat:hour,eu-west-1,"1,45",hour,2026,x\nnat:hours,eu-west-1,1,hour,2026,x\n'
        "nat:hour,eu-west-1,1,hour,2026,x\nnat:gb,eu-wst-1,1,GB,2026,x\n"
    )
    with pytest.raises(prices.PriceFileError) as caught:
        prices.load(Path("prices.csv"))
    assert f"{caught.value}\n" == shown


def test_the_file_on_the_page_is_right(place: Path) -> None:
    shown = PAGE.partition(f"```text\n{HEADER}\n")[2].partition("```")[0]
    (place / "prices.csv").write_text(f"{HEADER}\n{shown}")
    assert prices.load(place / "prices.csv").ec2("g5.4xlarge", REGION).usd == Decimal("1.45")


def test_the_page_counts_the_spot_prices() -> None:
    (said,) = re.findall(r"There are some for (\d+) types", PAGE)
    assert int(said) == sum(price.item.endswith(":spot") for price in prices.load())
