"""AWS Parallel Computing Service: cluster, node groups and queues start and change the twin's Slurm.

Properties are checked against AWS's own schemas. What differs: no instances are launched, slurmd processes are; scaling
and scheduler logs are not written.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from .. import processes
from ..pcs import programs
from ..pcs.state import PcsState
from ..places import places
from ..slurm import controller
from .extension import Json, account, in_this_context, log, region, register_type
from .recorded import Recorded, recorded

_MOMENT_SECONDS = 1.0
_lock = threading.Lock()
_changed = threading.Event()


class _Kept(Recorded):
    """A type of which PCS keeps the properties."""

    def __init__(self, type_name: str, store: Callable[[PcsState], dict[str, Json]], in_arn: str) -> None:
        super().__init__(type_name)
        self._store, self._in_arn = store, in_arn

    def create(self, logical_id: str, props: Json, stack: str) -> tuple[str, Json]:
        _, attributes = super().create(logical_id, props, stack)
        name = f"pcs_{os.urandom(5).hex()}"
        path = f"cluster/{props['ClusterId']}/{self._in_arn}/{name}" if "ClusterId" in props else f"cluster/{name}"
        arn = f"arn:aws:pcs:{region()}:{account()}:{path}"
        attributes |= {"Id": name, "Arn": arn, "Status": "ACTIVE"}
        recorded[arn] = {"Type": self.type_name, "Properties": props, "Attributes": attributes}
        self._note(name, props)
        return arn, attributes

    def update(self, physical_id: str, before: Json, after: Json, stack: str) -> tuple[str, Json]:
        out = super().update(physical_id, before, after, stack)
        self._note(physical_id.rpartition("/")[2], after)
        return out

    def delete(self, physical_id: str, props: Json) -> None:
        super().delete(physical_id, props)
        self._note(physical_id.rpartition("/")[2], None)

    def _note(self, name: str, props: Json | None) -> None:
        with _lock:
            state = PcsState.load(places())
            if props is None:
                self._store(state).pop(name, None)
            else:
                self._store(state)[name] = props
            state.save(places())
        _changed.set()


def _follow() -> None:
    """Run Slurm as PCS was told, once nothing has changed for a moment: a deployment changes many things at once."""
    while True:
        _changed.wait()
        while _changed.is_set():
            _changed.clear()
            _changed.wait(_MOMENT_SECONDS)
        try:
            _run_slurm(PcsState.load(places()))
        except Exception:
            # The next change must still be followed.
            log.exception("Slurm could not be run as PCS was told")


def _run_slurm(state: PcsState) -> None:
    """slurmctld wants at least one partition."""
    if not state.clusters or not state.queues:
        controller.stop(places())
        return
    # Here, because it needs the library's instance table and with it the CDK, which takes seconds to import.
    from ..pcs.spec import slurm_spec

    folder = places().slurm / "bin"
    controller.configure(places(), slurm_spec(state, programs=folder))
    programs.write_programs(places(), folder)
    if processes.alive(places().slurm / "pid" / "slurmctld.pid"):
        controller.stop(places())
    controller.start(places())


class _Delivery(Recorded):
    """Vended logs on their way into a log group."""

    def create(self, logical_id: str, props: Json, stack: str) -> tuple[str, Json]:
        out = super().create(logical_id, props, stack)
        source = recorded[props["DeliverySourceName"]]["Properties"]
        arn = props["DeliveryDestinationArn"]
        (destination,) = [found["Properties"] for found in recorded.values() if found["Attributes"].get("Arn") == arn]
        group = destination["DestinationResourceArn"].removesuffix(":*").rpartition(":log-group:")[2]
        with _lock:
            state = PcsState.load(places())
            state.deliveries[source["LogType"]] = group
            state.save(places())
        return out


def register() -> None:
    """Make these types known."""
    threading.Thread(target=in_this_context(_follow), daemon=True, name="pcs").start()
    register_type("AWS::PCS::Cluster", _Kept("AWS::PCS::Cluster", lambda s: s.clusters, "cluster"))
    groups = _Kept("AWS::PCS::ComputeNodeGroup", lambda s: s.node_groups, "computenodegroup")
    register_type("AWS::PCS::ComputeNodeGroup", groups)
    register_type("AWS::PCS::Queue", _Kept("AWS::PCS::Queue", lambda s: s.queues, "queue"))
    for name in ("AWS::Logs::DeliverySource", "AWS::Logs::DeliveryDestination"):
        register_type(name, Recorded(name))
    register_type("AWS::Logs::Delivery", _Delivery("AWS::Logs::Delivery"))
