"""What a step takes and costs on a node. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cdk_cryoem import InstanceShape
from cdk_cryoem.stages import stages

from .calibration import Step, speed
from .work import Range, Work

BILLED_MINUTES = 15.0
"""Boot, waiting for the next job and shutdown that each step's node is billed for: an assumption. docs/waiting.md simulates it."""
WAITED_MINUTES = 5.0
"""Of these, until the node is there: the median boot of docs/waiting.md, an assumption."""
METAL_MINUTES = 10.0
"""How much longer a bare-metal node (g4dn.metal) boots, billed and waited for: an assumption."""
_SCHEDULABLE = 0.95
_BOX_OF_GPU_MEMORY = {4: 682, 8: 872, 11: 976, 16: 1110, 24: 1126}
"""The largest box of cryoSPARC by GPU memory in GB: its guide; above 24 GB it does not grow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overheads:
    """Minutes of each step beside its work: that its node is billed for, and that somebody waits."""

    billed: float = BILLED_MINUTES
    waited: float = WAITED_MINUTES


NO_OVERHEADS = Overheads(billed=0.0, waited=0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A node that steps may run on: its lane, its shape, what an hour of it costs, and where that price is from."""

    lane: str
    shape: InstanceShape
    usd_per_hour: float
    price: str
    spot: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """A step on a node. hours: until it is done, boot and work; usd: its node, with boot and idle time."""

    work: Work
    node: Node
    hours: Range
    usd: Range


def place(work: Work, node: Node, overheads: Overheads) -> Placed:
    """A step on a node. Errors: LookupError for a GPU whose speed nobody knows."""
    minutes = _minutes(work, node.shape)
    slow = METAL_MINUTES if is_metal(node.shape) and overheads.billed else 0.0
    return Placed(
        work=work,
        node=node,
        hours=(minutes + Range.of(overheads.waited + slow)) * (1 / 60),
        usd=(minutes + Range.of(overheads.billed + slow)) * (node.usd_per_hour / 60),
    )


def is_metal(shape: InstanceShape) -> bool:
    """Whether it is a whole machine, which boots more slowly."""
    return shape.instance_type.endswith(".metal")


def place_all(works: Sequence[Work], node: Node, overheads: Overheads) -> Sequence[Placed]:
    """Steps on one kind of node."""
    return [place(work, node, overheads) for work in works]


def _minutes(work: Work, shape: InstanceShape) -> Range:
    # More GPUs than a step uses stand idle. Fewer share its work, each as fast as before: an assumption.
    shared = max(1.0, work.step.gpus / shape.gpus)
    if shape.gpu_model == work.gpu_model:
        return work.minutes * shared
    before, now = speed(work.gpu_model), speed(shape.gpu_model)
    return Range(
        low=work.minutes.low * shared * before.low / now.high,
        likely=work.minutes.likely * shared * before.likely / now.likely,
        high=work.minutes.high * shared * before.high / now.low,
    )


def splits(step: Step) -> bool:
    """Whether a step goes movie by movie, so that it can do with fewer GPUs in proportionally more time."""
    return step.law in ("gb", "movies") and step.gpus > 1


def fits(step: Step, shape: InstanceShape, *, box: int) -> bool:
    """Whether a node can run a step: GPUs, their memory for the box, vCPUs and memory.

    Memory as the job declares it. What a lane asks of Slurm beside that (`memory_multiplier`) is as much as the node has.
    """
    if not shape.gpus:
        return False
    used = min(step.gpus, shape.gpus)
    memory = step.memory_gib * stages()[step.stage].memory * used
    return (
        (shape.gpus >= step.gpus or splits(step))
        and shape.vcpus >= step.vcpus * used
        and shape.memory_gib * _SCHEDULABLE >= memory
        and box <= largest_box(shape.gpu_memory_gib)
    )


def largest_box(gpu_memory_gib: int) -> int:
    """The edge in pixels of the largest particle images that a GPU of so much memory can refine."""
    return max((box for gib, box in _BOX_OF_GPU_MEMORY.items() if gib <= gpu_memory_gib), default=0)
