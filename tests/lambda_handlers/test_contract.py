"""What crosses from deploy time and the head node to the hooks is data, with one definition each."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import LANES, Aws, batch, failed, job_event

from cdk_cryoem_lambda import datasets, events_out, jobs, node_hook, nodes
from cdk_cryoem_lambda.jobs import Lane
from cdk_cryoem_lambda.reconcile import processing
from cryoem_head import (
    backup_outcome,
    job_completion,
    lane_files,
    power_down,
    send_events,
    settings,
    slurm,
    slurm_status,
    stop_head_node,
)

_ROOT = Path(__file__).resolve().parents[2]
_CONSTRUCTS = _ROOT / "constructs" / "cdk_cryoem"
_LAMBDA = _ROOT / "lambda" / "cdk_cryoem_lambda"
ENVIRONMENT = {
    "JOBID": "42",
    "JOBNAME": 'say "粒子"',
    "USERNAME": "ada",
    "PARTITION": "gpu4",
    "JOBSTATE": "COMPLETED",
    "EXITCODE": "0",
    "SUBMIT": "1799990000",
    "START": "1799990100",
    "END": "1799993700",
    "NODES": "gpu4-dy-node-1",
    "NODECNT": "1",
    "WORK_DIR": "/fsx/projects/spike/J2",
}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def constants(path: Path) -> dict[str, Any]:
    """Names that a module gives a literal."""
    return {
        target.id: node.value.value
        for node in tree(path).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def literals(path: Path) -> set[str]:
    return {n.value for n in ast.walk(tree(path)) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def variables_set(path: Path) -> set[str]:
    """Keys of dictionaries that look like environment variables, and first arguments of add_environment."""
    found: list[ast.expr | None] = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Dict):
            found += node.keys
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_environment":
            found += node.args[:1]
    return {
        key.value
        for key in found
        if isinstance(key, ast.Constant) and isinstance(key.value, str) and re.fullmatch(r"[A-Z][A-Z_]+", key.value)
    }


def variables_read() -> Iterator[str]:
    """Literal keys of `environment[..]`, `os.environ[..]` and `os.environ.get(..)` in the hooks that act on the system."""
    for path in sorted(
        set(_LAMBDA.rglob("*.py"))
        - {_LAMBDA / "notifier.py", _LAMBDA / "file_system_care.py", _LAMBDA / "ingest_pace.py"}
        - {_LAMBDA / "receipt_hook.py"}
    ):
        yield from read_in(path)


def read_in(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) in {"environment", "os.environ"}:
            yield ast.literal_eval(node.slice)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "os.environ.get":
            yield ast.literal_eval(node.args[0])


def test_hooks_read_exactly_the_variables_they_are_given() -> None:
    given = variables_set(_CONSTRUCTS / "lane_hooks.py") | variables_set(_CONSTRUCTS / "hook_function.py")
    # Only there so that a function is deployed again with another head node.
    assert set(variables_read()) == given - {"ENGINE_GENERATION"}
    assert len(given) == 26


def test_the_receipt_hook_reads_exactly_the_variables_it_is_given() -> None:
    given = variables_set(_CONSTRUCTS / "dataset_receipts.py") | variables_set(_CONSTRUCTS / "hook_function.py")
    assert {*read_in(_LAMBDA / "receipt_hook.py"), *read_in(_LAMBDA / "hints.py")} == given


def test_the_tests_own_environment_is_the_hooks_environment() -> None:
    assert variables_set(Path(__file__).with_name("conftest.py")) == set(variables_read())


def test_the_job_event_of_the_head_node_is_what_the_hook_reads() -> None:
    detail = job_completion.event(
        ENVIRONMENT, cluster="cryo", projects=Path("/fsx/projects"), tres="cpu=12,mem=48G,gres/gpu=1"
    )
    assert jobs.parse(json.loads(json.dumps(detail))) == jobs.Job(
        job_id="42",
        name='say "粒子"',
        user="ada",
        project="spike",
        lane="gpu4",
        state="COMPLETED",
        submitted_at=1_799_990_000,
        started_at=1_799_990_100,
        ended_at=1_799_993_700,
        nodes="gpu4-dy-node-1",
        node_count=1,
        tres={"cpu": 12.0, "mem": 49_152.0, "gres/gpu": 1.0},
    )


def test_the_tests_own_job_event_has_the_shape_of_the_head_nodes() -> None:
    detail = job_completion.event(ENVIRONMENT, cluster="cryo", projects=Path("/fsx/projects"), tres="cpu=1")
    ours = job_event()["detail"]
    assert {name: type(value) for name, value in ours.items()} == {name: type(value) for name, value in detail.items()}


def test_a_job_with_a_weird_name_reaches_the_record(aws: Aws) -> None:
    aws.ec2.state = "stopped"
    name = b"\xff\xe4 \"'\n".decode(errors="surrogateescape")
    detail = job_completion.event(
        {**ENVIRONMENT, "JOBNAME": name}, cluster="cryo", projects=Path("/fsx/projects"), tres=""
    )
    event = {"source": send_events.SOURCE, "detail-type": send_events.DETAIL_TYPE, "detail": detail}
    assert failed(node_hook.handler(batch(event), None)) == []
    assert aws.record("job", "001799993700#42")["name"] == "\N{REPLACEMENT CHARACTER}" * 2 + " \"'\n"


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> dict[str, Any]:
    """What slurm-status prints of a cluster with a free node, a booting one, one that is lost and a busy one, of jobs
    that wait for a node, for another job and for a person, of an event that was not sent and a backup that failed."""
    nodes_text = (
        "NodeName=gpu4-dy-g5-12xlarge-1 NodeAddr=10.0.0.7 State=IDLE+CLOUD Partitions=gpu4"
        " BootTime=2026-03-02T10:04:00 LastBusyTime=2026-03-02T11:00:00\n"
        "NodeName=cpu-dy-c6i-1 NodeAddr=cpu-dy-c6i-1 State=IDLE+CLOUD+POWERING_UP Partitions= BootTime=None"
        " LastBusyTime=Unknown\n"
        "NodeName=cpu-dy-c6i-2 NodeAddr=10.0.0.9 State=DOWN+CLOUD+NOT_RESPONDING Partitions=cpu"
        " BootTime=2026-03-02T10:04:00 LastBusyTime=2026-03-02T10:30:00 Reason=Not responding [slurm@2026-03-02T11:00:00]\n"
        "NodeName=gpu4-dy-g5-12xlarge-2 NodeAddr=10.0.0.8 State=MIXED+CLOUD Partitions=gpu4"
        " BootTime=2026-03-02T10:04:00 LastBusyTime=2026-03-02T11:00:00\n"
    )
    partitions_text = "PartitionName=gpu4 State=UP TotalNodes=2\nPartitionName=live State=INACTIVE TotalNodes=1\n"
    jobs_text = "gpu4|Resources\ngpu4|Dependency\ncpu|JobHeldUser\n"

    def run(*command: str) -> str:
        texts = {"nodes": nodes_text, "partitions": partitions_text}
        return texts[command[-1]] if "scontrol" in command else jobs_text

    here = SimpleNamespace(projects=tmp_path, home=tmp_path, spool=tmp_path / "spool", cryosparc_port=61000)
    here.spool.mkdir()
    (here.spool / "7.json").write_text("{}")
    backup_outcome.note(tmp_path, failed="disk full")
    monkeypatch.setattr(settings, "load", lambda: here)
    monkeypatch.setattr(slurm, "run", run)
    slurm_status.main()
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_what_slurm_status_prints_is_what_the_hooks_read(printed: dict[str, Any]) -> None:
    status = nodes.Status.parse(printed)
    assert [(node.name, node.lane, node.state) for node in status.nodes] == [
        ("gpu4-dy-g5-12xlarge-1", "gpu4", "idle"),
        ("cpu-dy-c6i-1", "", "booting"),
        ("cpu-dy-c6i-2", "cpu", "down"),
    ]
    up, booting, down = status.nodes
    assert up.idle_since is not None
    assert booting.idle_since is None
    assert down.idle_since == up.idle_since, "when Slurm noted it"
    assert status.powered_up == len(status.addresses) == 4, "the one that boots is paid for too"
    assert set(status.addresses) >= {"10.0.0.7", "10.0.0.8", "10.0.0.9"}
    assert (status.pending, status.blocked) == ({"gpu4": 1}, {"gpu4": 1})
    assert status.now > up.idle_since
    assert (status.spool, status.backup["reason"]) == (1, "disk full")
    assert nodes.failed(status) == [down]
    assert nodes.to_power_down(status, []) == [booting, down]


def test_all_that_slurm_status_prints_is_read(printed: dict[str, Any]) -> None:
    # Which partitions are closed, the lane hook has from register-lanes; this is for people.
    assert printed.keys() - {"closed"} == {field.name for field in dataclasses.fields(nodes.Status)}
    assert printed["closed"] == ["live"]


@pytest.mark.parametrize("verdict", ["stop", "back-up", "stay"])
def test_the_head_node_and_the_hooks_agree_on_what_it_is_needed_for(printed: dict[str, Any], verdict: str) -> None:
    if verdict != "stay":
        empty = {"pending": {}, "blocked": {}, "running": {}, "nodes": [], "powered_up": 0, "logins": 0}
        printed |= empty | {"recipes": 0, "spool": 0, "backup": {"made_at": 5}}
    used_until = 6 if verdict == "back-up" else 5
    found = stop_head_node.decide(printed, has_database=True, used_until=used_until)
    assert found["verdict"] == verdict
    assert nodes.Status.parse(printed).needed is (verdict == "stay")


def test_the_hooks_fence_is_one_that_the_document_and_the_head_node_take(printed: dict[str, Any]) -> None:
    pattern = re.compile(str(constants(_CONSTRUCTS / "ssm_documents.py")["_NODES_PATTERN"]))
    found = nodes.Status.parse(printed).nodes
    fenced = ",".join(f"{node.name}={node.epoch}" for node in found)
    assert pattern.fullmatch(fenced)
    assert power_down.parse(fenced) == {node.name: node.epoch for node in found}
    assert pattern.fullmatch(",".join(["n=e"] * 100))
    assert not pattern.fullmatch(",".join(["n=e"] * 101))


def test_names_that_a_hook_puts_into_a_command_are_those_that_the_document_takes() -> None:
    accepted = constants(_CONSTRUCTS / "ssm_documents.py")["NAME_PATTERN"]
    assert accepted == f"^{processing.NAME.pattern}$"


DOCUMENT_PARAMETERS = {
    *("Nodes", "Mode", "ManifestSha256", "Dataset", "Recipe", "Objects"),
    *("UsedUntil", "DecidedAt", "IdleMinutes", "Session", "Seen"),
}
# list-files, which no hook runs: the commands that compare with the file system do.
OPERATORS_PARAMETERS = {"Folder", "Checksums", "Key"}


def test_parameters_of_the_documents_are_those_that_the_hooks_give() -> None:
    given = {
        ast.literal_eval(key)
        for path in _LAMBDA.rglob("*.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant) and str(key.value) in DOCUMENT_PARAMETERS
    }
    wanted = set(re.findall(r"\{\{ (\w+) \}\}", (_CONSTRUCTS / "ssm_documents.py").read_text()))
    assert given == DOCUMENT_PARAMETERS
    assert wanted == DOCUMENT_PARAMETERS | OPERATORS_PARAMETERS
    listing = _ROOT / "stacks" / "cdk_cryoem_stacks" / "operate" / "listing.py"
    assert literals(listing) >= OPERATORS_PARAMETERS


def test_job_events_have_one_source_and_detail_type() -> None:
    engine = constants(_CONSTRUCTS / "engine.py")
    assert send_events.SOURCE == engine["JOB_EVENT_SOURCE"] == "cryoem.slurm"
    assert send_events.DETAIL_TYPE == engine["JOB_EVENT_DETAIL_TYPE"] == "Slurm Job State Change"


def test_platform_events_have_one_source_and_detail_type() -> None:
    hooks = constants(_CONSTRUCTS / "lane_hooks.py")
    assert hooks["PLATFORM_EVENT_SOURCE"] == events_out.SOURCE == "cryoem.platform"
    assert hooks["DATASET_LANDED"] == events_out.DatasetLanded.detail_type == "Dataset Landed"


def test_datasets_have_one_prefix() -> None:
    assert constants(_CONSTRUCTS / "landing_zone.py")["DATASETS_PREFIX"] == datasets.DATASETS_PREFIX == "datasets/"


def keys_of_the_manifest() -> set[str]:
    """Keys of Lane.manifest(), read without importing the CDK."""
    (method,) = (
        node
        for node in ast.walk(tree(_CONSTRUCTS / "lane.py"))
        if isinstance(node, ast.FunctionDef) and node.name == "manifest"
    )
    (document,) = (node for node in ast.walk(method) if isinstance(node, ast.Dict))
    return {ast.literal_eval(key) for key in document.keys if key is not None}


def test_a_manifests_lane_has_all_that_the_hooks_and_the_head_node_read() -> None:
    assert keys_of_the_manifest() == set(LANES[0])
    for entry in LANES:
        assert Lane.parse(entry).name == entry["name"]
        lane_files.render(entry, worker="w", cache_root="/scratch", sbatch="", home="/opt/cryoem")


@pytest.mark.parametrize("key", ["always_on", "nodes_per_job"])
def test_a_manifest_of_an_older_deployment_is_read_too(key: str) -> None:
    """Head node and hooks are not replaced at one moment."""
    (entry,) = ({name: value for name, value in lane.items() if name != key} for lane in LANES[:1])
    assert not Lane.parse(entry).always_on
    lane_files.render(entry, worker="w", cache_root="/scratch", sbatch="", home="/opt/cryoem")


def test_what_the_manifest_calls_always_on_is_what_the_hooks_leave_alone() -> None:
    assert [Lane.parse(entry | {"always_on": said}).always_on for entry in LANES[:1] for said in (True, False)] == [
        True, False,
    ]  # fmt: skip


def settings_read(*scripts: str) -> dict[str, bool]:
    """What scripts of the head node read of the setup, and whether they can do without."""
    shell = "".join((_CONSTRUCTS / "head_node" / name).read_text() for name in scripts)
    found = {name: bool(default) for name, default in re.findall(r"\(setting (\w+)( [^)]+)?\)", shell)}
    return found | dict.fromkeys(re.findall(r'load\(open\(sys\.argv\[1\]\)\)\["(\w+)"\]', shell), False)


def settings_written(path: Path, call: str) -> set[str]:
    """Keys of the dictionaries in the arguments of a call."""
    return {
        key.value
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(call)
        for argument in [*node.args, *(keyword.value for keyword in node.keywords)]
        for each in ast.walk(argument)
        if isinstance(each, ast.Dict)
        for key in each.keys
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }


def test_the_setup_has_all_that_the_head_node_installs_from() -> None:
    read = settings_read("bootstrap.sh", "trampoline.sh")
    written = settings_written(_CONSTRUCTS / "head_node_programs.py", "to_json_string")
    of_the_engine = {"slurm_bin", "user", "pcs_cluster"}
    assert set(read) == written | of_the_engine
    assert {name for name, can_do_without in read.items() if not can_do_without} == {
        "scripts", "recipes", "cluster", "event_bus", "manifest_parameter", "cryosparc_secret",
    }  # fmt: skip
    assert all(read[name] for name in of_the_engine), "ParallelCluster says none of them"


def test_a_head_node_of_pcs_is_told_all_that_it_joins_with() -> None:
    read = settings_read("join-pcs.sh")
    written = settings_written(_CONSTRUCTS / "pcs.py", "HeadNodePrograms")
    assert set(read) | {"user"} == written
    assert not any(read.values())


def test_nothing_of_the_cdk_is_needed_for_all_this() -> None:
    for path in sorted([*Path(__file__).parent.glob("*.py"), *(_ROOT / "tests" / "head_node").glob("*.py")]):
        for node in ast.walk(tree(path)):
            names = [
                alias.name for alias in getattr(node, "names", []) if isinstance(node, ast.Import | ast.ImportFrom)
            ]
            module = getattr(node, "module", None) or ""
            assert not {n.partition(".")[0] for n in [*names, str(module)]} & {"aws_cdk", "cdk_cryoem"}, path
    assert "cryoem_head.slurm" in sys.modules
