"""The whole path under enforced IAM: every Lambda under its own role, and what each role must not do denied."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from cdk_cryoem_twin import head, processes
from cdk_cryoem_twin.environment import ACCOUNT, REGION, Mode, certificate, client_environment, endpoint
from cdk_cryoem_twin.slurm import controller
from cdk_cryoem_twin.waiting import wait_for

if TYPE_CHECKING:
    from conftest import Twin

pytestmark = pytest.mark.twin

_PROBE = """
import boto3
from botocore.exceptions import ClientError

def handler(event, context):
    try:
        getattr(boto3.client(event["service"]), event["operation"])(**event["arguments"])
        return "allowed"
    except ClientError as error:
        code = error.response["Error"]["Code"]
        return "denied" if "AccessDenied" in code or code in ("UnauthorizedOperation", "403") else "allowed, then " + code
"""


def test_every_stage_of_the_demo_passed_under_enforced_iam(twin: Twin) -> None:
    assert [job.state for job in twin.summary.jobs] == ["COMPLETED"] * 4
    assert {job.lane for job in twin.summary.jobs} == {"cpu", "gpu1", "gpu4"}
    names = [job.name for job in twin.summary.jobs]
    assert any(name.startswith("cryosparc_") for name in names), "no job came through the cryoSPARC lane"
    assert any(name.startswith("Class2D") for name in names), "no job came through RELION's own queue submission"


def test_gpus_are_counted_and_priced(twin: Twin) -> None:
    gpus = {job.lane: job.gpus for job in twin.summary.jobs}
    assert (gpus["cpu"], gpus["gpu1"], gpus["gpu4"]) == (0, 1, 4)
    for job in twin.summary.jobs:
        if job.gpus:
            price = {"gpu1": 1.624, "gpu4": 5.672}[job.lane]
            assert job.usd == pytest.approx((job.ended_at - job.started_at) / 3600 * price, abs=1e-6)
    assert twin.summary.pbr is not None
    assert twin.summary.pbr > 1


def test_the_report_stands_alone(twin: Twin) -> None:
    page = (twin.report / "timeline.html").read_text()
    assert page.count("<svg") == 1
    assert 'src="http' not in page
    for name in ("timeline.png", "map-against-truth.png"):
        assert (twin.report / name).read_bytes().startswith(b"\x89PNG")


def test_cryoem_report_tells_of_the_dataset_what_the_demo_saw(twin: Twin) -> None:
    page = (twin.report / "dataset-report.html").read_text().replace("<wbr>", "")
    assert "<h1><bdi>krios-2026-03-17-grid1</bdi></h1>" in page
    for job in twin.summary.jobs:
        assert f"<bdi>{job.name}</bdi>" in page
    for stage in ("motion-cpu", "class2d", "refine"):
        assert f"<bdi>{stage}</bdi>" in page, "the names of the jobs tell it"


def test_cryosparc_has_exactly_the_lanes_of_the_manifest(twin: Twin) -> None:
    folder = twin.places.home / "lanes"
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"cpu", "gpu1", "gpu4", "gpu8", "live"}
    assert json.loads((folder / "gpu4" / "cluster_info.json").read_text())["cache_path"].endswith("cryosparc-cache")


def test_a_jobs_own_custom_variable_reaches_slurm(twin: Twin) -> None:
    (script,) = twin.places.file_systems.glob("fs-*/projects/*/CS-*/J1/queue_sub_script.sh")
    assert "#SBATCH --time=61\n" in script.read_text()


def test_recipes_find_the_lane_of_each_stage(twin: Twin) -> None:
    stages = (twin.places.home / "lanes" / "stages.env").read_text()
    assert "LANE_CLASS2D=gpu4\n" in stages
    assert "LANE_MOTION_CPU=cpu\n" in stages


def test_no_process_of_the_twin_listens_beyond_loopback(twin: Twin) -> None:
    listening = [
        connection.laddr.ip
        for process in processes.ours(twin.places)
        for connection in process.net_connections("tcp")
        if connection.status == "LISTEN"
    ]
    assert listening
    assert set(listening) <= {"127.0.0.1", "::1"}


@pytest.fixture(scope="session")
def probe(twin: Twin) -> Any:
    """Call an AWS operation under a role, from a Lambda function that has this role."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as code:
        code.writestr("index.py", _PROBE)
    functions: dict[str, str] = {}

    def call(role: str, service: str, operation: str, **arguments: Any) -> str:
        client = twin.make("lambda")
        if role not in functions:
            functions[role] = f"probe-{len(functions)}"
            client.create_function(
                FunctionName=functions[role],
                Runtime="python3.13",
                Handler="index.handler",
                Role=role,
                Timeout=60,
                Code={"ZipFile": archive.getvalue()},
            )
        event = {"service": service, "operation": operation, "arguments": arguments}
        answer = client.invoke(FunctionName=functions[role], Payload=json.dumps(event))["Payload"].read()
        return str(json.loads(answer))

    return call


