"""Whatever is wrong in cryoem.yaml, people read where, what they typed and what is allowed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdk_cryoem import default_lanes
from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.config_file import ConfigError, Finding, load, schema

AGENT = "arn:aws:datasync:us-east-1:111122223333:agent/agent-0123456789abcdef0"
KEY = "ABCDE-12345-FGHIJ-67890-KLMNO"
LANE = "{name: NAME, instance_types: [g5.4xlarge], gpus: 1}"


def findings(folder: Path, text: str) -> tuple[Finding, ...]:
    path = folder / "cryoem.yaml"
    path.write_text(dedent(text))
    with pytest.raises(ConfigError) as caught:
        load(path)
    for finding in caught.value.findings:
        assert re.fullmatch(rf"{re.escape(str(path))}:\d+: \S.*: got .+, allowed: .+", str(finding)), str(finding)
    assert str(caught.value).splitlines() == [str(finding) for finding in caught.value.findings]
    return caught.value.findings


def lane(**changes: str) -> str:
    values = {"name": "gpu1", "instance_types": "[g5.4xlarge]", "gpus": "1"} | changes
    return "name: cryoem\nlanes:\n" + "\n".join(
        f"  {'-' if index == 0 else ' '} {key}: {value}" for index, (key, value) in enumerate(values.items())
    )


def microscope(*lines: str) -> str:
    return "name: cryoem\nmicroscopes:\n  - name: krios\n" + "\n".join(f"    {line}" for line in lines)


# what is wrong: (file, line, property, value, part of what is allowed or of the fix)
ONE_FINDING: dict[str, tuple[str, int, str, object, str]] = {
    "unknown key": ("name: a\nfile_systm: 1\n", 2, "file_systm", 1, "Did you mean file_system?"),
    "unknown key inside": (lane(gpu="1"), 6, "lanes[0].gpu", 1, "Did you mean gpus?"),
    "unknown key, nothing near": ("name: a\nzzz: 1\n", 2, "zzz", 1, "Remove it"),
    "number as key": ("name: a\n3: 1\n", 1, "3", 1, "Remove it"),
    "wrong unit": ("name: a\nfile_system:\n  capacity_gib: \"2400 GB\"\n", 3, "file_system.capacity_gib", "2400 GB",
                   "a whole number without a unit"),
    "capacity": ("name: a\nfile_system:\n  capacity_gib: 1024\n", 3, "file_system.capacity_gib", 1024, "1200"),
    "throughput": ("name: a\nfile_system:\n  throughput_mibps_per_tib: 300\n", 3, "file_system.throughput_mibps_per_tib",
                   300, "125, 250, 500, 1000"),
    "dot in a lane's name": (lane(name="g6e.4xl"), 3, "lanes[0].name", "g6e.4xl", "dots too"),
    "long lane name": (lane(name="a" * 26), 3, "lanes[0].name", "a" * 26, "25 characters at most"),
    "mixed vCPUs": (lane(instance_types="[g5.4xlarge, g6e.8xlarge]"), 4, "lanes[0].instance_types",
                    "g5.4xlarge has 16, g6e.8xlarge has 32", "types of one vCPU count"),
    "GPU lane of a CPU type": (lane(instance_types="[m6i.8xlarge]"), 5, "lanes[0].gpus", 1, "m6i.8xlarge has 0"),
    "unknown type": (lane(instance_types="[g99.huge]"), 4, "lanes[0].instance_types", "g99.huge", "data/instances.csv"),
    "one type, no list": (lane(instance_types="g5.4xlarge"), 4, "lanes[0].instance_types", "g5.4xlarge", "a list"),
    "capacity of a lane": (lane(capacity="cheap"), 6, "lanes[0].capacity", "cheap", "'on-demand' or 'spot'"),
    "no lanes": ("name: a\nlanes: []\n", 2, "lanes", [], "at least 1"),
    "two lanes of one name": (f"name: a\nlanes:\n  - {LANE}\n  - {LANE}\n".replace("NAME", "one"), 4, "lanes[1].name",
                              "one", "a name of its own"),
    "two microscopes of one name": (
        "name: a\nmicroscopes:\n"
        + "".join(f"  - {{name: {n}, nfs: {{host: h, path: /}}, agent_arn: '{AGENT}'}}\n" for n in ("em-1", "em1")),
        4, "microscopes[1].name", "em1", "dashes do not count"),
    "negative budget": ("name: a\nbudget:\n  monthly_usd: -1\n  emails: [a@b.c]\n", 3, "budget.monthly_usd", -1,
                        "above 0"),
    "budget for nobody": ("name: a\nbudget:\n  monthly_usd: 1\n  emails: []\n", 4, "budget.emails", [], "1 to 10"),
    "no address": ("name: a\nbudget:\n  monthly_usd: 1\n  emails: [bob]\n", 4, "budget.emails", "bob", "an e-mail"),
    "both agents": (microscope("nfs: {host: h, path: /k}", f"agent_arn: {AGENT}", f"activation_key: {KEY}"), 5,
                    "microscopes[0].agent_arn", AGENT, "either agent_arn or activation_key"),
    "no agent": (microscope("nfs: {host: h, path: /k}"), 3, "microscopes[0].agent_arn", None, "exactly one"),
    "both shares": (
        microscope("nfs: {host: h, path: /k}", f"agent_arn: {AGENT}", "smb: {host: h, path: /k, user: u, password_secret_arn: "
                   "'arn:aws:secretsmanager:us-east-1:111122223333:secret:em-AbCdEf'}"),
        4, "microscopes[0].nfs", "both nfs and smb", "either nfs or smb"),
    "no share": (microscope(f"agent_arn: {AGENT}"), 3, "microscopes[0].nfs", "neither nfs nor smb", "either nfs or smb"),
    "host of a share": (microscope("nfs: {host: //h, path: /k}", f"agent_arn: {AGENT}"), 4, "microscopes[0].nfs.host",
                        "//h", "without slashes"),
    "secret without its end": (
        microscope(f"agent_arn: {AGENT}", "smb:", "  host: h", "  path: /k", "  user: u",
                   "  password_secret_arn: arn:aws:secretsmanager:us-east-1:111122223333:secret:em"),
        9, "microscopes[0].smb.password_secret_arn", "arn:aws:secretsmanager:us-east-1:111122223333:secret:em",
        "[A-Za-z0-9]{6}"),
    "schedule": (microscope("nfs: {host: h, path: /k}", f"agent_arn: {AGENT}", "schedule: hourly"), 6,
                 "microscopes[0].schedule", "hourly", "rate(N hours)"),
    "head node": ("name: a\nhead_node: {instance_type: m7i.large}\n", 2, "head_node.instance_type", "m7i.large",
                  "16 GiB or more"),
    "half a network": ("name: a\nnetwork:\n  vpc_id: vpc-12345678\n", 2, "network.subnet_id", None, "together"),
    "no address range": ("name: a\nnetwork: {cidr: 300.0.0.0/16}\n", 2, "network.cidr", "300.0.0.0/16", "up to 255"),
    "account without quotes": ("name: a\naccount: 111122223333\n", 2, "account", 111122223333, "text"),
    "no name": ("region: us-east-1\n", 1, "name", "nothing", "it has no default"),
    "empty file": ("", 1, "cryoem.yaml", "an empty file", "at least a name"),
    "only a comment": ("# later\n", 1, "cryoem.yaml", "an empty file", "at least a name"),
    "a list": ("- a\n- b\n", 1, "cryoem.yaml", "a list", "properties, one a line"),
    "a word": ("cryoem\n", 1, "cryoem.yaml", "cryoem", "properties, one a line"),
    "duplicate key": ("name: a\nregion: us-east-1\nname: b\n", 3, "cryoem.yaml",
                      'found duplicate key "name" with value "b" (original value: "a")', "YAML"),
    "no YAML": ("name: [a\nregion: b: c\n", 2, "cryoem.yaml", "expected ',' or ']', but got ':'", "YAML"),
    "a tab": ("name: a\n\tx: 1\n", 2, "cryoem.yaml", "found character '\\t' that cannot start any token", "YAML"),
    "missing recipes": ("name: a\nprocessing:\n  recipes: nowhere\n", 3, "processing.recipes", "nowhere", "a folder"),
    "missing recipe": ("name: a\nprocessing:\n  recipes: .\n  on_landed: nope\n", 4, "processing.on_landed", "nope",
                       "a recipe: cryoem.yaml"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", ONE_FINDING)
def test_one_mistake_is_one_finding(wrong: str, tmp_path: Path) -> None:
    text, line, prop, value, allowed = ONE_FINDING[wrong]
    (finding,) = findings(tmp_path, text)
    assert (finding.line, finding.problem.property, finding.problem.value) == (line, prop, value)
    assert allowed in f"{finding.problem.allowed}. {finding.problem.fix}"


def test_mixed_gpu_counts_are_one_finding_for_each_thing_to_decide(tmp_path: Path) -> None:
    found = findings(tmp_path, lane(instance_types="[g5.4xlarge, g5.12xlarge]"))
    assert [(f.line, f.problem.property) for f in found] == [
        (4, "lanes[0].instance_types"), (4, "lanes[0].instance_types"), (5, "lanes[0].gpus"),
    ]  # fmt: skip
    assert found[0].problem.value == "g5.4xlarge has 1, g5.12xlarge has 4"


@pytest.mark.parametrize("value", [".nan", ".inf"])
def test_a_number_that_is_none_is_a_finding_and_no_crash(value: str, tmp_path: Path) -> None:
    (finding,) = findings(tmp_path, f"name: a\nbudget: {{monthly_usd: {value}, emails: [a@b]}}\n")
    assert (finding.problem.property, finding.problem.allowed) == ("budget.monthly_usd", "above 0")


def test_a_missing_file_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"none\.yaml:1: none\.yaml: got .*No such file.*allowed: a readable YAML file.*CRYOEM"
    ):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"name: \x00\x01"])
def test_a_binary_file_is_one_finding_on_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cryoem.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert len(str(caught.value).splitlines()) == len(caught.value.findings) == 1


def test_mistakes_all_over_the_file_are_all_reported_in_the_order_of_the_lines(tmp_path: Path) -> None:
    text = """\
        name: cryoem
        regoin: us-east-1
        microscopes:
          - name: krios
            nfs: {host: 10.0.0.5, path: krios}
            schedule: hourly
        file_system:
          capacity_gib: 1024
          throughput_mibps_per_tib: 300
        lanes:
          - {name: g.1, instance_types: [g5.4xlarge], gpus: 1}
          - {name: b, instance_types: [m6i.8xlarge], gpus: 1}
          - {name: b, instance_types: [m6i.8xlarge]}
        budget:
          monthly_usd: -5
          emails: [nobody]
        """
    found = [(finding.line, finding.problem.property) for finding in findings(tmp_path, text)]
    assert found == [
        (2, "regoin"),
        (4, "microscopes[0].agent_arn"),
        (5, "microscopes[0].nfs.path"),
        (6, "microscopes[0].schedule"),
        (8, "file_system.capacity_gib"),
        (9, "file_system.throughput_mibps_per_tib"),
        (11, "lanes[0].name"),
        (12, "lanes[1].gpus"),
        (13, "lanes[2].name"),
        (15, "budget.monthly_usd"),
        (16, "budget.emails"),
    ]


def test_an_unknown_key_does_not_hide_what_else_is_wrong_beside_it(tmp_path: Path) -> None:
    text = "name: a\nlanes:\n  - {name: c.d, instance_types: [m6i.8xlarge], gpu: 1, holdminutes: 2}\n"
    properties = [finding.problem.property for finding in findings(tmp_path, text)]
    assert sorted(properties) == ["lanes[0].gpu", "lanes[0].holdminutes", "lanes[0].name"]


def test_lanes_without_names_are_not_called_lanes_of_one_name(tmp_path: Path) -> None:
    text = "name: a\nlanes:\n  - {instance_types: [m6i.8xlarge]}\n  - {instance_types: [m6i.8xlarge]}\n"
    found = [(finding.line, finding.problem.property) for finding in findings(tmp_path, text)]
    assert found == [(3, "lanes[0].name"), (4, "lanes[1].name")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(text=st.text(st.sampled_from("abn:ame- \n[]{}#'\"&*!|>%@`,1.~\t?"), max_size=40))
def test_no_text_whatever_ends_in_anything_but_a_configuration_or_findings(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cryoem.yaml"
    path.write_text("name: a\n" + text)
    try:
        assert load(path).name
    except ConfigError as error:
        assert error.findings


def test_the_default_file_is_short_and_loads(root: Path, default_config: Config) -> None:
    assert len((root / "cryoem.yaml").read_text().splitlines()) <= 40
    assert default_config.name == "cryoem"
    assert len(default_config.microscopes) == 1


def test_the_default_file_says_the_defaults(default_config: Config) -> None:
    krios = default_config.microscopes[0]
    minimal = {
        "name": "cryoem",
        "microscopes": [krios.model_dump(include={"name", "nfs", "agent_arn"})],
        "budget": default_config.budget.model_dump() if default_config.budget else None,
    }
    assert Config.model_validate(minimal) == default_config


def test_the_default_lanes_are_those_of_the_library(default_config: Config) -> None:
    assert tuple(lane.lane() for lane in default_config.lanes) == default_lanes()
    assert Config(name="a").lanes == default_config.lanes


def test_the_twin_differs_only_in_what_it_processes(root: Path, default_config: Config) -> None:
    twin = load(root / "twin" / "cryoem.yaml")
    assert twin.processing is not None
    assert default_config.processing is None
    assert twin.model_copy(update={"processing": None}) == default_config


def test_the_committed_schema_is_that_of_the_models(root: Path) -> None:
    committed = (root / "docs" / "cryoem.schema.json").read_text()
    assert committed == schema(), (
        "run: python -c 'from cdk_cryoem_stacks.config_file import *; print(schema(), end=\"\")'"
    )
    first_line = (root / "cryoem.yaml").read_text().splitlines()[0]
    assert first_line == "# yaml-language-server: $schema=docs/cryoem.schema.json"


def test_the_schema_refuses_unknown_keys_everywhere() -> None:
    document = json.loads(schema())
    sections = [document, *document["$defs"].values()]
    assert len(sections) > 8
    assert all(section["additionalProperties"] is False for section in sections if section["type"] == "object")
