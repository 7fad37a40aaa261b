"""Which files of a microscope's share are not copied, for who compares the share itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .ask import Failed


def of(microscopes: Mapping[str, tuple[str, ...]] | None, name: str | None) -> Callable[[str], bool]:
    """Whether a file is left out, by its path from the share's folder on, with a slash before it.

    microscopes: exclude patterns by name; None when no file was read: then what is copied from no share at all is left out.
    name: whose share it is; without it a file is left out when the patterns of every microscope say so. Errors: Failed for
    a name that is none.
    """
    # Imported here: it brings the CDK with it, which takes seconds.
    from cdk_cryoem.ingest_patterns import NEVER_COPIED, matches

    known = microscopes or {}
    if name is not None and name not in known:
        there = ", ".join(sorted(known)) or "none: no configuration file was read, or it has none"
        raise Failed(f"--microscope: got {name}, allowed: {there}")
    chosen = [known[name]] if name is not None else [*known.values()] or [NEVER_COPIED]
    return lambda path: all(any(matches(path, pattern) for pattern in patterns) for patterns in chosen)