def _role(twin: Twin, *words: str) -> str:
    pages = twin.make("iam").get_paginator("list_roles").paginate()
    found = [r["Arn"] for page in pages for r in page["Roles"] if all(word in r["RoleName"] for word in words)]
    if words == ("SchedulerRole",):
        # Each schedule has one: that of the sweeper's is meant.
        found = [arn for arn in found if twin.outputs["Sweeper"] in _policies(twin, arn)]
    assert len(found) == 1, f"{words}: {found}"
    return str(found[0])


def _policies(twin: Twin, role: str) -> str:
    iam, name = twin.make("iam"), role.rsplit("/", 1)[-1]
    names = iam.list_role_policies(RoleName=name)["PolicyNames"]
    return json.dumps([iam.get_role_policy(RoleName=name, PolicyName=each)["PolicyDocument"] for each in names])


def _document(twin: Twin, word: str) -> str:
    for function in twin.make("lambda").list_functions()["Functions"]:
        variables = function.get("Environment", {}).get("Variables", {})
        if word in variables:
            return str(variables[word])
    raise AssertionError(f"no function has {word}")


def _table(
    twin: Twin,
) -> list[tuple[str, tuple[str, ...], tuple[str, str, dict[str, Any]], list[tuple[str, str, dict[str, Any]]]]]:
    """Role, what it may do (so that a denial means something), what it must not."""
    bucket, node = twin.outputs["LandingBucket"], twin.outputs["HeadNode"]
    listing = ("s3", "list_objects_v2", {"Bucket": bucket, "Prefix": "datasets/"})
    manifest = ("ssm", "get_parameter", {"Name": twin.outputs["LaneManifest"]})
    read = ("s3", "get_object", {"Bucket": bucket, "Key": "datasets/x"})
    delete = ("s3", "delete_object", {"Bucket": bucket, "Key": "datasets/x"})
    terminate = ("ec2", "terminate_instances", {"InstanceIds": [node]})
    shell = (
        "ssm",
        "send_command",
        {"DocumentName": "AWS-RunShellScript", "InstanceIds": [node], "Parameters": {"commands": ["id"]}},
    )

    def send(word: str, **parameters: str) -> tuple[str, str, dict[str, Any]]:
        values = {name: [value] for name, value in parameters.items()}
        return (
            "ssm",
            "send_command",
            {"DocumentName": _document(twin, word), "InstanceIds": [node], "Parameters": values},
        )

    power_down = send("POWER_DOWN_DOCUMENT", Nodes="gpu1-dy-nodes-1=x")
    register = send("REGISTER_LANES_DOCUMENT", Mode="show", ManifestSha256="0" * 64)
    stop = ("ec2", "stop_instances", {"InstanceIds": [node]})
    file_system = twin.outputs["FileSystemId"]
    file_systems = ("fsx", "describe_file_systems", {"FileSystemIds": [file_system]})
    gone = ("fsx", "delete_file_system", {"FileSystemId": file_system})
    export = (
        "fsx",
        "create_data_repository_task",
        {"FileSystemId": file_system, "Type": "EXPORT_TO_REPOSITORY", "Report": {"Enabled": False}},
    )
    sweeper = ("lambda", "invoke", {"FunctionName": twin.outputs["Sweeper"], "InvocationType": "DryRun"})
    return [
        ("dataset hook", ("HooksDatasetRole",), listing, [read, delete, stop, terminate, shell, power_down, register]),
        ("lane hook", ("HooksLaneRole",), manifest, [listing, read, stop, terminate, shell, power_down]),
        ("node hook", ("HooksNodeRole",), manifest, [listing, read, stop, terminate, shell, register]),
        ("sweeper", ("HooksSweeperRole",), listing, [read, delete, terminate, shell]),
        ("schedule", ("SchedulerRole",), sweeper, [listing, manifest, terminate]),
        ("DataSync", ("BucketAccessRole",), listing, [delete, manifest, stop]),
        ("file system care", ("FileSystemCareRole",), file_systems, [read, delete, stop, gone, export, listing]),
    ]


