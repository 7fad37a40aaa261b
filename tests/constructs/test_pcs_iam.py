"""docs/iam.md says of every action who needs it: held to AWS's schemas, and to the roles that the constructs make."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import botocore.session
import cfnlint
import pytest
from aws_cdk import Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk.assertions import Template
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER
from pcs_parts import parts, statements

from cdk_cryoem import Cryosparc, Lane, ParallelCluster, Pcs

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "iam.md"
HEAD_NODE = ROOT / "constructs" / "cdk_cryoem" / "head_node"
# Other services': the page says so.
LEFT_OUT = {
    "AWS::Logs::DeliverySource": {
        f"{service}:AllowVendedLogDeliveryForResource" for service in ("autoloop", "codewhisperer", "workmail")
    }
}
MUST = {
    *(f"AWS::PCS::{kind}" for kind in ("Cluster", "ComputeNodeGroup", "Queue")),
    *(f"AWS::Logs::{kind}" for kind in ("Delivery", "DeliverySource", "DeliveryDestination")),
}


def section(heading: str) -> str:
    """Text below a heading, up to the next one."""
    (found,) = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert isinstance(found, str)
    return found


def rows(heading: str) -> list[list[str]]:
    """Cells of the rows of a section's tables, without heads."""
    found = [line.strip().strip("|").split(" | ") for line in section(heading).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in found if row[0].strip() not in {"type", "action"}]


def actions(cell: str) -> list[str]:
    return re.findall(r"`([a-z0-9]+:[A-Za-z.]+)`", cell)


def by_type(heading: str) -> dict[str, list[str]]:
    return {row[0].strip("`"): actions(row[1]) for row in rows(heading) if row[0].startswith("`AWS::")}


@pytest.fixture(scope="module")
def templates(new_stack: Callable[[str], Stack]) -> Mapping[str, Template]:
    """Both engines with everything that adds a resource or a permission."""

    def build(which: str) -> Template:
        stack = new_stack("Iam")
        given = parts(stack)
        key = kms.Key.from_key_arn(
            stack, "Key", "arn:aws:kms:eu-west-1:111122223333:key/0b4c5f3e-1111-2222-3333-444455556666"
        )
        given |= {
            "lanes": [
                Lane(name="cpu", instance_types=["m6i.8xlarge"]),
                Lane(name="spread", instance_types=["g6e.48xlarge"], gpus=8, nodes_per_job=2),
            ],
            "cryosparc": Cryosparc(
                license=secretsmanager.Secret.from_secret_complete_arn(
                    stack, "License", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:license-AbCdEf"
                )
            ),
            "backup_bucket": s3.Bucket.from_bucket_attributes(
                stack, "Results", bucket_name="results", encryption_key=key
            ),
        }
        if which == "pcs":
            Pcs(stack, "Cluster", **given)
        else:
            given.pop("ami_id")
            ParallelCluster(stack, "Cluster", **given)
        return Template.from_stack(stack)

    return {which: build(which) for which in ("pcs", "parallelcluster")}


def kinds(template: Template) -> set[str]:
    return {resource["Type"] for resource in template.to_json()["Resources"].values()}


# --- whoever deploys --------------------------------------------------------------------------------------------------


def test_each_table_has_every_type_that_its_engine_makes(templates: Mapping[str, Template]) -> None:
    pcs, parallelcluster = kinds(templates["pcs"]), kinds(templates["parallelcluster"])
    assert set(by_type("With engine: pcs")) == pcs - parallelcluster
    assert set(by_type("With engine: parallelcluster")) == parallelcluster - pcs - {"Custom::PclusterCluster"}
    assert set(by_type("With either engine")) == pcs & parallelcluster
    assert pcs - parallelcluster >= MUST


def types_of_the_page() -> list[tuple[str, str]]:
    headings = ("With engine: pcs", "With engine: parallelcluster", "With either engine")
    return [(heading, kind) for heading in headings for kind in by_type(heading)]


@pytest.mark.parametrize(("heading", "kind"), types_of_the_page(), ids=lambda value: value)
def test_a_types_actions_are_those_of_its_handlers(heading: str, kind: str) -> None:
    handlers = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema["handlers"]
    wanted = sorted(
        {
            action
            for name in ("create", "read", "update", "delete")
            for action in handlers.get(name, {}).get("permissions", [])
        }
        - LEFT_OUT.get(kind, set())
    )
    row = ", ".join(f"`{action}`" for action in wanted)
    assert by_type(heading)[kind] == wanted, f"the schema has changed; the row would be\n| `{kind}` | {row} |"


def test_the_page_names_the_schemas_date_and_the_version_that_ships_it() -> None:
    shipped = json.loads((Path(str(cfnlint.__file__)).parent / "data" / "schemas" / "version.json").read_text())
    text = PAGE.read_text()
    assert shipped["schema_date"].startswith("2026-10-20"), "then say so in docs/iam.md"
    assert "20 October 2026" in text


