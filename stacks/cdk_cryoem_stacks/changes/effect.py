"""What a change does to the system that runs, from harmless to worst."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Effect(enum.StrEnum):
    """In order: each is worse than the one before. The text is what people read."""

    NOTHING = "no effect"
    """ParallelCluster does not see it by itself; it comes with the next change that it does see."""
    LIVE = "live"
    DRAINS = "live, drains"
    """Jobs that run end first; idle and emptied nodes of the lane are then replaced."""
    REMADE = "live, made anew"
    """CloudFormation makes another and deletes this one, which holds nothing."""
    LEAVES_BEHIND = "leaves behind"
    """Something stays in the account with its cost, and is no part of the system any more."""
    CUTS_OFF = "cuts off"
    """What the system reaches now, it reaches no more."""
    INTERRUPTS = "interrupts"
    """The head node of PCS is stopped and started."""
    REPLACES_NODES = "replaces nodes"
    """Nodes of a lane go although jobs may run on them."""
    STOPS_FLEET = "stops the fleet"
    """ParallelCluster refuses it while the compute fleet runs."""
    REPLACES_HEAD_NODE = "replaces the head node"
    REPLACES_CLUSTER = "replaces the cluster"
    """ParallelCluster refuses it altogether, or CloudFormation makes another cluster."""
    ENDS_PROTECTION = "ends protection"
    """Data that is kept now goes, or data that comes is not kept twice, or not as long."""
    REPLACES_STORAGE = "replaces storage"
    """A new, empty one takes the place of what holds data."""

    @property
    def rank(self) -> int:
        """Its place in the order."""
        return list(Effect).index(self)

    @property
    def needs_you(self) -> bool:
        """Whether a deployment with it wants a decision, or something done first."""
        return self.rank >= Effect.LEAVES_BEHIND.rank


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One property that differs.

    path: as ParallelCluster spells it, or logical id and property of a CloudFormation resource. old and new: None where
    there is nothing. setting: the property of cryoem.yaml that it comes from, where there is one.
    """

    path: str
    old: object
    new: object
    effect: Effect
    what_to_do: str = ""
    setting: str = ""