@pytest.mark.parametrize("number", range(7))
def test_what_a_role_must_not_do_is_denied(twin: Twin, probe: Any, number: int) -> None:
    name, words, allowed, denied = _table(twin)[number]
    role = _role(twin, *words)
    service, operation, arguments = allowed
    assert probe(role, service, operation, **arguments).startswith("allowed"), f"{name}: {operation}"
    for service, operation, arguments in denied:
        assert probe(role, service, operation, **arguments) == "denied", f"{name}: {service}:{operation} {arguments}"


def test_the_head_node_reads_its_names_and_sends_events_and_nothing_else(twin: Twin) -> None:
    role = _role(twin, "RoleHeadNode")
    session = twin.make("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]

    def client(service: str) -> Any:
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=endpoint(twin.places, Mode(strict=True)),
            verify=str(certificate(twin.places)),
            region_name="us-east-1",
            aws_access_key_id=session["AccessKeyId"],
            aws_secret_access_key=session["SecretAccessKey"],
            aws_session_token=session["SessionToken"],
        )

    assert client("ssm").get_parameter(Name=twin.outputs["LaneManifest"])["Parameter"]["Value"]
    bucket = twin.outputs["LandingBucket"]
    for refused in (
        lambda: client("s3").list_objects_v2(Bucket=bucket),
        lambda: client("s3").delete_object(Bucket=bucket, Key="datasets/x"),
        lambda: client("events").put_events(Entries=[{"Source": "x", "DetailType": "x", "Detail": "{}"}]),
        lambda: client("ec2").terminate_instances(InstanceIds=[twin.outputs["HeadNode"]]),
        lambda: client("dynamodb").scan(TableName=twin.outputs["RecordsTable"]),
    ):
        with pytest.raises(Exception, match=r"AccessDenied|UnauthorizedOperation|not authorized|Forbidden"):
            refused()


