"""What the preflight decides, from plain data: both sides of each boundary, and the arithmetic for any numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk.cx_api import CloudAssembly
from hypothesis import given
from hypothesis import strategies as st

from cdk_cryoem import instance_shapes
from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.preflight import addresses, arns, ingest, offerings, quota_codes, quotas, stacks, vcpus
from cdk_cryoem_stacks.preflight.addresses import Addresses
from cdk_cryoem_stacks.preflight.check import Group, Level, count, error, ok, warning
from cdk_cryoem_stacks.preflight.images import official_name
from cdk_cryoem_stacks.preflight.places import Site, TypeFacts, console, instance_types, known_types
from cdk_cryoem_stacks.preflight.vcpus import Need


def site(**config: Any) -> Site:
    made = Config.model_validate({"name": "cryoem", **config})
    return Site(config=made, account="111122223333", types=known_types(made))


# ---- which quota --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instance_type", "on_demand", "spot"),
    [
        ("g4dn.xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("g6e.48xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("g7e.48xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("p4de.24xlarge", "L-417A185B", "L-7212CCBC"),
        ("p5.48xlarge", "L-417A185B", "L-C4BD4855"),
        ("p5en.48xlarge", "L-417A185B", "L-C4BD4855"),
        ("m7i.xlarge", "L-1216C47A", "L-34B43A08"),
        ("c6i.32xlarge", "L-1216C47A", "L-34B43A08"),
        ("im4gn.large", "L-1216C47A", "L-34B43A08"),
        ("x2idn.32xlarge", "L-7295265B", "L-E3A00192"),
    ],
)
def test_the_quota_of_a_type(instance_type: str, on_demand: str, spot: str) -> None:
    for is_spot, code in ((False, on_demand), (True, spot)):
        quota = quota_codes.quota_of(instance_type, spot=is_spot)
        assert quota is not None
        assert quota.code == code


@pytest.mark.parametrize("instance_type", ["inf2.xlarge", "trn1.2xlarge", "hpc7a.96xlarge", "mac1.metal", "", "metal"])
def test_a_family_that_is_not_known_has_no_quota_rather_than_a_wrong_one(instance_type: str) -> None:
    assert quota_codes.quota_of(instance_type, spot=False) is None


def test_every_type_that_a_lane_may_have_has_a_quota() -> None:
    assert [t for t in instance_shapes() for spot in (False, True) if quota_codes.quota_of(t, spot=spot) is None] == []


@pytest.mark.parametrize(
    ("region", "page"),
    [
        ("eu-west-1", "https://eu-west-1.console.aws.amazon.com"),
        ("us-gov-west-1", "https://us-gov-west-1.console.amazonaws-us-gov.com"),
        ("cn-north-1", "https://cn-north-1.console.amazonaws.cn"),
    ],
)
def test_the_console_of_a_region(region: str, page: str) -> None:
    assert console(region) == page
    assert quota_codes.G.page(region) == f"{page}/servicequotas/home/services/ec2/quotas/L-DB2E81BA"


# ---- vCPUs --------------------------------------------------------------------------------------------------------


def test_the_needs_of_the_default_lanes_are_those_of_the_deployment_guide() -> None:
    by_quota, uncounted = vcpus.needs(site())
    assert uncounted == []
    assert {quota.code: sum(n.total for n in wanted) for quota, wanted in by_quota.items()} == {
        "L-1216C47A": 132,
        "L-DB2E81BA": 752,
    }


def test_a_spot_twin_needs_as_much_again_of_the_spot_quota() -> None:
    lane = {"name": "gpu1", "instance_types": ["g5.4xlarge"], "gpus": 1, "max_nodes": 3, "spot_twin": True}
    by_quota, _ = vcpus.needs(site(lanes=[lane]))
    assert [(n.subject, n.total) for n in by_quota[quota_codes.G]] == [("lanes[0].max_nodes (gpu1)", 48)]
    assert [(n.subject, n.total) for n in by_quota[quota_codes.G_SPOT]] == [("lanes[0].max_nodes (gpu1-spot)", 48)]


def test_a_lane_of_two_families_may_fall_back_on_the_other() -> None:
    lane = {"name": "big", "instance_types": ["p5.48xlarge", "g5.48xlarge"], "gpus": 8, "max_nodes": 2}
    by_quota, _ = vcpus.needs(site(lanes=[lane]))
    (need,) = by_quota[quota_codes.P]
    assert not need.only
    assert vcpus.decide(quota_codes.P, [need], value=0, others=0, region="us-east-1").level is Level.WARNING


def test_a_head_node_of_a_type_that_nobody_knows_is_a_warning() -> None:
    made = site(head_node={"instance_type": "q9.8xlarge"})
    _, (found,) = vcpus.needs(made)
    assert (found.level, found.subject) == (Level.WARNING, "head_node.instance_type")
    assert "no quota is known of q9.8xlarge" in found.reason


def need(nodes: int, size: int, *, head: bool = False, only: bool = True) -> Need:
    subject = "head_node.instance_type" if head else f"lanes[0].max_nodes (n{nodes})"
    return Need(subject=subject, nodes=1 if head else nodes, instance_type="g5.xlarge", vcpus=size, only=only)


wants = st.lists(st.builds(need, st.integers(1, 50), st.integers(1, 192)), max_size=6)


@given(wants, st.integers(0, 10_000), st.integers(0, 500), st.booleans())
def test_a_vcpu_quota_is_ok_exactly_when_everything_fits_and_wrong_exactly_when_a_lane_alone_does_not(
    lanes: list[Need], value: int, others: int, with_head: bool
) -> None:
    head = [need(1, 4, head=True)] if with_head or not lanes else []
    found = vcpus.decide(quota_codes.G, [*head, *lanes], value=value, others=others, region="us-east-1")
    base = sum(n.total for n in head)
    total = base + sum(n.total for n in lanes)
    alone = [base, *(base + n.total for n in lanes)]
    assert (found.level is Level.OK) == (total + others <= value)
    assert (found.level is Level.ERROR) == any(each > value for each in alone)
    assert str(value) in found.reason
    if found.level is not Level.OK:
        assert f"--desired-value {total + others} " in found.fix


@given(wants.filter(bool), st.integers(0, 10_000), st.integers(0, 500))
def test_a_larger_quota_is_never_worse(lanes: list[Need], value: int, more: int) -> None:
    order = [Level.OK, Level.WARNING, Level.ERROR]
    levels = [
        order.index(vcpus.decide(quota_codes.G, lanes, value=v, others=0, region="us-east-1").level)
        for v in (value, value + more)
    ]
    assert levels[1] <= levels[0]


def test_what_asking_for_more_gives_is_enough() -> None:
    lanes = [need(8, 16), need(2, 192)]
    found = vcpus.decide(quota_codes.G, lanes, value=64, others=10, region="us-east-1")
    asked = int(found.fix.split("--desired-value ")[1].split()[0])
    assert vcpus.decide(quota_codes.G, lanes, value=asked, others=10, region="us-east-1").level is Level.OK


@pytest.mark.parametrize(("used", "level"), [(2400, Level.OK), (2401, Level.ERROR)])
def test_what_is_made_at_once_fits_or_does_not(used: int, level: Level) -> None:
    found = quotas.decide(quota_codes.VPCS, "x", name="n", needed=2400, used=used, value=4800, region="us-east-1")
    assert found.level is level


def test_what_others_use_is_counted_by_quota_and_purchase() -> None:
    def instance(kind: str, cores: int, lifecycle: str | None = None, **tags: str) -> dict[str, Any]:
        made: dict[str, Any] = {"InstanceType": kind, "CpuOptions": {"CoreCount": cores, "ThreadsPerCore": 2}}
        made["Tags"] = [{"Key": key, "Value": value} for key, value in tags.items()]
        return made | ({"InstanceLifecycle": lifecycle} if lifecycle else {})

    used = quotas.used_by_others(
        [
            instance("g5.xlarge", 2),
            instance("g5.xlarge", 2),
            instance("g5.xlarge", 2, "spot"),
            instance("p5.48xlarge", 96, "capacity-block"),
            instance("g5.48xlarge", 96, **{"parallelcluster:cluster-name": "cryoem"}),
            instance("g5.48xlarge", 96, **{"cryoem:system": "cryoem"}),
            instance("inf2.xlarge", 2),
        ],  # type: ignore[list-item]
        "cryoem",
    )
    assert used == {quota_codes.G: 8, quota_codes.G_SPOT: 4}


# ---- addresses ----------------------------------------------------------------------------------------------------


def test_the_addresses_of_the_default_system() -> None:
    default = Config(name="cryoem")
    wanted = addresses.wanted(default, known_types(default), file_system_is_there=False, head_node_is_there=False)
    assert (wanted.file_system, wanted.head_node, sum(wanted.lanes.values())) == (3, 1, 19)
    there = addresses.wanted(default, known_types(default), file_system_is_there=True, head_node_is_there=True)
    assert there.base == 0


def test_a_node_has_an_address_for_each_network_card_of_the_type_with_the_fewest() -> None:
    lane = {"name": "big", "instance_types": ["p5.48xlarge", "p5en.48xlarge"], "gpus": 8, "max_nodes": 2}
    config = Config.model_validate({"name": "cryoem", "lanes": [lane]})
    types = {
        "p5.48xlarge": TypeFacts(vcpus=192, network_cards=32),
        "p5en.48xlarge": TypeFacts(vcpus=192, network_cards=16),
    }
    wanted = addresses.wanted(config, types, file_system_is_there=True, head_node_is_there=True)
    assert wanted.lanes == {"lanes[0].max_nodes (big)": 32}


@pytest.mark.parametrize(("cidr", "free"), [("10.0.0.0/28", 11), ("10.0.0.0/24", 251), ("10.0.0.128/26", 59)])
def test_aws_keeps_five_addresses_of_a_subnet(cidr: str, free: int) -> None:
    assert addresses.size(cidr) == free


@given(st.integers(0, 300), st.integers(0, 20), st.integers(0, 1), st.lists(st.integers(1, 60), min_size=1, max_size=6))
def test_free_addresses_are_enough_exactly_when_everything_fits(
    free: int, servers: int, head: int, nodes: list[int]
) -> None:
    lanes = {f"lanes[{number}].max_nodes": n for number, n in enumerate(nodes)}
    wanted = Addresses(file_system=servers, head_node=head, lanes=lanes)
    (found,) = addresses.decide("subnet", free, wanted, mend="Take a larger subnet")
    assert (found.level is Level.OK) == (free >= wanted.total)
    assert (found.level is Level.ERROR) == (free < wanted.base + max(nodes))
    assert str(free) in found.reason


# ---- offerings ----------------------------------------------------------------------------------------------------

OFFERED = {"g5.4xlarge": frozenset({"a", "b"}), "g6e.4xlarge": frozenset({"b", "c"})}


@pytest.mark.parametrize(
    ("types", "zone", "first_is_tried", "level", "fix"),
    [
        (["g5.4xlarge", "g6e.4xlarge"], "b", True, Level.OK, ""),
        (["g5.4xlarge", "g6e.4xlarge"], "a", True, Level.WARNING, "Remove g6e.4xlarge"),
        (["g5.4xlarge", "g6e.4xlarge"], "c", True, Level.ERROR, "Begin the list with g6e.4xlarge"),
        (["g5.4xlarge", "g6e.4xlarge"], "c", False, Level.WARNING, "Remove g5.4xlarge"),
        (["g5.4xlarge"], "c", False, Level.ERROR, "Take other types"),
        (["p9.xlarge"], "a", True, Level.ERROR, "Take other types"),
    ],
)
def test_a_lane_in_a_zone(types: list[str], zone: str, first_is_tried: bool, level: Level, fix: str) -> None:
    found = offerings.decide("lane", types, zone=zone, offered=OFFERED, first_is_tried=first_is_tried)
    assert (found.level, found.fix) == (level, fix)
    if types == ["p9.xlarge"]:
        assert "p9.xlarge is nowhere in the region" in found.reason
    if level is not Level.OK:
        moved = offerings.decide(
            "lane", types, zone=zone, offered=OFFERED, first_is_tried=first_is_tried, move="Go to b"
        )
        assert moved.fix == "Go to b"


@given(
    st.dictionaries(st.sampled_from("pqrs"), st.frozensets(st.sampled_from("abc"))),
    st.lists(st.lists(st.sampled_from("pqrs"), min_size=1, unique=True), min_size=1),
)
def test_a_zone_that_is_named_for_all_has_all(offered: dict[str, frozenset[str]], groups: list[list[str]]) -> None:
    zones = offerings.zones_for_all(groups, offered)
    assert zones == sorted(zones)
    for zone in zones:
        assert all(
            offerings.decide("x", types, zone=zone, offered=offered, first_is_tried=True).level is Level.OK
            for types in groups
        )


# ---- the rest -----------------------------------------------------------------------------------------------------


def test_arns_of_elsewhere() -> None:
    agent = "arn:aws:datasync:eu-west-1:111122223333:agent/agent-0123456789abcdef0"
    microscope = {"name": "krios", "nfs": {"host": "h", "path": "/k"}, "agent_arn": agent}
    config = Config.model_validate({"name": "cryoem", "region": "eu-west-1", "microscopes": [microscope]})
    assert [check.level for check in arns.decide(config, account=None)] == [Level.OK]
    assert [check.level for check in arns.decide(config, account="111122223333")] == [Level.OK]
    (found,) = arns.decide(config, account="444455556666")
    assert (found.level, found.subject) == (Level.ERROR, "microscopes[0].agent_arn")
    config = config.model_copy(update={"region": "us-east-1"})
    (found,) = arns.decide(config, account=None)
    assert found.reason == "it is in eu-west-1, account 111122223333; the system is in us-east-1"
    assert list(arns.decide(Config(name="cryoem"), account=None)) == [], "nothing is named, nothing is said"


def test_an_agent_of_the_templates_is_known_by_its_microscope(
    synthesise: Callable[..., dict[str, dict[str, Any]]],
) -> None:
    """By logical ids as the CDK makes them, dashes and all."""
    names = ["krios-2", "krios"]
    scopes = [
        {"name": name, "nfs": {"host": "h", "path": "/k"}, "activation_key": f"AAAAA-BBBBB-CCCCC-DDDDD-EEEE{number}"}
        for number, name in enumerate(names)
    ]
    made = synthesise(Config.model_validate({"name": "em", "microscopes": scopes}))["ingest"]["Resources"]
    agents = {name for name, resource in made.items() if resource["Type"] == "AWS::DataSync::Agent"}
    assert len(agents) == 2
    found = {name: [each for each in agents if ingest.is_agent_of(each, name)] for name in names}
    assert [len(each) for each in found.values()] == [1, 1]
    assert found["krios"] != found["krios-2"]


def test_the_bootstrap_version_is_the_one_that_the_templates_ask_for(assembly: CloudAssembly) -> None:
    manifest = json.loads((Path(assembly.directory) / "manifest.json").read_text())
    asked = {
        artifact["properties"].get("requiresBootstrapStackVersion")
        for artifact in manifest["artifacts"].values()
        if artifact["type"] in ("aws:cloudformation:stack", "cdk:asset-manifest")
    }
    assert asked == {stacks.BOOTSTRAP_VERSION}


def test_the_stacks_looked_for_are_those_of_the_app(assembly: CloudAssembly, default_config: Config) -> None:
    assert {stack.stack_name for stack in assembly.stacks} == set(stacks.names(default_config)[:-1])
    assert stacks.names(default_config)[-1] == "cryoem", "ParallelCluster makes one of the cluster's name"


def test_the_image_has_parallelclusters_version(templates: dict[str, dict[str, Any]]) -> None:
    text = json.dumps(templates["cluster"])
    version = official_name("ubuntu2204").split("-")[2]
    assert f"parallelcluster/{version}/templates/custom_resource" in text


def test_every_type_of_the_file_is_listed_once() -> None:
    found = instance_types(Config(name="cryoem"))
    assert found[0] == "m7i.xlarge"
    assert len(found) == len(set(found)) == 9


def test_checks_are_counted_by_level() -> None:
    groups = [
        Group(title="a", checks=[ok("n", "s", "r"), error("n", "s", "r", "f")]),
        Group(title="b", checks=[warning("n", "s", "r", "f"), ok("n", "s", "r")]),
    ]
    assert count(groups) == {Level.OK: 2, Level.WARNING: 1, Level.ERROR: 1}
