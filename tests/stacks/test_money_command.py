"""`cryoem cost` and `cryoem cap` against a system in moto."""

from __future__ import annotations

import json
import re
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from operate_account import SWEEPER, TABLE, Deployed, at_hand
from operate_account import run as code_of

from cdk_cryoem_stacks.money import spending
from cdk_cryoem_stacks.money.bill import Bill, bill

CAPS = [{"name": "one", "usd_micro": 5_000_000, "projects": ["*"], "each": True, "period": "always", "hard": True}]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    with at_hand(monkeypatch, tmp_path) as deployed:
        yield deployed


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, output, errors."""
    code = code_of(*arguments)
    said = capsys.readouterr()
    return code, said.out, said.err


def spent(system: Deployed, *, caps: list[dict[str, Any]] | None = CAPS) -> str:
    """A job of this month, and what it adds up to."""
    now = int(time.time())
    month = spending.month_of(now)
    system.put(
        "job", f"{now:012d}#7", name="J1", user="ada", project="spike", lane="gpu1", seconds=3600, gpus=1.0, usd=4.5,
        started_at=now - 3600, ended_at=now,
    )  # fmt: skip
    for name in (
        f"{month}#month",
        f"{month}#lane#gpu1",
        f"{month}#user#ada",
        f"{month}#project#spike",
        "always#project#spike",
    ):
        system.put("spend", name, jobs=1, usd_micro=4_500_000, unpriced=0, seconds=3600, gpu_seconds=3600)
    system.put("dataset", "spike", state="landed")
    system.clients.ssm.put_parameter(Name="lanes", Value=json.dumps({"lanes": [], "caps": caps or []}), Type="String")
    system.clients.cloudformation.update_stack(
        StackName="cryoem-hooks",
        TemplateBody=json.dumps(
            {
                "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
                "Outputs": {
                    name: {"Value": value}
                    for name, value in {
                        "RecordsTable": TABLE,
                        "Sweeper": SWEEPER,
                        "HeadNode": system.head_node,
                        "LaneManifest": "lanes",
                    }.items()
                },
            }
        ),
    )
    return month


def test_what_a_month_cost(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    month = spent(system)
    code, out, err = run(capsys, "cost", "--check")
    assert (code, err) == (0, "")
    assert f"4.50 USD, jobs that ended in {month} (UTC): 1 job, 1.0 h, 1.0 GPU-hours" in out
    assert "spike          4.50 USD  1 job, 1.0 h, 1.0 GPU-hours  dataset" in out
    assert "one#spike          4.50 of         5.00 USD   90 %  hard, always" in out
    assert "checked: the totals are the sums of 1 jobs" in out


def test_as_json(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    month = spent(system)
    code, out, _ = run(capsys, "cost", "--json")
    document = json.loads(out)
    assert (code, document["month"], document["total"]["usd"], document["datasets"]) == (0, month, 4.5, ["spike"])
    assert document["caps"][0]["left_usd"] == 0.5


def test_one_project(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    spent(system)
    assert "4.50 USD" in run(capsys, "cost", "--project", "spike")[1]
    code, _, err = run(capsys, "cost", "--project", "spiek")
    assert code == 1
    assert "project 'spiek' has no job" in err
    assert "projects are spike" in err


def test_totals_that_somebody_changed_by_hand(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    month = spent(system)
    system.put("spend", f"{month}#month", jobs=1, usd_micro=4_500_001, unpriced=0, seconds=3600, gpu_seconds=3600)
    code, _, err = run(capsys, "cost", "--check")
    assert code == 1
    assert "month: 1 jobs and 4.500001 USD are written down" in err


@pytest.mark.parametrize("month", ["2026-13", "11/2026"])
def test_no_month(month: str, system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "cost", "--month", month)
    assert code == 2
    assert f"got {month}, allowed: a year and a month" in err


def test_a_cap_is_raised_with_a_reason_and_restored(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    spent(system)
    ask = ("cap", "raise", "one", "--project", "spike", "--usd", "8", "--days", "2")
    assert "how much and why" in run(capsys, *ask)[2]
    assert (
        "would set the limit of one#spike to 8.00 USD for 2 days: review"
        in run(capsys, *ask, "--reason", "review", "--dry-run")[1]
    )
    assert system.get("cap", "one#spike") is None
    code, out, _ = run(capsys, *ask, "--reason", "review")
    assert code == 0
    assert "one#spike may cost 8.00 USD until" in out
    item = system.get("cap", "one#spike")
    assert item is not None
    assert (item["usd_micro"], item["reason"]) == (8_000_000, "review")
    assert item["until"] == pytest.approx(time.time() + 2 * 86_400, abs=300)
    shown = run(capsys, "cap")[1]
    assert "4.50 of         8.00 USD" in shown
    assert "raised by" in shown
    assert "has its own limit again" in run(capsys, "cap", "restore", "one", "--project", "spike")[1]
    assert "was not raised" in run(capsys, "cap", "restore", "one", "--project", "spike")[1]


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        (("cap", "raise", "nope", "--usd", "1", "--reason", "x"), "there is no cap 'nope'; caps are one", 1),
        (("cap", "raise", "one", "--usd", "1", "--reason", "x"), "say which with --project", 1),
        (("cap", "raise", "one", "--usd", "-1"), "got -1, allowed: above 0", 2),
        (("cap", "raise", "one", "--days", "400"), "got 400, allowed: above 0, at most 366", 2),
    ],
)
def test_what_cannot_be_raised(
    system: Deployed, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str, code: int
) -> None:
    spent(system)
    got, _, err = run(capsys, *arguments)
    assert got == code
    assert says in err


def test_a_system_without_caps(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    spent(system, caps=None)
    assert "there are no caps" in run(capsys, "cap")[1]
    assert "none: section caps" in run(capsys, "cap", "raise", "one", "--usd", "1", "--reason", "x")[2]


class CostExplorer:
    """Two pages, in the shape of the API reference (GetCostAndUsage)."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def get_cost_and_usage(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)

        def group(service: str, amount: str) -> dict[str, Any]:
            return {"Keys": [service], "Metrics": {"UnblendedCost": {"Amount": amount, "Unit": "USD"}}}

        first = {"Estimated": True, "Groups": [group("Amazon Elastic Compute Cloud - Compute", "10.5")]}
        second = {"Estimated": False, "Groups": [group("Amazon FSx", "20.25"), group("EC2 - Other", "1")]}
        if "NextPageToken" in asked:
            return {"ResultsByTime": [second]}
        return {"ResultsByTime": [first], "NextPageToken": "more"}


