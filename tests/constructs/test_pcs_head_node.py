"""The head node of a PCS cluster: private, replaceable, its database on a volume that stays, its user data forever the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import Stack
from aws_cdk.assertions import Template
from pcs_parts import one, parts, properties

from cdk_cryoem import Lane, Pcs, _assets, head_node_programs

HEAD_NODE = _assets.head_node_root()


@pytest.fixture(scope="module")
def template(new_stack: Callable[[str], Stack]) -> Template:
    stack = new_stack("Head")
    Pcs(stack, "Cluster", **parts(stack), cluster_name="mine")
    return Template.from_stack(stack)


def instance(template: Template) -> dict[str, Any]:
    return one(template, "AWS::EC2::Instance")


def test_it_is_private_and_takes_only_signed_metadata_requests(template: Template) -> None:
    found = instance(template)
    assert found["SubnetId"] == "subnet-1"
    assert len(found["SecurityGroupIds"]) == 2
    assert found["SecurityGroupIds"][1] == "sg-clients"
    for name in ("NetworkInterfaces", "AssociatePublicIpAddress", "KeyName"):
        assert name not in found
    template.resource_count_is("AWS::EC2::EIP", 0)
    assert found["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}


def test_its_root_is_encrypted_and_goes_with_it(template: Template) -> None:
    assert instance(template)["BlockDeviceMappings"] == [
        {
            "DeviceName": "/dev/sda1",
            "Ebs": {"DeleteOnTermination": True, "Encrypted": True, "VolumeSize": 100, "VolumeType": "gp3"},
        }
    ]
    assert "Volumes" not in instance(template), "an attachment of CloudFormation's does not survive a replacement"
    template.resource_count_is("AWS::EC2::VolumeAttachment", 0)


def test_its_profile_holds_the_head_nodes_role_alone(template: Template) -> None:
    profile = instance(template)["IamInstanceProfile"]["Ref"]
    found = properties(template, "AWS::IAM::InstanceProfile")[profile]
    (role,) = found["Roles"]
    assert role["Ref"].startswith("ClusterHeadNodeRole")
    assert "Path" not in found


def test_it_waits_for_its_permissions(template: Template) -> None:
    (made,) = template.find_resources("AWS::EC2::Instance").values()
    kinds = {template.to_json()["Resources"][name]["Type"] for name in made["DependsOn"]}
    assert {"AWS::IAM::Role", "AWS::IAM::Policy"} <= kinds


def test_the_database_is_on_a_volume_that_is_encrypted_retained_and_in_the_subnets_zone(template: Template) -> None:
    (made,) = template.find_resources("AWS::EC2::Volume").values()
    assert (made["DeletionPolicy"], made["UpdateReplacePolicy"]) == ("Retain", "Retain")
    found = made["Properties"]
    assert (found["AvailabilityZone"], found["Encrypted"], found["VolumeType"], found["Size"]) == (
        "eu-west-1a", True, "gp3", 200,
    )  # fmt: skip
    assert {tag["Key"]: tag["Value"] for tag in found["Tags"]} == {
        "Name": "mine cryoSPARC", "cryoem:cluster": "mine",
    }  # fmt: skip


def test_ec2_moves_it_to_other_hardware_when_its_own_fails(template: Template) -> None:
    found = one(template, "AWS::CloudWatch::Alarm")
    (name,) = template.find_resources("AWS::EC2::Instance")
    assert (found["Namespace"], found["MetricName"], found["Statistic"]) == (
        "AWS/EC2", "StatusCheckFailed_System", "Maximum",
    )  # fmt: skip
    assert found["Dimensions"] == [{"Name": "InstanceId", "Value": {"Ref": name}}]
    assert (found["Threshold"], found["EvaluationPeriods"], found["Period"]) == (1, 2, 60)
    (action,) = found["AlarmActions"]
    assert action["Fn::Join"][1][-1] == ":ec2:recover"


def test_the_engine_names_this_instance(new_stack: Callable[[str], Stack]) -> None:
    stack = new_stack("Head")
    cluster = Pcs(stack, "Cluster", **parts(stack))
    (name,) = Template.from_stack(stack).find_resources("AWS::EC2::Instance")
    assert stack.resolve(cluster.head_node_instance_id) == {"Ref": name}


def user_data(template: Template) -> list[object]:
    found = instance(template)["UserData"]["Fn::Base64"]["Fn::Join"][1]
    assert isinstance(found, list)
    return found


def synthesised(new_stack: Callable[[str], Stack], **changes: Any) -> Template:
    stack = new_stack("Head")
    Pcs(stack, "Cluster", **{**parts(stack), **changes})
    return Template.from_stack(stack)


def test_other_scripts_recipes_and_lanes_leave_the_instance_as_it_is(
    new_stack: Callable[[str], Stack], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of user data would stop and start the instance; a change of the setup reaches one that runs."""
    before = synthesised(new_stack)
    changed = tmp_path / "head_node"
    shutil.copytree(HEAD_NODE, changed, ignore=shutil.ignore_patterns("__pycache__"))
    with (changed / "bootstrap.sh").open("a") as script:
        script.write("# another word\n")
    monkeypatch.setattr(head_node_programs, "head_node_root", lambda: changed)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "spa").write_text("#!/bin/sh\n")
    after = synthesised(
        new_stack, recipes=str(tmp_path / "recipes"), lanes=[Lane(name="other", instance_types=["m6i.8xlarge"])]
    )
    (old,), (new,) = (made.find_resources("AWS::EC2::Instance").values() for made in (before, after))
    assert old == new
    setups = [one(made, "AWS::SSM::Parameter", "ClusterProgramsSetup")["Value"] for made in (before, after)]
    assert setups[0] != setups[1], "the scripts are named there"


