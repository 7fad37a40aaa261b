"""The hooks' shipped code in this process, with the model's clients, time and environment in it."""

from __future__ import annotations

import importlib
import json
import logging
import os
import pkgutil
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .stand_ins import RECIPE, Json, Time, stage

if TYPE_CHECKING:
    from .site import Site

HOOKS = ("dataset_hook", "lane_hook", "node_hook")
_BASE = {
    "RECORDS_TABLE": "records",
    "EVENT_BUS": "bus",
    "CLUSTER": "cryo",
    "HEAD_NODE": "i-head",
    "MANIFEST_PARAMETER": "/cryo/lanes",
    "LANDING_BUCKET": "landing",
    "SLURM_STATUS_DOCUMENT": "slurm-status",
    "POWER_DOWN_DOCUMENT": "power-down",
    "REGISTER_LANES_DOCUMENT": "register-lanes",
    "START_PROCESSING_DOCUMENT": "start-processing",
    "STOP_HEAD_NODE_DOCUMENT": "stop-head-node",
    "LIVE_SESSIONS_DOCUMENT": "live-sessions",
    "BACKUP_DATABASE_DOCUMENT": "backup-database",
    "PAUSE_LIVE_SESSION_DOCUMENT": "pause-live-session",
    "QUEUES": "[]",
    "WAITING": "",
    "AWAKE": "",
    "INSTANCE_TAG": "parallelcluster:cluster-name=cryo",
    "SYSTEM": "cryo",
    "LIVE_IDLE_MINUTES": "0",
}


class _Lambda:
    """The modules of the hooks, with the model's clients, time and environment in them."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}
        self.make_world: Callable[[], Any] = lambda: None

    def environment(self, function: str) -> dict[str, str]:
        site = stage.now()
        if function not in site.environments:
            site.environments[function] = self._environment(site, function)
        return site.environments[function]

    def _environment(self, site: Site, function: str) -> dict[str, str]:
        plan = site.plan
        found = {
            **_BASE,
            "INGEST_TASKS": json.dumps([f"arn:task-{n}" for n in range(plan.microscopes)]),
            "QUIET_MINUTES": str(plan.quiet_minutes),
            "SENTINEL": plan.sentinel,
            "RECIPE": RECIPE if plan.recipe else "",
            "STOP_HEAD_NODE_AFTER_MINUTES": str(plan.stop_head_node_after_minutes),
        }
        if function in site.queues:
            found["QUEUE_URL"] = site.queues[function].url
        if function == "sweeper":
            queues = site.queues.values() if site.redriving else ()
            found["QUEUES"] = json.dumps(
                [{"name": q.name.partition("_")[0], "queue": q.url, "dead": q.dead_url} for q in queues]
            )
        return found

    def world(self) -> Any:
        site = stage.now()
        process = site.clock.current
        function = process.attributes["function"] if process is not None else "sweeper"
        if function not in site.worlds:
            os.environ.pop("QUEUE_URL", None)
            os.environ.update(self.environment(function))
            site.worlds[function] = self.make_world()
        return site.worlds[function]


hooks = _Lambda()


class _LambdaOs:
    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    @property
    def environ(self) -> Mapping[str, str]:
        process = stage.now().clock.current
        assert process is not None
        return hooks.environment(process.attributes["function"])


class _LambdaBoto3:
    def client(self, service: str, **_: Any) -> Any:
        return stage.now().clients[service]


def set_hooks(replace: Callable[[object, str, object], None]) -> None:
    """Import the hooks and put the model around them. replace: a setattr that somebody undoes."""
    package = importlib.import_module("cdk_cryoem_lambda")
    for found in pkgutil.walk_packages(package.__path__, "cdk_cryoem_lambda."):
        importlib.import_module(found.name)
    stand_ins = {"time": Time(), "boto3": _LambdaBoto3(), "os": _LambdaOs()}
    for name, module in list(sys.modules.items()):
        if not name.startswith("cdk_cryoem_lambda."):
            continue
        for attribute, stand_in in stand_ins.items():
            if isinstance(getattr(module, attribute, None), ModuleType):
                replace(module, attribute, stand_in)
        made = getattr(module, "world", None)
        if hasattr(made, "cache_clear"):
            hooks.make_world = made.__wrapped__
            replace(module, "world", hooks.world)
    replace(sys.modules["cdk_cryoem_lambda.world"], "json", Json())
    replace(sys.modules["cdk_cryoem_lambda.metrics"], "print", lambda *_, **__: None)
    for name in (*HOOKS, "sweeper"):
        hooks.handlers[name] = sys.modules[f"cdk_cryoem_lambda.{name}"].handler
    log = logging.getLogger("cryoem")
    replace(log, "disabled", True)
    replace(log, "propagate", False)
    replace(log, "handlers", [_Log()])


class _Log(logging.Handler):
    """What the hooks log goes into the trace."""

    def emit(self, record: logging.LogRecord) -> None:
        stage.now().trace("| %s", self.format(record))
