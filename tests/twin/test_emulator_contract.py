"""The emulator's private names that extension.py uses are where it expects them, in the version that is pinned."""

from __future__ import annotations

import importlib
import importlib.metadata
import tomllib
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]


def test_the_emulator_is_the_pinned_one() -> None:
    groups = tomllib.loads((_ROOT / "pyproject.toml").read_text())["dependency-groups"]
    pinned = next(entry for entry in groups["twin"] if entry.startswith("ministack"))
    assert pinned == f"ministack=={importlib.metadata.version('ministack')}"


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("app", ["AUTH", "app", "SERVICE_HANDLERS", "SERVICE_REGISTRY", "_enforce_data_plane", "main"]),
        ("core.router", ["SERVICE_PATTERNS"]),
        ("core.iam_actions", ["extract_resource_arn"]),
        ("core.responses", ["get_account_id", "get_region", "set_request_account_id", "set_request_region"]),
        ("services.cloudformation.provisioners", ["_RESOURCE_HANDLERS", "_REPLACING_PROPERTIES"]),
        ("services.cloudformation.stacks", ["_runs_on_worker_thread"]),
        (
            "services.ec2",
            ["_ACTION_MAP", "_instances", "_parse_member_list", "instance_is_managed", "exec_in_instance_blocking"],
        ),
        ("services.eventbridge", ["_dispatch_event", "_dispatch_to_lambda", "_invoke_target"]),
        (
            "services.lambda_svc",
            ["_get_func_record_for_ref", "_execution_record_for_config", "invoke_async_with_retry"],
        ),
        ("services.s3", ["_bucket_tags"]),
        ("services.ssm", ["_SHELL_DOCUMENTS", "_shell_argv", "_send_command", "handle_request", "error_response_json"]),
        ("services.sts", ["register_session"]),
    ],
)
def test_private_names_are_there(module: str, names: list[str]) -> None:
    found = importlib.import_module(f"ministack.{module}")
    assert [name for name in names if not hasattr(found, name)] == []


def test_only_one_module_touches_them() -> None:
    folder = _ROOT / "twin" / "cdk_cryoem_twin"
    using = [p.name for p in folder.rglob("*.py") if "ministack" in p.read_text() and "import" in p.read_text()]
    importing = [
        p.name
        for p in folder.rglob("*.py")
        if any(line.strip().startswith(("from ministack", "import ministack")) for line in p.read_text().splitlines())
    ]
    assert "extension.py" in using
    assert importing == ["extension.py"]