def test_what_is_documented_only_is_not_in_the_schema_and_has_its_page() -> None:
    documented = [row for row in rows("With engine: pcs") if not row[0].startswith("`AWS::")]
    schema = {action for found in by_type("With engine: pcs").values() for action in found}
    assert {action for row in documented for action in actions(row[0])} == {
        "pcs:AllowVendedLogDeliveryForResource",
        "logs:PutResourcePolicy",
        "logs:DescribeResourcePolicies",
        "logs:DescribeLogGroups",
        "secretsmanager:RotateSecret",
        "ec2:DescribeCapacityReservations",
    }
    assert all("https://docs.aws.amazon.com/" in row[2] for row in documented)
    # Of log groups' own handlers, which is no reason for a delivery to be allowed.
    of_log_groups = {"logs:PutResourcePolicy", "logs:DescribeResourcePolicies", "logs:DescribeLogGroups"}
    assert {a for row in documented for a in actions(row[0])} & schema <= of_log_groups


def test_every_call_to_pcs_that_is_named_is_one_that_pcs_has() -> None:
    known = set(botocore.session.get_session().get_service_model("pcs").operation_names)
    # Permissions without a call of their own (service authorization reference).
    known.add("AllowVendedLogDeliveryForResource")
    named = {action.removeprefix("pcs:") for action in re.findall(r"`(pcs:\w+)`", PAGE.read_text())}
    assert len(named) > 12
    assert named <= known


# --- roles ------------------------------------------------------------------------------------------------------------


def granted(template: Template, role: str) -> list[tuple[str, Any]]:
    found = statements(template, role)
    return [
        (action, statement["Resource"])
        for statement in found
        for action in (statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]])
    ]


@pytest.mark.parametrize(
    ("heading", "role"),
    [
        ("Head node on PCS", "ClusterHeadNodeRole"),
        ("Nodes on PCS", "ClusterNodeRole"),
        ("Function of finished jobs on PCS", "ClusterLogsRole"),
    ],
)
def test_a_roles_table_is_its_policy(templates: Mapping[str, Template], heading: str, role: str) -> None:
    told = [action for row in rows(heading) for action in actions(row[0])]
    assert len(told) == len(set(told))
    assert set(told) == {action for action, _ in granted(templates["pcs"], role)}


def test_only_what_is_said_to_know_no_resources_is_allowed_on_everything(templates: Mapping[str, Template]) -> None:
    everything = {
        action
        for role in ("ClusterHeadNodeRole", "ClusterNodeRole", "ClusterLogsRole")
        for action, resource in granted(templates["pcs"], role)
        if resource == "*"
    }
    (said,) = [actions(row[0])[0] for row in rows("Nodes on PCS") if "knows no resources" in row[1]]
    assert everything == {said}


def test_managed_policies_are_named(templates: Mapping[str, Template]) -> None:
    for role, heading in (("ClusterHeadNodeRole", "Head node on PCS"), ("ClusterNodeRole", "Nodes on PCS")):
        (found,) = [
            json.dumps(resource["Properties"].get("ManagedPolicyArns"))
            for name, resource in templates["pcs"].find_resources("AWS::IAM::Role").items()
            if name.startswith(role)
        ]
        assert found.count("AmazonSSMManagedInstanceCore") == found.count("policy/") == 1
        assert "`AmazonSSMManagedInstanceCore`" in section(heading)


def test_whoever_is_said_to_ask_for_an_action_is_there_and_does() -> None:
    calls = {
        "ssm:GetParameter": ("ssm get-parameter", "get_parameter"),
        "s3:GetObject": ("s3 cp",),
        "secretsmanager:GetSecretValue": ("secretsmanager get-secret-value", "get_secret_value", "secret_value"),
        "pcs:GetCluster": ("pcs get-cluster",),
        "ec2:AttachVolume": ("ec2 attach-volume",),
        "events:PutEvents": ("put_events",),
    }
    for row in rows("Head node on PCS"):
        for name in re.findall(r"`([\w./-]+)`", row[2]):
            text = (HEAD_NODE / name).read_text()
            (action,) = actions(row[0])
            assert any(call in text for call in calls[action]), (name, action)


def test_every_call_that_the_head_nodes_shell_makes_is_in_its_table() -> None:
    told = {action for row in rows("Head node on PCS") for action in actions(row[0])}
    scripts = [*HEAD_NODE.glob("*.sh"), *(HEAD_NODE / "bin").iterdir()]
    calls = {call for script in scripts for call in re.findall(r"\baws (\w+) ([a-z-]+)", script.read_text())}
    assert ("pcs", "get-cluster") in calls
    needed = {
        "s3:GetObject" if (service, verb) == ("s3", "cp") else f"{service}:{verb.title().replace('-', '')}"
        for service, verb in calls
    }
    assert needed <= told
