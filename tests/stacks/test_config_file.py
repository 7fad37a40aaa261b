"""Whatever is wrong in cryoem.yaml, people read where, what they typed and what is allowed."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdk_cryoem import (
    Lane,
    Problem,
    caps,
    cryosparc,
    cryosparc_web,
    dataset_group,
    default_lanes,
    ingest_pace,
    ingest_patterns,
    ingest_rules,
    ingest_schedule,
    landing_zone,
    lane_manifest,
    lustre_rules,
    microscope_ingest,
    monthly_budget,
    notifications,
    parallel_cluster,
    pcs_rules,
    private_network,
    replication,
    stages,
    waiting,
)
from cdk_cryoem import lane as lane_module
from cdk_cryoem_stacks import (
    config,
    config_file,
    config_groups,
    config_microscope,
    config_network,
    config_sections,
    config_storage,
    config_web,
)
from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.config_file import ConfigError, Finding, load, schema

AGENT = "arn:aws:datasync:us-east-1:111122223333:agent/agent-0123456789abcdef0"
KEY = "ABCDE-12345-FGHIJ-67890-KLMNO"
LANE = "{name: NAME, instance_types: [g5.4xlarge], gpus: 1}"
TWIN = f"{LANE[:-1]}, spot_twin: true}}"
ON_PCS = "name: em\nengine: pcs\npcs: {ami_id: ami-0a1b2c3d, size: LARGE}\n"
RESERVATION = "cr-0a1b2c3d4e5f60718"
CERTIFICATE = "arn:aws:acm:us-east-1:111122223333:certificate/01234567-89ab-cdef-0123-456789abcdef"
WEB = f"name: em\nweb:\n  certificate_arn: {CERTIFICATE}\n  allowed_from: [10.0.0.0/8]\n"
LOGIN = (
    "  login:\n    issuer: https://a/i\n    authorization_endpoint: https://a/a\n    token_endpoint: https://a/t\n"
    "    user_info_endpoint: https://a/u\n    client_id: em\n"
    "    client_secret_arn: arn:aws:secretsmanager:us-east-1:111122223333:secret:login-AbCdEf\n"
)
LICENSE = "arn:aws:secretsmanager:us-east-1:111122223333:secret:cryosparc-AbCdEf"


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


SECOND_COPY = {
    "bucket_arn": "arn:aws:s3:::second-copy",
    "key_arn": "arn:aws:kms:eu-west-1:444455556666:key/11111111-2222-3333-4444-555555555555",
    "account": "444455556666",
    "storage_class": "GLACIER_IR",
}


def groups(*given: str) -> str:
    read = "reader_role_arns: ['arn:aws:iam::111122223333:role/r']"
    return "name: em\ngroups:\n" + "".join(f"  - {group.replace('READ', read)}\n" for group in given)


# what is wrong: (file, line, property, value, part of what is allowed or of the fix)
ONE_FINDING: dict[str, tuple[str, int, str, object, str]] = {
    "unknown key": ("name: em\nfile_systm: 1\n", 2, "file_systm", 1, "Did you mean file_system?"),
    "unknown key inside": (lane(gpu="1"), 6, "lanes[0].gpu", 1, "Did you mean gpus?"),
    "unknown key, nothing near": ("name: em\nzzz: 1\n", 2, "zzz", 1, "Remove it"),
    "number as key": ("name: em\n3: 1\n", 1, "3", 1, "Remove it"),
    "wrong unit": ("name: em\nfile_system:\n  capacity_gib: \"2400 GB\"\n", 3, "file_system.capacity_gib", "2400 GB",
                   "a whole number without a unit"),
    "capacity": ("name: em\nfile_system:\n  capacity_gib: 1024\n", 3, "file_system.capacity_gib", 1024, "1200"),
    "throughput": ("name: em\nfile_system:\n  throughput_mibps_per_tib: 300\n", 3, "file_system.throughput_mibps_per_tib",
                   300, "125, 250, 500, 1000"),
    "dot in a lane's name": (lane(name="g6e.4xl"), 3, "lanes[0].name", "g6e.4xl", "dots too"),
    "long lane name": (lane(name="a" * 26), 3, "lanes[0].name", "a" * 26, "25 characters at most"),
    "mixed vCPUs": (lane(instance_types="[g5.4xlarge, g6e.8xlarge]"), 4, "lanes[0].instance_types",
                    "g5.4xlarge has 16, g6e.8xlarge has 32", "types of one vCPU count"),
    "GPU lane of a CPU type": (lane(instance_types="[m6i.8xlarge]"), 5, "lanes[0].gpus", 1, "m6i.8xlarge has 0"),
    "unknown type": (lane(instance_types="[g99.huge]"), 4, "lanes[0].instance_types", "g99.huge", "data/instances.csv"),
    "one type, no list": (lane(instance_types="g5.4xlarge"), 4, "lanes[0].instance_types", "g5.4xlarge", "a list"),
    "capacity of a lane": (lane(capacity="cheap"), 6, "lanes[0].capacity", "cheap",
                           "'on-demand', 'spot' or 'capacity-block'"),
    "no lanes": ("name: em\nlanes: []\n", 2, "lanes", [], "at least 1"),
    "two lanes of one name": (f"name: em\nlanes:\n  - {LANE}\n  - {LANE}\n".replace("NAME", "one"), 4, "lanes[1].name",
                              "one", "a name of its own"),
    "two microscopes of one name": (
        "name: em\nmicroscopes:\n"
        + "".join(f"  - {{name: {n}, nfs: {{host: h, path: /}}, agent_arn: '{AGENT}'}}\n" for n in ("em-1", "em1")),
        4, "microscopes[1].name", "em1", "dashes do not count"),
    "forty-one microscopes": (
        "name: em\nmicroscopes:\n"
        + "".join(f"  - {{name: em-{n}, nfs: {{host: h, path: /}}, agent_arn: '{AGENT}'}}\n" for n in range(41)),
        2, "microscopes", 41, "40 at most"),
    "negative budget": ("name: em\nbudget:\n  monthly_usd: -1\n  emails: [a@b.c]\n", 3, "budget.monthly_usd", -1,
                        "above 0"),
    "budget for nobody": ("name: em\nbudget:\n  monthly_usd: 1\n  emails: []\n", 4, "budget.emails", [], "1 to 10"),
    "budget that denies nobody": ("name: em\nbudget:\n  monthly_usd: 1\n  emails: [a@b.c]\n  at_limit: {roles: []}\n", 5,
                                  "budget.at_limit.roles", [], "at least 1"),
    "budget that denies PCS": (
        "name: em\nengine: pcs\npcs: {ami_id: ami-0a1b2c3d4e5f60718}\nbudget:\n  monthly_usd: 1\n  emails: [a@b.c]\n"
        "  at_limit: {roles: ['arn:aws:iam::111122223333:role/head']}\n",
        7, "budget.at_limit", "given", "nothing with engine: pcs"),
    "no file of prices": ("name: em\nprices: none.csv\n", 2, "prices", "none.csv", "a file beside this one"),
    "no address": ("name: em\nbudget:\n  monthly_usd: 1\n  emails: [bob]\n", 4, "budget.emails", "bob", "an e-mail"),
    "notices to no address": ("name: em\nnotifications:\n  emails: [bob]\n", 3, "notifications.emails", "bob", "an e-mail"),
    "notices to one address twice": ("name: em\nnotifications:\n  emails: [a@b.c, a@b.c]\n", 3, "notifications.emails",
                                     "a@b.c", "each address once"),
    "notices of short jobs": ("name: em\nnotifications:\n  job_minutes: -1\n", 3, "notifications.job_minutes", -1,
                              "0 (every job) to 10080"),
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
    "head node": ("name: em\nhead_node: {instance_type: m7i.large}\n", 2, "head_node.instance_type", "m7i.large",
                  "16 GiB or more"),
    "half a network": ("name: em\nnetwork:\n  vpc_id: vpc-12345678\n", 2, "network.subnet_id", None, "together"),
    "no address range": ("name: em\nnetwork: {cidr: 300.0.0.0/16}\n", 2, "network.cidr", "300.0.0.0/16", "up to 255"),
    "no endpoint": ("name: em\nnetwork: {endpoints: [standard, s3]}\n", 2, "network.endpoints", "s3", "always there"),
    "endpoints elsewhere": (
        "name: em\nnetwork:\n  vpc_id: vpc-12345678\n  subnet_id: subnet-12345678\n  availability_zone: us-east-1b\n"
        "  endpoints: [ssm]\n", 6, "network.endpoints", ["ssm"], "make them there"),
    "way out elsewhere": (
        "name: em\nnetwork:\n  vpc_id: vpc-12345678\n  subnet_id: subnet-12345678\n  availability_zone: us-east-1b\n"
        "  nat: false\n", 6, "network.nat", False, "whether there is a way out"),
    "no way out for ParallelCluster": ("name: em\nnetwork: {nat: false, endpoints: [all]}\n", 2, "network.nat", False,
                                       "Python packages from PyPI"),
    "no way out for cryoSPARC": (
        f"{ON_PCS}cryosparc: {{license_secret_arn: '{LICENSE}'}}\nnetwork: {{nat: false, endpoints: [all]}}\n", 5,
        "network.nat", False, "get.cryosparc.com"),
    "no way out and no endpoints": (f"{ON_PCS}network: {{nat: false, endpoints: [standard, ec2]}}\n", 4,
                                    "network.endpoints", ["standard", "ec2"], "Add pcs"),
    "web for everybody": (f"name: em\nweb: {{certificate_arn: '{CERTIFICATE}', allowed_from: [0.0.0.0/0]}}\n", 2,
                          "web.allowed_from", "0.0.0.0/0", "never all of them"),
    "web for nobody": (f"name: em\nweb: {{certificate_arn: '{CERTIFICATE}', allowed_from: []}}\n", 2, "web.allowed_from", [],
                       "1 to 50"),
    "public web without a login": (f"{WEB}  internet_facing: true\n", 2, "web.login", None, "a login, with internet_facing"),
    "login without https": (f"{WEB}{LOGIN.replace('https://a/i', 'http://a/i')}", 6, "web.login.issuer", "http://a/i",
                            "an https address"),
    "a login for a month": (f"{WEB}{LOGIN}    session_hours: 720\n", 12, "web.login.session_hours", 720, "1 to 168"),
    "web in one zone": (f"{WEB}network: {{availability_zone: us-east-1b}}\n", 5, "network.availability_zone", "us-east-1b",
                        "in two zones"),
    "subnets of a new network": (f"{WEB}  subnet_ids: [subnet-1, subnet-2]\n", 5, "web.subnet_ids", ["subnet-1", "subnet-2"],
                                 "nothing without vpc_id"),
    "web in a network of yours": (
        f"{WEB}  subnet_ids: [subnet-1]\nnetwork:\n  vpc_id: vpc-12345678\n  subnet_id: subnet-12345678\n"
        "  availability_zone: us-east-1b\n", 5, "web.subnet_ids", ["subnet-1"], "two subnets or more"),
    "web and no way out": (f"{ON_PCS}network: {{nat: false, endpoints: [all]}}\n{WEB[9:]}{LOGIN}", 8, "web.login", "given",
                           "nothing with nat: false"),
    "account without quotes": ("name: em\naccount: 111122223333\n", 2, "account", 111122223333, "text"),
    "no name": ("region: us-east-1\n", 1, "name", "nothing", "it has no default"),
    "empty file": ("", 1, "cryoem.yaml", "an empty file", "at least a name"),
    "only a comment": ("# later\n", 1, "cryoem.yaml", "an empty file", "at least a name"),
    "a list": ("- a\n- b\n", 1, "cryoem.yaml", "a list", "properties, one a line"),
    "a word": ("cryoem\n", 1, "cryoem.yaml", "cryoem", "properties, one a line"),
    "duplicate key": ("name: em\nregion: us-east-1\nname: b\n", 3, "cryoem.yaml",
                      'found duplicate key "name" with value "b" (original value: "em")', "YAML"),
    "no YAML": ("name: [a\nregion: b: c\n", 2, "cryoem.yaml", "expected ',' or ']', but got ':'", "YAML"),
    "a tab": ("name: em\n\tx: 1\n", 2, "cryoem.yaml", "found character '\\t' that cannot start any token", "YAML"),
    "lane without types": (lane(instance_types="[]"), 4, "lanes[0].instance_types", [], "at least one EC2 instance type"),
    "type named twice": (lane(instance_types="[g5.4xlarge, g5.4xlarge]"), 4, "lanes[0].instance_types", "g5.4xlarge",
                         "every type once"),
    "lane called default": (lane(name="default"), 3, "lanes[0].name", "default", "another name"),
    "release after no day": ("name: em\nfile_system: {release_after_days: 0}\n", 2, "file_system.release_after_days", 0,
                             "1 to 3650"),
    "generation": ("name: em\nfile_system: {generation: 0}\n", 2, "file_system.generation", 0, "1 to 1000"),
    "deployment type": ("name: em\nfile_system:\n  deployment_type: PERSISTENT_1\n  throughput_mibps_per_tib: null\n", 3,
                        "file_system.deployment_type", "PERSISTENT_1", "PERSISTENT_2 or SCRATCH_2"),
    "no throughput": ("name: em\nfile_system: {throughput_mibps_per_tib: null}\n", 2,
                      "file_system.throughput_mibps_per_tib", None, "PERSISTENT_2 cannot be created without it"),
    "throughput of scratch": ("name: em\nfile_system: {deployment_type: SCRATCH_2}\n", 2,
                              "file_system.throughput_mibps_per_tib", 250, "nothing with SCRATCH_2"),
    "path of a share": (microscope("nfs: {host: h, path: k}", f"agent_arn: {AGENT}"), 4, "microscopes[0].nfs.path", "k",
                        "an absolute path"),
    "no agent's ARN": (microscope("nfs: {host: h, path: /k}", "agent_arn: agent-1"), 5, "microscopes[0].agent_arn", "agent-1",
                       "17 hex digits"),
    "no key of an agent": (microscope("nfs: {host: h, path: /k}", "activation_key: abc"), 5,
                           "microscopes[0].activation_key", "abc", "five groups of five"),
    "schedule that is too fast": (microscope("nfs: {host: h, path: /k}", f"agent_arn: {AGENT}", "schedule: rate(4 minutes)"), 6,
                                  "microscopes[0].schedule", "rate(4 minutes)", "5 minutes apart or more"),
    "too many agents": (
        microscope("nfs: {host: h, path: /k}", f"agent_arns: [{', '.join(f'{AGENT[:-1]}{n}' for n in range(9))}]"), 5,
        "microscopes[0].agent_arns", "9 agents", "1 to 8"),
    "an agent twice": (microscope("nfs: {host: h, path: /k}", f"agent_arns: [{AGENT}, {AGENT}]"), 5,
                       "microscopes[0].agent_arns", [AGENT, AGENT], "each agent once"),
    "no pattern": (microscope("nfs: {host: h, path: /k}", f"agent_arn: {AGENT}", "exclude_patterns: ['/a|/b']"), 6,
                   "microscopes[0].exclude_patterns", "/a|/b", "one pattern each"),
    "no folder to include": (microscope("nfs: {host: h, path: /k}", f"agent_arn: {AGENT}", "include_patterns: ['*.mrc']"), 6,
                             "microscopes[0].include_patterns", "*.mrc", "with a * at its end only"),
    "an exclude without a beginning": (microscope("nfs: {host: h, path: /k}", f"agent_arn: {AGENT}", "exclude_patterns: [atlas]"), 6,
                                       "microscopes[0].exclude_patterns", "atlas", "begins with /"),
    "movies excluded": (microscope("nfs: {host: h, path: /k}", f"agent_arn: {AGENT}", "exclude_patterns: ['*.eer']"), 6,
                        "microscopes[0].exclude_patterns", "*.eer", "hits no movie"),
    "a long filter": (microscope("nfs: {host: h, path: /k}", f"agent_arn: {AGENT}", f"include_patterns: [/{'a' * 102_400}]"), 6,
                      "microscopes[0].include_patterns", "102401 characters", "102400 characters together"),
    "the sentinel excluded": (microscope("nfs: {host: h, path: /k}", f"agent_arn: {AGENT}", "exclude_patterns: ['*/DO*']") + "\nlanding: {sentinel: DONE}\n", 6,
                              "microscopes[0].exclude_patterns", "*/DO*", "does not hit the sentinel DONE"),
    "a sentinel that is never copied": (microscope("nfs: {host: h, path: /k}", f"agent_arn: {AGENT}") + "\nlanding: {sentinel: done.tmp}\n", 6,
                                        "landing.sentinel", "done.tmp", "a name that is copied"),
    "no bandwidth in a window": (
        microscope("nfs: {host: h, path: /k}", f"agent_arn: {AGENT}", "bandwidth_windows:", '  - {start: "08:00", end: "18:00", limit_mibps: 0}'), 7,
        "microscopes[0].bandwidth_windows[0].limit_mibps", 0, "1 or more"),
    "a window that ends before it begins": (
        microscope("nfs: {host: h, path: /k}", f"agent_arn: {AGENT}", "bandwidth_windows:", '  - {start: "18:00", end: "08:00"}'), 7,
        "microscopes[0].bandwidth_windows[0].end", "08:00", "a time after start"),
    "a microscope's time zone": (microscope("nfs: {host: h, path: /k}", f"agent_arn: {AGENT}", "time_zone: Vienna"), 6,
                                 "microscopes[0].time_zone", "Vienna", "IANA database"),
    "no bandwidth": (microscope("nfs: {host: h, path: /k}", f"agent_arn: {AGENT}", "bandwidth_limit_mibps: 0"), 6,
                     "microscopes[0].bandwidth_limit_mibps", 0, "1 or more"),
    "short lane name with pcs": (f"{ON_PCS}lanes:\n  - {LANE.replace('NAME', 'ab')}\n", 5, "lanes[0].name", "ab",
                                 "3 to 25 characters with PCS"),
    "many lanes with pcs": (
        ON_PCS + "lanes:\n" + "".join(f"  - {LANE.replace('NAME', f'lane-{n}')[:-1]}, max_nodes: 1}}\n" for n in range(11)), 4,
        "lanes", "11 lanes", "10 at most with PCS"),
    "root volume with pcs": (f"{ON_PCS}head_node:\n  root_volume_gib: 50\n", 5, "head_node.root_volume_gib", 50,
                             "or more with PCS"),
    "name of one letter": ("name: a\n", 1, "name", "a", "{1,19}"),
    "reservation": (lane(capacity_reservation_id="cr-1"), 6, "lanes[0].capacity_reservation_id", "cr-1",
                    "cr- and 17 hexadecimals"),
    "reservation of two types": (
        lane(instance_types="[g5.4xlarge, g6e.4xlarge]", capacity_reservation_id=RESERVATION), 4,
        "lanes[0].instance_types", "g5.4xlarge, g6e.4xlarge", "the one type that the reservation is for"),
    "reservation for spot": (lane(capacity="spot", capacity_reservation_id=RESERVATION), 7,
                             "lanes[0].capacity_reservation_id", RESERVATION, "nothing for a spot lane"),
    "block without its id": (lane(instance_types="[p5.4xlarge]", capacity="capacity-block"), 3,
                             "lanes[0].capacity_reservation_id", None, "the Capacity Block's id"),
    "block of another type": (lane(capacity="capacity-block", capacity_reservation_id=RESERVATION), 4,
                              "lanes[0].instance_types", "g5.4xlarge", "types that EC2 sells Capacity Blocks of"),
    "nodes of a job": (lane(max_nodes="2", nodes_per_job="3"), 7, "lanes[0].nodes_per_job", 3, "1 to 2"),
    "particle cache": (lane(particle_cache="yes please"), 6, "lanes[0].particle_cache", "yes please", "true or false"),
    "memory multiplier": (lane(memory_multiplier="0"), 6, "lanes[0].memory_multiplier", 0, "0.1 to 10"),
    "time limit": (lane(time_limit_hours="721"), 6, "lanes[0].time_limit_hours", 721, "0.1 to 720"),
    "spot twin of a spot lane": (lane(capacity="spot", spot_twin="true"), 7, "lanes[0].spot_twin", True,
                                 "for on-demand lanes without a reservation"),
    "spot twin of a reserved lane": (lane(capacity_reservation_id=RESERVATION, spot_twin="true"), 7,
                                     "lanes[0].spot_twin", True, "for on-demand lanes without a reservation"),
    "spot twin with a long name": (lane(name="a" * 21, spot_twin="true"), 6, "lanes[0].spot_twin", "a" * 21 + "-spot",
                                   "25 characters at most"),
    "spot twin with the name of a lane": (
        f"name: em\nlanes:\n  - {LANE.replace('NAME', 'one-spot')}\n  - {TWIN.replace('NAME', 'one')}\n", 4,
        "lanes[1].spot_twin", "one-spot", "a name of its own"),
    "lane with the name of a spot twin": (
        f"name: em\nlanes:\n  - {TWIN.replace('NAME', 'one')}\n  - {LANE.replace('NAME', 'one-spot')}\n", 4,
        "lanes[1].name", "one-spot", "a name of its own"),
    "too long a hold": (lane(hold_minutes="11"), 6, "lanes[0].hold_minutes", 11, "Raise idle_backstop_minutes"),
    "backstop": ("name: em\nidle_backstop_minutes: 0\n", 2, "idle_backstop_minutes", 0, "1 to 1440"),
    "system of the head node": ("name: em\nhead_node:\n  operating_system: alinux2\n", 3, "head_node.operating_system",
                                "alinux2", "ubuntu2204, ubuntu2404"),
    "small root volume": ("name: em\nhead_node: {root_volume_gib: 49}\n", 2, "head_node.root_volume_gib", 49,
                          "50 to 16384"),
    "large database": ("name: em\nhead_node: {cryosparc_volume_gib: 16385}\n", 2, "head_node.cryosparc_volume_gib",
                       16385, "50 to 16384"),
    "desktop for everybody": ("name: em\nhead_node:\n  remote_desktop_from: 0.0.0.0/0\n", 3,
                              "head_node.remote_desktop_from", "0.0.0.0/0", "never all of them"),
    "desktop for half the world": ("name: em\nhead_node:\n  remote_desktop_from: 128.0.0.0/7\n", 3,
                                   "head_node.remote_desktop_from", "128.0.0.0/7", "such as 10.0.0.0/8"),
    "desktop for a name": ("name: em\nhead_node:\n  remote_desktop_from: campus\n", 3,
                           "head_node.remote_desktop_from", "campus", "Name the network of your VPN or campus"),
    "stop the head node": ("name: em\nhead_node: {stop_after_minutes: 14}\n", 2, "head_node.stop_after_minutes", 14,
                           "0, or 15 to 10080"),
    "hours without a stop": ("name: em\nhead_node:\n  awake: {}\n", 3, "head_node.awake", "given",
                             "nothing without stop_after_minutes"),
    "a cap's name": ("name: em\ncaps:\n  - {name: Month, usd: 1}\n", 3, "caps[0].name", "Month", "a lower-case letter"),
    "two caps of one name": ("name: em\ncaps:\n  - {name: m, usd: 100000}\n  - {name: m, usd: 100000}\n", 4, "caps[1].name", "m",
                             "a name of its own"),
    "a cap of nothing": ("name: em\ncaps:\n  - {name: m, usd: 0}\n", 3, "caps[0].usd", 0.0, "above 0"),
    "a cap's project": ("name: em\ncaps:\n  - {name: m, usd: 100000, projects: [a/b]}\n", 3, "caps[0].projects", "a/b", "no /"),
    "each of nothing": ("name: em\ncaps:\n  - {name: m, usd: 100000, each: true}\n", 3, "caps[0].each", True, "with projects"),
    "too many caps": ("name: em\ncaps:\n" + "".join(f"  - {{name: m{n}, usd: 100000}}\n" for n in range(21)), 2, "caps",
                      "21 caps", "20 at most"),
    "worthless waiting": ("name: em\nwaiting:\n  usd_per_hour: 0\n", 3, "waiting.usd_per_hour", 0, "above 0"),
    "a long wait": ("name: em\nwaiting:\n  usd_per_hour: 5\n  longest_minutes: 16\n", 4, "waiting.longest_minutes", 16,
                    "1 to 15"),
    "held longer than the engine does": ("name: em\nwaiting:\n  usd_per_hour: 5\n  longest_minutes: 11\n", 4,
                                         "waiting.longest_minutes", 11, "1 to 10, the cluster's idle_backstop_minutes"),
    "nobody waits then": ("name: em\nwaiting:\n  usd_per_hour: 5\n  hours: {time_zone: Vienna}\n", 4,
                          "waiting.hours.time_zone", "Vienna", "Europe/Vienna"),
    "no such day": ("name: em\nhead_node:\n  stop_after_minutes: 60\n  awake:\n    days: [monday]\n", 5,
                    "head_node.awake.days", ["monday"], "mon, tue"),
    "no time": ("name: em\nhead_node:\n  stop_after_minutes: 60\n  awake:\n    start: 9am\n", 5,
                "head_node.awake.start", "9am", "09:00, in quotes"),
    "hours that pass midnight": ("name: em\nhead_node:\n  stop_after_minutes: 60\n  awake:\n    end: \"06:00\"\n", 5,
                                 "head_node.awake.end", "06:00", "a time after start (09:00)"),
    "no time zone": ("name: em\nhead_node:\n  stop_after_minutes: 60\n  awake:\n    time_zone: Vienna\n", 5,
                     "head_node.awake.time_zone", "Vienna", "Europe/Vienna"),
    "stage that is none": ("name: em\nstages:\n  motoin: gpu1\n", 3, "stages.motoin", "gpu1", "one of the stages import"),
    "stage on a lane that is none": ("name: em\nstages:\n  motion: gpu9\n", 3, "stages.motion", "gpu9",
                                     "one of the lanes cpu"),
    "stage on a lane without GPUs": ("name: em\nstages:\n  motion: cpu\n", 3, "stages.motion", "cpu",
                                     "a lane with GPUs"),
    "cryosparc without a licence": ("name: em\ncryosparc: {version: 5.0.6}\n", 2, "cryosparc.license_secret_arn",
                                    "nothing", "it has no default"),
    "licence without its end": (f"name: em\ncryosparc:\n  license_secret_arn: {LICENSE[:-7]}\n", 3,
                                "cryosparc.license_secret_arn", LICENSE[:-7], "[A-Za-z0-9]{6}"),
    "old cryosparc": (f"name: em\ncryosparc:\n  license_secret_arn: {LICENSE}\n  version: 4.6.2\n", 4,
                      "cryosparc.version", "4.6.2", "5.x.y or 4.7.y"),
    "cryosparc of any patch": (f"name: em\ncryosparc:\n  license_secret_arn: {LICENSE}\n  version: '5.0'\n", 4,
                               "cryosparc.version", "5.0", "an exact version"),
    "no tokens": (f"name: em\ncryosparc:\n  license_secret_arn: {LICENSE}\n  license_tokens: 0\n", 4,
                  "cryosparc.license_tokens", 0, "1 or more"),
    "log retention": ("name: em\nlog_retention_days: 31\n", 2, "log_retention_days", 31, "30, 60"),
    "boundary": ("name: em\npermissions_boundary_arn: arn:aws:iam::111122223333:role/r\n", 2, "permissions_boundary_arn",
                 "arn:aws:iam::111122223333:role/r", ":policy/"),
    "AWS's own tag": ("name: em\ntags:\n  team: em\n  aws:team: em\n", 2, "tags", "aws:team", "aws:, parallelcluster:"),
    "the system's own tag": ("name: em\ntags: {'cryoem:system': other}\n", 2, "tags", "cryoem:system", "cryoem:"),
    "ParallelCluster's own tag": ("name: em\ntags: {'parallelcluster:version': '1'}\n", 2, "tags",
                                  "parallelcluster:version", "parallelcluster:"),
    "long tag": (f"name: em\ntags: {{{'k' * 129}: v}}\n", 2, "tags", "k" * 129, "1 to 128"),
    "tag with a character": ("name: em\ntags:\n  cost: center\n  team: em & co\n", 4, "tags.team", "em & co",
                             "1 to 256 letters, digits, spaces and _.:/=+-@"),
    "tag with a dot and no value": ("name: em\ntags:\n  x: y\n  cost.center: ''\n", 4, "tags.cost.center", "",
                                    "1 to 256"),
    "tag that is a number": ("name: em\ntags:\n  cost: 4711\n", 3, "tags.cost", 4711, "text"),
    "many tags": ("name: em\ntags: {" + ", ".join(f"k{n}: v" for n in range(38)) + "}\n", 2, "tags", 38, "37 at most"),
    "pcs without its section": ("name: em\nengine: pcs\n", 1, "pcs", None, "a section with ami_id"),
    "image of pcs": ("name: em\nengine: pcs\npcs: {ami_id: ami-xyz}\n", 3, "pcs.ami_id", "ami-xyz", "[0-9a-f]{8,17}"),
    "desktop with pcs": (
        "name: em\nengine: pcs\npcs: {ami_id: ami-0a1b2c3d}\nhead_node:\n  remote_desktop_from: 10.0.0.0/8\n", 5,
        "head_node.remote_desktop_from", "10.0.0.0/8", "nothing with PCS"),
    "size of pcs": (
        f"name: em\nengine: pcs\npcs:\n  ami_id: ami-0a1b2c3d\n  size: SMALL\nlanes:\n  - {LANE[:-1]}, max_nodes: 33}}\n"
        .replace("NAME", "one"),
        5, "pcs.size", "SMALL", "MEDIUM"),
    "lock longer than replaced versions are kept": (
        "name: em\nlanding:\n  noncurrent_days: 30\n  object_lock_days: 31\n", 4, "landing.object_lock_days", 31,
        "up to noncurrent_days (30 days)"),
    "no lock": ("name: em\nlanding:\n  object_lock_days: 0\n", 3, "landing.object_lock_days", 0, "or equal to 1"),
    "archive at once": ("name: em\nlanding:\n  archive_after_days: 0\n", 3, "landing.archive_after_days", 0, "or equal to 1"),
    **{
        f"second copy: {prop} {bad}": (
            "name: em\nlanding:\n  replicate_to:\n"
            + "".join(f"    {key}: '{value}'\n" for key, value in (SECOND_COPY | {prop: bad}).items()),
            4 + list(SECOND_COPY).index(prop), f"landing.replicate_to.{prop}", bad, allowed)
        for prop, bad, allowed in (
            ("bucket_arn", "second-copy", "arn:aws:s3:::BUCKET"),
            ("key_arn", "alias/second", "copies nothing"),
            ("account", "4444", "12 digits"),
            ("account", "111122223333", "444455556666, the account of key_arn"),
            ("storage_class", "GLACIER_NOW", "DEEP_ARCHIVE"),
        )
    },
    "name of a group": (groups("{name: Smith, datasets: [a], READ}"), 3, "groups[0].name", "Smith", "lower-case"),
    "two groups of one name": (groups("{name: a, datasets: [a], READ}", "{name: a, datasets: [b], READ}"), 4,
                               "groups[1].name", "a", "a name of its own"),
    "group without datasets": (groups("{name: a, datasets: [], READ}"), 3, "groups[0].datasets", [], "at least one"),
    "datasets of a group": (groups("{name: a, datasets: ['a*b'], READ}"), 3, "groups[0].datasets", "a*b", "one * at the end"),
    "one group's beginning of another's": (
        groups("{name: a, datasets: [smith_*], READ}", "{name: b, datasets: [smi*], READ}"), 4, "groups[1].datasets",
        "smi*", "read the other's movies"),
    "group without readers": (groups("{name: a, datasets: [a], reader_role_arns: []}"), 3, "groups[0].reader_role_arns",
                              [], "one role at least"),
    "reader that is no role": (groups("{name: a, datasets: [a], reader_role_arns: [bob]}"), 3,
                               "groups[0].reader_role_arns", "bob", ":role/NAME"),
    "reader of another account": (
        groups("{name: a, datasets: [a], READ}") + "account: '444455556666'\n", 3, "groups[0].reader_role_arns",
        "arn:aws:iam::111122223333:role/r", "account 444455556666"),
    "what cannot be deleted": ("name: em\ndeletion:\n  allowed: [movies]\n", 3, "deletion.allowed[0]", "movies",
                               "'file_system', 'results' or 'landing'"),
    "another engine": ("name: em\nengine: batch\n", 2, "engine", "batch", "'parallelcluster' or 'pcs'"),
    "missing recipes": ("name: em\nprocessing:\n  recipes: nowhere\n", 3, "processing.recipes", "nowhere", "a folder"),
    "missing recipe": ("name: em\nprocessing:\n  recipes: .\n  on_landed: nope\n", 4, "processing.on_landed", "nope",
                       "a recipe: cryoem.yaml"),
}  # fmt: skip


TOO_MANY_LANES = "name: em\nlanes:\n" + "".join(f"  - {LANE.replace('NAME', f'lane-{n}')}\n" for n in range(40))


@pytest.mark.parametrize("wrong", ONE_FINDING)
def test_one_mistake_is_one_finding(wrong: str, tmp_path: Path) -> None:
    text, line, prop, value, allowed = ONE_FINDING[wrong]
    (finding,) = findings(tmp_path, text)
    assert (finding.line, finding.problem.property, finding.problem.value) == (line, prop, value)
    assert allowed in f"{finding.problem.allowed}. {finding.problem.fix}"


# Rules that no file can break, because it cannot say such a thing; the constructs' own tests break them.
UNREACHABLE = {
    "cdk_cryoem.ingest_patterns: 'software'": "the file's type allows no other",
    "cdk_cryoem.ingest_rules: 'task_mode'": "the file's type allows no other",
    "cdk_cryoem.caps: 'records'": "the storage stack always has the table",
    "cdk_cryoem.cryosparc_web: 'port'": "the stacks leave it at cryoSPARC's own",
    "cdk_cryoem.cryosparc_web: 'region'": "the file always names one",
    "cdk_cryoem.cryosparc_web: 'subnets'": "WebConfig has its rule, at its line",
    "cdk_cryoem.dataset_group: 'group'": "a grant's own argument",
    "cdk_cryoem.dataset_group: 'groups'": "no groups: none are made",
    "cdk_cryoem.dataset_group: f'groups[{index}].readers'": "GroupConfig has its rule, at its line",
    "cdk_cryoem.dataset_group: f'landing_zone.{prop}'": "the stacks' buckets are always their own",
    "cdk_cryoem.landing_zone: 'archive_after'": "the stacks move to Intelligent-Tiering at once",
    "cdk_cryoem.landing_zone: 'replicate_to'": "an alarm is made only where there is a second copy",
    "cdk_cryoem.landing_zone: prop": "whole days: the file says days; beside buckets of one's own: the stacks make them",
    "cdk_cryoem.lane: 'spot_twin'": "a lane's own method; LaneConfig has its rule, at its line",
    "cdk_cryoem.lane: 'lanes'": "no lanes: the list has at least one; two of one name: reported where they are",
    "cdk_cryoem.lustre_rules: 'lustre_version'": "the stacks choose it",
    "cdk_cryoem.lustre_rules: 'metadata_iops'": "the stacks leave it to FSx",
    "cdk_cryoem.lustre_rules: 'path'": "the stacks' associations are always the same two, here and in what follows",
    "cdk_cryoem.lustre_rules: 'data_repository_path'": "",
    "cdk_cryoem.lustre_rules: 'export_events'": "",
    "cdk_cryoem.lustre_rules: 'import_events'": "",
    "cdk_cryoem.lustre_rules: 'associations'": "",
    "cdk_cryoem.lustre_rules: prop": "",
    "cdk_cryoem.parallel_cluster: 'cluster_name'": "the name of a system is shorter, and no stack has it",
    "cdk_cryoem.pcs_rules: 'slurm_version'": "the file's type allows no other",
    "cdk_cryoem.pcs_rules: 'ami_id'": "the file's pattern allows no other",
    "cdk_cryoem.pcs_rules: 'size'": "of its two rules the one for a size that there is not: the file's type allows no other",
    "cdk_cryoem.pcs_rules: 'file_system.mount_source'": "the storage stack gives it",
}


def rules(module: ModuleType) -> Iterator[tuple[range, str]]:
    """Lines and property of every Problem that a module makes."""
    for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Problem":
            prop = next(keyword.value for keyword in node.keywords if keyword.arg == "property")
            yield range(node.lineno, (node.end_lineno or 0) + 1), ast.unparse(prop)


def test_every_rule_has_a_wrong_value_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = (config, config_file, config_groups, config_microscope, config_network, config_sections, config_storage, config_web, cryosparc, cryosparc_web, lane_module, lane_manifest, lustre_rules, microscope_ingest,
               monthly_budget, caps, notifications, parallel_cluster, pcs_rules, private_network, stages, waiting, ingest_pace, ingest_patterns, ingest_rules, ingest_schedule)  # fmt: skip
    modules = (*modules, dataset_group, landing_zone, replication)
    broken: set[tuple[str, int]] = set()

    def noting(**values: Any) -> Problem:
        caller = sys._getframe(1)
        broken.add((caller.f_globals["__name__"], caller.f_lineno))
        return Problem(**values)

    for module in modules:
        monkeypatch.setattr(module, "Problem", noting, raising=False)
    for text, *_ in (*ONE_FINDING.values(), (TOO_MANY_LANES,)):
        findings(tmp_path, text)
    kept = {
        f"{module.__name__}: {prop}"
        for module in modules
        for lines, prop in rules(module)
        if not any((module.__name__, line) in broken for line in lines)
    }
    assert kept == set(UNREACHABLE)


def test_mixed_gpu_counts_are_one_finding_for_each_thing_to_decide(tmp_path: Path) -> None:
    found = findings(tmp_path, lane(instance_types="[g5.4xlarge, g5.12xlarge]"))
    assert [(f.line, f.problem.property) for f in found] == [
        (4, "lanes[0].instance_types"), (4, "lanes[0].instance_types"), (5, "lanes[0].gpus"),
    ]  # fmt: skip
    assert found[0].problem.value == "g5.4xlarge has 1, g5.12xlarge has 4"


@pytest.mark.parametrize("value", [".nan", ".inf"])
def test_a_number_that_is_none_is_a_finding_and_no_crash(value: str, tmp_path: Path) -> None:
    (finding,) = findings(tmp_path, f"name: em\nbudget: {{monthly_usd: {value}, emails: [a@b]}}\n")
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


def test_rules_of_single_properties_are_reported_beside_those_of_sections(tmp_path: Path) -> None:
    text = """\
        name: cryoem
        idle_backstop_minutes: 1441
        log_retention_days: 2
        tags:
          cryoem:cluster: mine
        permissions_boundary_arn: boundary
        head_node: {operating_system: alinux2, root_volume_gib: 20}
        lanes:
          - {name: one, instance_types: [g5.4xlarge], gpus: 1, nodes_per_job: 9, capacity_reservation_id: cr-1}
          - {name: one, instance_types: [g5.4xlarge], gpus: 1}
        cryosparc: {license_secret_arn: secret, version: latest}
        """
    found = [(finding.line, finding.problem.property) for finding in findings(tmp_path, text)]
    assert found == [
        (2, "idle_backstop_minutes"),
        (3, "log_retention_days"),
        (4, "tags"),
        (6, "permissions_boundary_arn"),
        (7, "head_node.operating_system"),
        (7, "head_node.root_volume_gib"),
        (9, "lanes[0].nodes_per_job"),
        (9, "lanes[0].capacity_reservation_id"),
        (10, "lanes[1].name"),
        (11, "cryosparc.license_secret_arn"),
    ]


def test_more_lanes_than_a_manifest_holds_are_a_finding_and_no_failed_synthesis(tmp_path: Path) -> None:
    (finding,) = findings(tmp_path, TOO_MANY_LANES)
    assert (finding.line, finding.problem.property) == (2, "lanes")
    assert re.fullmatch(r"\d{4} bytes", str(finding.problem.value))
    assert finding.problem.allowed == "8192 bytes of manifest"


def test_two_lanes_of_one_name_are_one_finding_although_two_look_for_them(tmp_path: Path) -> None:
    text = f"name: em\nlanes:\n  - {LANE}\n  - {LANE}\n  - {LANE}\n".replace("NAME", "one")
    found = [(finding.line, finding.problem.property) for finding in findings(tmp_path, text)]
    assert found == [(4, "lanes[1].name"), (5, "lanes[2].name")]


@pytest.mark.parametrize(
    "tags", [{"Cost Center": "EM-4711/ä+=@:. _"}, {"ключ": "значение"}, {"k" * 128: "v" * 256}, {"a.b": "c"}, {}]
)
def test_tags_that_aws_takes(tags: dict[str, str]) -> None:
    assert Config(name="em", tags=tags).tags == tags


def test_everything_that_a_lane_may_say_reaches_the_lane() -> None:
    values = {
        "name": "gpu8", "instance_types": ["g5.48xlarge"], "gpus": 8, "max_nodes": 3, "capacity": "on-demand",
        "capacity_reservation_id": RESERVATION, "nodes_per_job": 2, "particle_cache": False, "memory_multiplier": 1.5,
        "time_limit_hours": 7.5, "hold_minutes": 9,
    }  # fmt: skip
    (lane,) = Config.model_validate({"name": "em", "lanes": [values | {"spot_twin": False}]}).all_lanes()
    said = {name: getattr(lane, name) for name in values}
    assert said == values | {"instance_types": ("g5.48xlarge",)}
    assert {field.name for field in dataclasses.fields(Lane)} - set(values) == {"shapes"}


def test_a_spot_twin_follows_its_lane() -> None:
    lanes = [
        {"name": "one", "instance_types": ["g5.4xlarge"], "gpus": 1, "spot_twin": True},
        {"name": "two", "instance_types": ["m6i.8xlarge"]},
    ]
    made = Config.model_validate({"name": "em", "lanes": lanes}).all_lanes()
    assert [(lane.name, lane.capacity.value) for lane in made] == [
        ("one", "on-demand"), ("one-spot", "spot"), ("two", "on-demand"),
    ]  # fmt: skip


def test_an_unknown_key_does_not_hide_what_else_is_wrong_beside_it(tmp_path: Path) -> None:
    text = "name: em\nlanes:\n  - {name: c.d, instance_types: [m6i.8xlarge], gpu: 1, holdminutes: 2}\n"
    properties = [finding.problem.property for finding in findings(tmp_path, text)]
    assert sorted(properties) == ["lanes[0].gpu", "lanes[0].holdminutes", "lanes[0].name"]


def test_lanes_without_names_are_not_called_lanes_of_one_name(tmp_path: Path) -> None:
    text = "name: em\nlanes:\n  - {instance_types: [m6i.8xlarge]}\n  - {instance_types: [m6i.8xlarge]}\n"
    found = [(finding.line, finding.problem.property) for finding in findings(tmp_path, text)]
    assert found == [(3, "lanes[0].name"), (4, "lanes[1].name")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(text=st.text(st.sampled_from("abn:ame- \n[]{}#'\"&*!|>%@`,1.~\t?"), max_size=40))
def test_no_text_whatever_ends_in_anything_but_a_configuration_or_findings(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cryoem.yaml"
    path.write_text("name: em\n" + text)
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
    assert tuple(default_config.all_lanes()) == default_lanes()
    assert Config(name="em").lanes == default_config.lanes


def test_the_twin_differs_only_in_what_it_processes(root: Path, default_config: Config) -> None:
    twin = load(root / "twin" / "cryoem.yaml")
    assert twin.processing is not None
    assert default_config.processing is None
    assert [(cap.name, cap.hard) for cap in twin.caps] == [("month", True), ("trial", True)]
    assert twin.model_copy(update={"processing": None, "caps": []}) == default_config


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