def test_the_user_data_names_the_script_that_never_changes_and_no_other(template: Template) -> None:
    text = json.dumps(user_data(template))
    trampoline = (HEAD_NODE / "trampoline.sh").read_text()
    assert "It never changes" in trampoline
    assert text.count("s3://") == 1
    # One asset is the folder, one the trampoline alone: the head node's role reads the second by the same name.
    key = text.partition("s3://")[2].partition('"')[0]
    readable = json.dumps(properties(template, "AWS::IAM::Policy"))
    assert key.rpartition("/")[2] in readable


STUBS = {
    "aws": """#!/bin/bash
echo "$AWS_REGION $AWS_DEFAULT_REGION $*" >>"$0.calls"
[ "$(wc -l <"$0.calls")" -gt "$FAILURES" ] || exit 1
printf 'echo "$1 $2" >>"%s.phases"\\n[ "$(wc -l <"%s.phases")" -gt "${BAD_PHASES:-0}" ]\\n' "$0" "$0" >"${@: -1}"
""",
    "sleep": "#!/bin/bash\necho slept $1\n",
    "systemctl": '#!/bin/bash\necho "$*" >>"$0.calls"\n',
}


class Booted:
    """An instance on which the user data ran, with commands that stand for AWS's and systemd's."""

    def __init__(self, template: Template, folder: Path) -> None:
        self.folder = folder
        for name, text in STUBS.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        known = {"AWS::Region": "eu-west-1"}
        text = "".join(
            part if isinstance(part, str) else known.get(part.get("Ref", ""), part.get("Ref", "s3://assets/t.sh"))
            for part in user_data(template)
            if isinstance(part, str | dict)
        )
        for place in ("/root/", "/var/log/", "/etc/systemd/system/"):
            assert place in text
            text = text.replace(place, f"{folder}/")
        (folder / "user-data").write_text(text)
        self.run("user-data")

    def run(self, name: str, **environment: str) -> None:
        """Run one of its scripts."""
        subprocess.run(
            ["bash", self.folder / name],
            env={"PATH": f"{self.folder}:{os.environ['PATH']}", "FAILURES": "0", **environment},
            check=True,
            timeout=20,
        )

    def lines(self, name: str) -> list[str]:
        """What was noted in a file."""
        return (self.folder / name).read_text().splitlines()


def test_the_user_data_makes_a_unit_that_a_boot_starts_again_until_it_is_done(
    template: Template, tmp_path: Path
) -> None:
    booted = Booted(template, tmp_path)
    assert booted.lines("systemctl.calls") == ["daemon-reload", "enable --now cryoem-bootstrap.service"]
    unit = booted.lines("cryoem-bootstrap.service")
    assert f"ExecStart=/bin/bash {tmp_path}/cryoem-bootstrap.sh" in unit
    assert "WantedBy=multi-user.target" in unit
    # What bootstrap.sh writes last.
    assert "ConditionPathExists=!/opt/cryoem/etc/setup.json" in unit
    assert '"$home/etc/setup.json"' in (HEAD_NODE / "bootstrap.sh").read_text()


def test_the_unit_installs_and_configures(template: Template, tmp_path: Path) -> None:
    booted = Booted(template, tmp_path)
    booted.run("cryoem-bootstrap.sh")
    calls = booted.lines("aws.calls")
    assert calls == [f"eu-west-1 eu-west-1 s3 cp --quiet s3://assets/t.sh {tmp_path}/trampoline.sh"] * 2
    (setup,) = [name for name in template.find_resources("AWS::SSM::Parameter") if "Setup" in name]
    assert booted.lines("aws.phases") == [f"install {setup}", f"configure {setup}"]
    assert booted.lines("cryoem-bootstrap.log") == []


def test_the_unit_waits_for_permissions_and_for_a_volume_that_another_has(template: Template, tmp_path: Path) -> None:
    booted = Booted(template, tmp_path)
    booted.run("cryoem-bootstrap.sh", FAILURES="2", BAD_PHASES="3")
    assert len(booted.lines("aws.calls")) == 2 + 3 + 2, "two refused, three that failed, two that did it"
    phases = [phase.split()[0] for phase in booted.lines("aws.phases")]
    assert phases == ["install", "install", "install", "install", "configure"]
    assert booted.lines("cryoem-bootstrap.log") == ["slept 30"] * 5
