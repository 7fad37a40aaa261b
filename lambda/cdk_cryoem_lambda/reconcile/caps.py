"""Caps: people are told once when much of one, or all of it, is spent."""

from __future__ import annotations

from ..caps import spent
from ..events_out import SpendCapReached
from ..hints import log
from ..meter import ALWAYS, MICRO, month_of
from ..world import World


def reconcile(w: World, *, now: float) -> None:
    """Compare what was spent with each cap of the manifest. A limit that is raised may be reached again."""
    caps = w.caps()
    if not caps:
        return
    month = month_of(now)
    totals = {item["sk"]: int(item["usd_micro"]) for part in (month, ALWAYS) for item in w.records.spends(part)}
    raised = {item["sk"]: int(item["usd_micro"]) for item in w.records.known("cap") if item["until"] > now}
    for each in spent(caps, totals, raised=raised, month=month):
        level = each.level
        if level == 0:
            continue
        told = SpendCapReached(
            cap=each.cap.name,
            project=each.project,
            period=each.period,
            percent=level,
            limit_usd=each.limit / MICRO,
            spent_usd=each.micro_usd / MICRO,
            hard=each.cap.hard,
        )
        fields = {"cap": each.cap.name, "percent": level, "spent_usd": told.spent_usd}
        name = f"{each.period}#{each.limit}#{level}#{each.scope}"
        if w.records.note_once("cap-told", name, fields=fields, events=[told]):
            log.warning("cap %s: %.2f of %.2f USD are spent", each.scope, told.spent_usd, told.limit_usd)
