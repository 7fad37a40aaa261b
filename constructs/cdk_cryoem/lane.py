"""A lane: one node shape, its Slurm partition, its cryoSPARC scheduler target and its RELION queue."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .instances import InstanceShape, instance_shapes
from .problems import Problem, known, require

# ParallelCluster refuses other queue and compute resource names (its QueueNameValidator, 3.16.1).
_NAME = re.compile(r"[a-z][a-z0-9-]*")
_NAME_MAX = 25
_RESERVATION = re.compile(r"cr-[0-9a-f]{17}")
SPOT_SUFFIX = "-spot"
# ParallelCluster gives Slurm 95 % of what EC2 states, because the kernel keeps the rest.
_SCHEDULABLE_MEMORY = 0.95


class Capacity(enum.StrEnum):
    """How a lane's nodes are bought."""

    ON_DEMAND = "on-demand"
    """A node is never taken back. Right for cryoSPARC jobs, which do not resume after a kill."""
    SPOT = "spot"
    """About half the price; EC2 may take the node back with two minutes' notice and Slurm requeues the job."""
    CAPACITY_BLOCK = "capacity-block"
    """Nodes of a Capacity Block, paid in advance for its whole time: all of them are there while it is active."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lane:
    """One node shape and everything that is named after it.

    name: lower-case letters, digits and dashes, 25 characters at most; also the Slurm partition.
    instance_types: types of equal GPU and vCPU count. More than one, so that a lack of capacity in one does not
        close the lane. The first is the one priced: put the one you expect to get first.
    gpus: GPUs of each node (0 for a CPU lane).
    max_nodes: the most nodes that may exist at once. Nodes cost nothing while there are none.
    capacity: on-demand (default), spot or capacity-block.
    capacity_reservation_id: nodes come out of this On-Demand Capacity Reservation or Capacity Block. It is made for one
        instance type, so the lane has one; max_nodes ought not to be more than it reserves.
    nodes_per_job: the most nodes that one RELION job may spread over by MPI; default 1, and always 1 for cryoSPARC. Above
        1 the nodes are placed close together (those of a reservation are where it is), and get an Elastic Fabric Adapter
        if all types can have one.
    particle_cache: use the nodes' local NVMe as particle cache (default), when the types have one.
    memory_multiplier: memory asked of Slurm = what the job declares x this. Default 2.0: declared memory is often
        too small and the kernel then kills the job without a message (AWS's own guidance uses 2.0).
    time_limit_hours: a job that runs longer is stopped. Default 48.
    hold_minutes: how long an idle node is kept in case another job comes. Default 0: shut down at once.

    Costs nothing by itself; each running node costs `usd_per_hour`. Errors: CryoEmError naming every wrong property.
    """

    name: str
    instance_types: Sequence[str]
    gpus: int = 0
    max_nodes: int = 4
    capacity: Capacity = Capacity.ON_DEMAND
    capacity_reservation_id: str | None = None
    nodes_per_job: int = 1
    particle_cache: bool = True
    memory_multiplier: float = 2.0
    time_limit_hours: float = 48.0
    hold_minutes: int = 0
    shapes: Mapping[str, InstanceShape] = field(default_factory=instance_shapes, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "instance_types", tuple(self.instance_types))
        require(f"lane {self.name!r}", self.problems())

    def problems(self) -> Iterator[Problem]:
        """Everything that is wrong with this lane."""
        values = {spec.name: getattr(self, spec.name) for spec in dataclasses.fields(self)}
        return lane_problems(**values)

    def _least(self, attribute: str) -> int:
        return min(int(getattr(self.shapes[t], attribute)) for t in self.instance_types)

    @property
    def partition(self) -> str:
        """The Slurm partition, which has the lane's name."""
        return self.name

    @property
    def vcpus(self) -> int:
        """vCPUs of a node."""
        return self._least("vcpus")

    @property
    def cores(self) -> int:
        """Physical cores of a node: what Slurm has of CPUs where the engine switches hyper-threading off (PCS)."""
        return min(self.shapes[t].vcpus // self.shapes[t].threads_per_core for t in self.instance_types)

    @property
    def memory_mib(self) -> int:
        """Memory of a node that jobs can ask for, in MiB: that of the smallest of the lane's types."""
        return int(self._least("memory_gib") * 1024 * _SCHEDULABLE_MEMORY)

    @property
    def nvme_gb(self) -> int:
        """Local NVMe of a node in GB, 0 when one of the types has none."""
        return self._least("nvme_gb")

    @property
    def gpu_model(self) -> str:
        """GPU model of the first type, lower case; empty for a CPU lane."""
        return self.shapes[self.instance_types[0]].gpu_model.lower()

    @property
    def usd_per_hour(self) -> float:
        """List price of a node per hour, of the first type; that on demand and of us-east-1, unless `shapes` has others.

        A spot lane has the spot price of its shape where that has one: `data/instances.csv` has none, `cdk_cryoem_stacks` gives some.
        """
        shape = self.shapes[self.instance_types[0]]
        if self.capacity is Capacity.SPOT and shape.spot_usd_per_hour is not None:
            return shape.spot_usd_per_hour
        return shape.usd_per_hour

    @property
    def uses_particle_cache(self) -> bool:
        """Whether cryoSPARC copies particles to the node's local NVMe in this lane."""
        return self.particle_cache and self.nvme_gb > 0

    @property
    def has_spread_jobs(self) -> bool:
        """Whether a job may run on several nodes, which then want to be close together."""
        return self.nodes_per_job > 1

    @property
    def has_efa(self) -> bool:
        """Whether the nodes get an Elastic Fabric Adapter: where jobs spread and every type can have one."""
        return self.has_spread_jobs and all(self.shapes[t].efa for t in self.instance_types)

    def spot_twin(self) -> Lane:
        """The same lane on spot capacity, called NAME-spot. Errors: CryoEmError for a lane that is not on-demand."""
        if self.capacity is not Capacity.ON_DEMAND or self.capacity_reservation_id:
            require(
                f"lane {self.name!r}",
                [Problem(property="spot_twin", value=True, allowed="for on-demand lanes without a reservation")],
            )
        return dataclasses.replace(self, name=f"{self.name}{SPOT_SUFFIX}", capacity=Capacity.SPOT)

    def manifest(self, *, hyper_threading: bool = True) -> dict[str, object]:
        """The lane as the hooks and the head node read it (one entry of the lane manifest)."""
        return {
            "name": self.name,
            "partition": self.partition,
            "gpus": self.gpus,
            "vcpus": self.vcpus if hyper_threading else self.cores,
            "memory_mib": self.memory_mib,
            "max_nodes": self.max_nodes,
            "nodes_per_job": self.nodes_per_job,
            "cache_gb": self.nvme_gb if self.uses_particle_cache else 0,
            "memory_multiplier": self.memory_multiplier,
            "time_limit_minutes": round(self.time_limit_hours * 60),
            "hold_minutes": self.hold_minutes,
            "always_on": self.capacity is Capacity.CAPACITY_BLOCK,
            "usd_per_hour": self.usd_per_hour,
        }


def lane_problems(
    *,
    name: str,
    instance_types: Sequence[str],
    gpus: int = 0,
    max_nodes: int = 4,
    capacity: Capacity = Capacity.ON_DEMAND,
    capacity_reservation_id: str | None = None,
    nodes_per_job: int = 1,
    particle_cache: bool = True,
    memory_multiplier: float = 2.0,
    time_limit_hours: float = 48.0,
    hold_minutes: int = 0,
    shapes: Mapping[str, InstanceShape] | None = None,
) -> Iterator[Problem]:
    """Everything wrong with the values a lane is to be made of, without making it."""
    shapes = instance_shapes() if shapes is None else shapes
    yield from _name_problems(name)
    limits = (
        ("gpus", gpus, 0, 16),
        ("max_nodes", max_nodes, 1, 1000),
        ("nodes_per_job", nodes_per_job, 1, max_nodes if known(max_nodes) and max_nodes >= 1 else 1000),
        ("memory_multiplier", memory_multiplier, 0.1, 10),
        ("time_limit_hours", time_limit_hours, 0.1, 24 * 30),
        ("hold_minutes", hold_minutes, 0, 24 * 60),
    )
    for prop, value, low, high in limits:
        if known(value) and not low <= value <= high:
            yield Problem(property=prop, value=value, allowed=f"{low} to {high}")
    if not instance_types:
        yield Problem(property="instance_types", value=list(instance_types), allowed="at least one EC2 instance type")
    for twice in sorted({t for t in instance_types if list(instance_types).count(t) > 1}):
        yield Problem(property="instance_types", value=twice, allowed="every type once", fix="Remove one of them")
    unknown = [t for t in instance_types if t not in shapes]
    for instance_type in unknown:
        yield Problem(
            property="instance_types",
            value=instance_type,
            allowed="a type of data/instances.csv",
            fix="Check the spelling, or give its InstanceShape in shapes",
        )
    if instance_types and not unknown:
        types = [shapes[t] for t in instance_types]
        yield from _shape_problems(types, gpus)
        yield from _capacity_problems(types, capacity, capacity_reservation_id)


def _name_problems(name: str) -> Iterator[Problem]:
    if name == "default":
        yield Problem(
            property="name", value=name, allowed="another name", fix="ParallelCluster keeps this one for itself"
        )
    if not _NAME.fullmatch(name) or len(name) > _NAME_MAX:
        yield Problem(
            property="name",
            value=name,
            allowed=f"a lower-case letter, then lower-case letters, digits or dashes, {_NAME_MAX} characters at most",
            fix="ParallelCluster refuses other queue names (dots too: write g6e-4xl, not g6e.4xl)",
        )


def _shape_problems(types: Sequence[InstanceShape], gpus: int) -> Iterator[Problem]:
    for attribute, what in (("gpus", "GPU count"), ("vcpus", "vCPU count")):
        if len({getattr(shape, attribute) for shape in types}) > 1:
            listed = ", ".join(f"{shape.instance_type} has {getattr(shape, attribute)}" for shape in types)
            yield Problem(
                property="instance_types",
                value=listed,
                allowed=f"types of one {what}",
                fix="Slurm gives every node of a lane the same size: make a lane for each size",
            )
    if known(gpus) and any(shape.gpus != gpus for shape in types):
        listed = ", ".join(f"{shape.instance_type} has {shape.gpus}" for shape in types)
        yield Problem(
            property="gpus",
            value=gpus,
            allowed=f"the number of GPUs of the lane's types ({listed})",
            fix="Change gpus, or choose types with that many GPUs",
        )


def _capacity_problems(
    types: Sequence[InstanceShape], capacity: Capacity, reservation: str | None
) -> Iterator[Problem]:
    if capacity is Capacity.CAPACITY_BLOCK:
        unsold = [shape.instance_type for shape in types if not shape.capacity_block]
        if unsold:
            yield Problem(
                property="instance_types",
                value=", ".join(unsold),
                allowed="types that EC2 sells Capacity Blocks of (p4d, p5 and the like) with capacity: capacity-block",
            )
        if reservation is None:
            yield Problem(
                property="capacity_reservation_id",
                value=None,
                allowed="the Capacity Block's id, cr- and 17 hexadecimals",
            )
    if reservation is None or not known(reservation):
        return
    if not _RESERVATION.fullmatch(reservation):
        yield Problem(
            property="capacity_reservation_id", value=reservation, allowed="cr- and 17 hexadecimals, or nothing"
        )
    if capacity is Capacity.SPOT:
        yield Problem(
            property="capacity_reservation_id",
            value=reservation,
            allowed="nothing for a spot lane",
            fix="Spot nodes never come out of a reservation",
        )
    if len(types) > 1:
        yield Problem(
            property="instance_types",
            value=", ".join(shape.instance_type for shape in types),
            allowed="the one type that the reservation is for",
            fix="EC2 reserves capacity of one type; make a second lane for the others",
        )


def default_lanes() -> tuple[Lane, ...]:
    """The lanes of the reference system: cpu, gpu1, gpu4, gpu8 and live.

    68-80 % of the white paper's 8-GPU hours needed one GPU, so each stage gets a lane of the size it can use.
    G-family types pair by size (A10G, L40S: 24 and 48 GB of GPU memory, both enough for a box of 1126 px).
    """
    return (
        Lane(name="cpu", instance_types=("m6i.8xlarge", "m7i.8xlarge"), max_nodes=4),
        Lane(name="gpu1", instance_types=("g5.4xlarge", "g6e.4xlarge"), gpus=1, max_nodes=8),
        Lane(name="gpu4", instance_types=("g5.12xlarge", "g6e.12xlarge"), gpus=4, max_nodes=4),
        Lane(name="gpu8", instance_types=("g5.48xlarge", "g6e.48xlarge"), gpus=8, max_nodes=2),
        Lane(name="live", instance_types=("g5.12xlarge", "g6e.12xlarge"), gpus=4, max_nodes=1),
    )


def lane_set_problems(names: Sequence[str]) -> Iterator[Problem]:
    """What is wrong with lanes taken together."""
    for name in sorted({n for n in names if names.count(n) > 1}):
        yield Problem(
            property="lanes", value=name, allowed="every lane has a name of its own", fix="Rename one of them"
        )
    if not names:
        yield Problem(property="lanes", value=[], allowed="at least one lane")
