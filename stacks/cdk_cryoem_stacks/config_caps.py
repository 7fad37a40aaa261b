"""`caps` of `cryoem.yaml`: what a month, a project or a dataset may cost."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cdk_cryoem import Cap, Period

from .config_sections import Section


class CapConfig(Section):
    """What some jobs may cost together; rules: `caps_problems`."""

    name: str = Field(description="People read it in the queue: lower-case letters, digits, dashes")
    usd: float = Field(description="The limit in USD, above 0")
    projects: list[str] = Field(
        default_factory=list,
        description="Folders below /fsx/projects, * for any letters; that of a dataset has its name. Default: every job",
    )
    each: bool = Field(default=False, description="Every project that matches has this limit for itself")
    period: Literal["month", "always"] = Field(
        default="month", description="month: the calendar month, UTC; always: since ever"
    )
    hard: bool = Field(
        default=True, description="Jobs that could exceed it are held; else people are told, at 80 and 100 %"
    )

    def cap(self) -> Cap:
        """The value object that the constructs take."""
        return Cap(
            name=self.name,
            usd=self.usd,
            projects=self.projects,
            each=self.each,
            period=Period(self.period),
            hard=self.hard,
        )