def test_nobody_deletes_a_movie_not_even_an_administrator(twin: Twin, probe: Any) -> None:
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    iam, name = twin.make("iam"), "an-administrator"
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=json.dumps(everything))
    bucket = twin.outputs["LandingBucket"]
    key = twin.observer.objects(bucket, "datasets/")[0]
    assert probe(role, "s3", "get_object", Bucket=bucket, Key=key).startswith("allowed")
    assert probe(role, "s3", "delete_object", Bucket=bucket, Key=key) == "denied"
    assert (
        probe(role, "s3", "put_bucket_versioning", Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
        == "denied"
    )
    assert key in twin.observer.objects(bucket, "datasets/")


def test_a_document_refuses_what_its_patterns_do_not_allow(twin: Twin) -> None:
    with pytest.raises(Exception, match="InvalidParameters"):
        twin.make("ssm").send_command(
            DocumentName=_document(twin, "START_PROCESSING_DOCUMENT"),
            InstanceIds=[twin.outputs["HeadNode"]],
            Parameters={"Dataset": ["x'; touch /tmp/owned; '"], "Recipe": ["spa-quickstart"]},
        )


def _submit(twin: Twin, partition: str, seconds: int, *options: str, project: str = "test") -> str:
    folder = twin.places.file_systems / twin.outputs["FileSystemId"] / "projects" / project
    folder.mkdir(parents=True, exist_ok=True)
    command = ["sbatch", "--parsable", "-p", partition, *options, "--wrap", f"sleep {seconds}"]
    env = controller.environment(twin.places)
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def _record(twin: Twin, job: str) -> dict[str, Any]:
    found = [r for r in twin.observer.records("job") if r["sk"].endswith(f"#{job}")]
    return found[0] if found else {}


def test_the_file_system_is_looked_after_under_its_own_role(twin: Twin) -> None:
    client = twin.make("lambda")
    (name,) = (f["FunctionName"] for f in client.list_functions()["Functions"] if "FileSystemCare" in f["FunctionName"])
    answer = client.invoke(FunctionName=name, Payload=b"{}")
    assert json.loads(answer["Payload"].read()) == {"troubles": 0, "released": ""}
    assert "FunctionError" not in answer


def _squeue(twin: Twin, job: str, fields: str) -> str:
    command = ["squeue", "--noheader", "--states", "all", "--jobs", job, "--format", fields]
    env = controller.environment(twin.places)
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip()


def _log(twin: Twin) -> str:
    return (twin.places.logs / "admission.log").read_text()


def test_a_job_that_could_exceed_a_cap_is_held_with_the_reason_until_the_cap_is_raised(twin: Twin) -> None:
    """Real Slurm, the shipped admission under the head node's own role, and the operators' command."""
    # 48 hours on gpu1 are above 20 USD; ten minutes are not, and both at once are not either.
    dear = _submit(twin, "gpu1", 1, project="trial-a")
    wait_for(lambda: f"job {dear} is held" in _log(twin), "admission to say so", seconds=60)
    wait_for(lambda: _squeue(twin, dear, "%T") == "PENDING", "the job to be back in the queue", seconds=60)
    reason = _squeue(twin, dear, "%k")
    assert reason.startswith("cap trial of trial-a: 0.00 of 20.00 USD spent"), reason
    assert "(48 h on gpu1), more than is left" in reason
    cheap = _submit(twin, "gpu1", 1, "--time", "10", project="trial-a")
    record = wait_for(lambda: _record(twin, cheap), "the cheap job's record", seconds=120)
    assert (record["state"], record["project"]) == ("COMPLETED", "trial-a")
    assert _squeue(twin, dear, "%T") == "PENDING"
    assert "trial#trial-a" in _cryoem(twin, "cap")[1]
    raised = _cryoem(twin, "cap", "raise", "trial", "--project", "trial-a", "--usd", "200", "--reason", "reviewers ask")
    assert raised[0] == 0, raised
    states = lambda: [r["state"] for r in twin.observer.records("job") if r["sk"].endswith(f"#{dear}")]  # noqa: E731
    wait_for(lambda: "COMPLETED" in states(), "the held job's record", seconds=240)
    assert set(states()) <= {"REQUEUED", "COMPLETED"}, "it was put back if its node was on the way already"
    assert "checked: the totals are the sums" in _cryoem(twin, "cost", "--check")[1]


def test_teardown_refuses_what_is_on_the_file_system_alone_and_passes_the_rest(twin: Twin) -> None:
    """The command itself, with the head node's own list of files."""
    wait_for(lambda: all(span.off for span in twin.observer.nodes()), "all nodes to be off", seconds=120)

    def teardown(*options: str) -> tuple[int, dict[str, Any]]:
        ran = subprocess.run(
            ["cryoem", "teardown", "--name", "cryoem", "--region", REGION, "--json", *options],
            env=client_environment(twin.places, Mode(strict=True)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.stdout, ran.stderr
        return ran.returncode, json.loads(ran.stdout)

    root = twin.places.file_systems / twin.outputs["FileSystemId"]
    code, before = teardown()
    assert before["refusals"] == []
    alone = root / "home" / "notes.txt"
    alone.parent.mkdir()
    alone.write_text("on the file system alone")
    code, found = teardown()
    assert code == 1
    assert {loss["path"] for loss in found["lost"]} - {loss["path"] for loss in before["lost"]} == {"home/notes.txt"}
    alone.unlink()
    assert not [loss for loss in before["lost"] if loss["path"].startswith(("data/", "projects/"))], before["lost"]


def _cryoem(twin: Twin, *words: str) -> tuple[int, str, str]:
    """The shipped command, as the deploying user: exit code and what it says."""
    ran = subprocess.run(
        ["cryoem", *words, "--name", "cryoem", "--region", REGION],
        env=client_environment(twin.places, Mode(strict=True)),
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stdout, ran.stderr


def _landed(twin: Twin) -> str:
    (dataset,) = (str(each["sk"]) for each in twin.observer.records("dataset") if each["state"] == "landed")
    return dataset


def _looks_for_receipts(twin: Twin) -> dict[str, str]:
    """Have the receipt hook look once more, as its schedule does; what it has said so far, by dataset."""
    sqs = twin.make("sqs")
    (queue,) = (url for url in sqs.list_queues()["QueueUrls"] if "ReceiptsQueue" in url)
    sqs.send_message(QueueUrl=queue, MessageBody=json.dumps({"source": "aws.events"}))
    return {str(each["sk"]): str(each["state"]) for each in twin.observer.records("receipt")}


def test_verify_holds_what_is_there_to_the_receipt_and_finds_a_flipped_byte(twin: Twin) -> None:
    """The command itself: the receipt that the hook wrote under its own role, the head node's own list of files."""
    dataset = _landed(twin)
    # Reports are waited for until nothing more of them can come; the hook's schedule is a quarter of an hour.
    wait_for(lambda: _looks_for_receipts(twin) == {dataset: "safe"}, "the receipt", seconds=240, every=10)

    def verify(*options: str) -> tuple[int, dict[str, Any]]:
        code, told, errors = _cryoem(twin, "verify", dataset, "--json", *options)
        assert told, errors
        return code, json.loads(told)

    folder = twin.places.file_systems / twin.outputs["FileSystemId"] / "data" / dataset
    files = [path for path in folder.rglob("*") if path.is_file()]
    code, found = verify("--checksums")
    assert (code, found["verified"]) == (0, True), found
    for way in ("share", "bucket", "file system"):
        assert (found["ways"][way]["looked"], found["ways"][way]["verified"]) == (True, len(files)), way
    movie = max(files, key=lambda path: path.stat().st_size)
    content = movie.read_bytes()
    movie.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    try:
        code, found = verify()
        assert (code, found["verified"]) == (0, True), "sizes do not tell"
        code, found = verify("--checksums")
    finally:
        movie.write_bytes(content)
    assert (code, found["verified"], found["safe_to_purge"]) == (1, False, True)
    (wrong,) = found["ways"]["file system"]["files"]
    assert (wrong["path"], wrong["status"]) == (movie.relative_to(folder).as_posix(), "different")
    assert found["ways"]["bucket"]["different"] == 0


def test_archive_says_why_not_and_lists_and_restore_says_how_far_it_is(twin: Twin) -> None:
    """The twin's system has no `landing.archive_after_days`, hence no rule that would move anything."""
    dataset = _landed(twin)
    code, told, _ = _cryoem(twin, "archive", "--list", "--json")
    (row,) = json.loads(told)
    assert (code, row["dataset"], row["state"], row["archived_bytes"]) == (0, dataset, "active", 0)
    code, _, errors = _cryoem(twin, "archive", dataset)
    assert code == 1
    assert "set landing.archive_after_days" in errors
    code, told, _ = _cryoem(twin, "restore", dataset, "--status")
    assert code == 0
    assert "nothing of it is in the archive, all of it can be read" in told
    code, told, _ = _cryoem(twin, "status", "--json")
    assert code == 0
    assert dataset in told


def _invoke_sweeper(twin: Twin) -> None:
    answer = twin.make("lambda").invoke(FunctionName=twin.outputs["Sweeper"], Payload=b"{}")
    assert "FunctionError" not in answer, answer["Payload"].read()


def test_job_events_survive_an_outage_of_their_sender(twin: Twin) -> None:
    processes.stop_pid_file(twin.places.run / "sender.pid")
    job = _submit(twin, "cpu", 1)
    spool = twin.places.home / "spool"
    wait_for(lambda: list(spool.glob(f"*-{job}.json")), "the event in the spool", seconds=60)
    assert not _record(twin, job)
    credentials = twin.make("sts").assume_role(RoleArn=_role(twin, "RoleHeadNode"), RoleSessionName="test")[
        "Credentials"
    ]
    head.start(twin.places, head.head_environment(twin.places, Mode(strict=True), credentials))
    record = wait_for(lambda: _record(twin, job), "the job's record", seconds=60)
    assert (record["state"], record["project"]) == ("COMPLETED", "test")
    assert list(spool.glob("*.json")) == []


def test_the_sweeper_shuts_down_a_node_whose_event_was_lost(twin: Twin) -> None:
    wait_for(lambda: all(span.off for span in twin.observer.nodes()), "all nodes to be off", seconds=90)
    rules = twin.make("events").list_rules(EventBusName=twin.outputs["EventBus"])["Rules"]
    lost = next(rule["Name"] for rule in rules if "JobFinished" in rule["Name"])
    twin.make("events").disable_rule(Name=lost, EventBusName=twin.outputs["EventBus"])
    try:
        job = _submit(twin, "gpu1", 1)
        idle = wait_for(lambda: _idle(twin), "an idle node", seconds=60)
        assert not _record(twin, job)
        _invoke_sweeper(twin)
        wait_for(lambda: not _up(twin), f"{idle} to be off", seconds=60)
    finally:
        twin.make("events").enable_rule(Name=lost, EventBusName=twin.outputs["EventBus"])


def test_a_busy_node_is_never_powered_down(twin: Twin) -> None:
    job = _submit(twin, "gpu1", 6)
    wait_for(lambda: (job, "RUNNING") in {(q[0], q[3]) for q in twin.observer.queue()}, "the job to run", seconds=60)
    _invoke_sweeper(twin)
    record = wait_for(lambda: _record(twin, job), "the job's record", seconds=60)
    assert record["state"] == "COMPLETED"
    assert record["ended_at"] - record["started_at"] >= 5


def _nodes(twin: Twin) -> list[tuple[str, str]]:
    command = ["sinfo", "--noheader", "-N", "--format", "%N %t"]
    shown = subprocess.run(command, env=controller.environment(twin.places), capture_output=True, text=True, check=True)
    return [(line.split()[0], line.split()[1]) for line in shown.stdout.splitlines()]


def _idle(twin: Twin) -> str:
    return next((name for name, state in _nodes(twin) if state == "idle"), "")


def _up(twin: Twin) -> list[str]:
    return [span.node for span in twin.observer.nodes() if span.off is None]


def test_down_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    from cdk_cryoem_twin import lifecycle
    from cdk_cryoem_twin.places import ROOT_VARIABLE, Places

    places = Places(tmp_path / "twin")
    places.run.mkdir(parents=True)
    env = {"PATH": "/usr/bin:/bin", ROOT_VARIABLE: str(places.root)}
    started = processes.start(
        ["sleep", "600"], env=env, log=places.logs / "x.log", pid_file=places.run / "x.pid", cwd=tmp_path
    )
    assert started in {process.pid for process in processes.ours(places)}
    assert lifecycle.down(places) == 1
    assert not places.root.exists()
    assert processes.ours(places) == []


def test_the_account_is_nobodys(twin: Twin) -> None:
    assert twin.make("sts").get_caller_identity()["Account"] == ACCOUNT


def test_new_programs_reach_a_head_node_that_runs(twin: Twin) -> None:
    ssm = twin.make("ssm")
    (setup,) = [p["Name"] for p in ssm.describe_parameters()["Parameters"] if "ProgramsSetup" in p["Name"]]
    value = json.loads(ssm.get_parameter(Name=setup)["Parameter"]["Value"]) | {"deployed": "again"}
    ssm.put_parameter(Name=setup, Value=json.dumps(value), Type="String", Overwrite=True)
    _invoke_sweeper(twin)
    assert json.loads((twin.places.home / "etc" / "setup.json").read_text()) == value