def test_what_aws_billed() -> None:
    explorer = CostExplorer()
    found = bill(explorer, system="cryoem", month="2026-11", today=date(2026, 11, 21))  # type: ignore[arg-type]
    assert found == Bill(
        by_service={"Amazon FSx": 20.25, "Amazon Elastic Compute Cloud - Compute": 10.5, "EC2 - Other": 1.0},
        estimated=True,
    )
    assert (found.usd, found.compute_usd) == (31.75, 10.5)
    assert explorer.asked[0]["TimePeriod"] == {"Start": "2026-11-01", "End": "2026-11-21"}
    assert explorer.asked[0]["Filter"] == {"Tags": {"Key": "cryoem:system", "Values": ["cryoem"]}}


def test_a_month_that_has_just_begun_and_one_that_is_over() -> None:
    explorer = CostExplorer()
    assert bill(explorer, system="c", month="2026-11", today=date(2026, 11, 1)) is None  # type: ignore[arg-type]
    bill(explorer, system="c", month="2026-12", today=date(2027, 3, 1))  # type: ignore[arg-type]
    assert explorer.asked[0]["TimePeriod"] == {"Start": "2026-12-01", "End": "2027-01-01"}


def _section() -> str:
    text = (Path(__file__).parents[2] / "docs" / "iam.md").read_text()
    return text.partition("\n## Spending\n")[2].partition("\n## ")[0]


def test_the_policy_names_exactly_what_is_asked_for() -> None:
    folder = Path(__file__).parents[2] / "stacks" / "cdk_cryoem_stacks" / "money"
    pattern = r'"((?:ssm|ce):[A-Z]\w+)"'
    asked = {action for file in folder.glob("*.py") for action in re.findall(pattern, file.read_text())}
    # Of operate/records.py and operate/find.py.
    asked |= {"cloudformation:DescribeStacks", "dynamodb:Query"}
    asked |= {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:DeleteItem"}
    (policy,) = re.findall(r"```json\n(.*?)```", _section(), re.S)
    statements = json.loads(policy)["Statement"]
    assert {action for statement in statements for action in statement["Action"]} == asked
    assert [each["Sid"] for each in statements if each["Resource"] == "*"] == ["CryoemSpendingBill"]
    rows = [line.split("|")[1] for line in _section().splitlines() if line.startswith("| `")]
    named = {action for row in rows for action in re.findall(r"`(\w+:\w+)`", row)}
    assert named == asked | {"sts:GetCallerIdentity"}
