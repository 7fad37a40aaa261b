"""Rules of the cache: FSx for Lustre file systems and their data repository associations."""

from __future__ import annotations

from collections.abc import Iterator

from ..lustre_rules import capacity_problems
from .buckets import bucket_behind, imports, landing_buckets
from .rule import Finding, Rule
from .templates import Resource, Templates, number, settled

_PERSISTENT = ("PERSISTENT_1", "PERSISTENT_2")
_OF_THE_OLD_KIND = ("ImportPath", "ExportPath", "ImportedFileChunkSize", "AutoImportPolicy")
# By TiB and MB/s (FSx API reference, StorageCapacity): what is not here has no steps that are known.
_HDD_STEPS_GIB = {12: 6000, 40: 1800}


def lustre(templates: Templates) -> Iterator[Resource]:
    """The Lustre file systems of the app."""
    return (each for each in templates.of("AWS::FSx::FileSystem") if each.get("FileSystemType") == "LUSTRE")


def _deployment_type(file_system: Resource) -> str | None:
    """SCRATCH_1 is what FSx takes when nothing is said (FSx API reference, CreateFileSystemLustreConfiguration)."""
    path = ("LustreConfiguration", "DeploymentType")
    if file_system.undecided(*path):
        return None
    given = file_system.get(*path)
    return given if isinstance(given, str) else "SCRATCH_1"


def _exports_deletions(templates: Templates, *, landing: bool) -> Iterator[Finding]:
    buckets = landing_buckets(templates)
    for association in templates.of("AWS::FSx::DataRepositoryAssociation"):
        if "DELETED" in association.every("S3", "AutoExportPolicy", "Events"):
            lands_there = imports(association) or bucket_behind(templates, association) in buckets
            if lands_there is landing:
                yield Finding(association, "Properties.S3.AutoExportPolicy.Events")


def _imports_deletions(templates: Templates) -> Iterator[Finding]:
    for association in templates.of("AWS::FSx::DataRepositoryAssociation"):
        if "DELETED" in association.every("S3", "AutoImportPolicy", "Events"):
            yield Finding(association, "Properties.S3.AutoImportPolicy.Events")
    for file_system in lustre(templates):
        if file_system.get("LustreConfiguration", "AutoImportPolicy") == "NEW_CHANGED_DELETED":
            yield Finding(file_system, "Properties.LustreConfiguration.AutoImportPolicy")


def _not_retained(templates: Templates) -> Iterator[Finding]:
    return (Finding(each, "DeletionPolicy") for each in lustre(templates) if not each.is_retained)


def _without_own_key(templates: Templates) -> Iterator[Finding]:
    for file_system in lustre(templates):
        # Scratch file systems take no key (FSx API reference, KmsKeyId).
        if _deployment_type(file_system) in _PERSISTENT and file_system.get("KmsKeyId") in (None, ""):
            yield Finding(file_system, "Properties.KmsKeyId")


def _of_the_old_kind(templates: Templates) -> Iterator[Finding]:
    for file_system in lustre(templates):
        if _deployment_type(file_system) == "PERSISTENT_2":
            for name in _OF_THE_OLD_KIND:
                value = file_system.get("LustreConfiguration", name)
                if settled(value) and value != "NONE":
                    yield Finding(file_system, f"Properties.LustreConfiguration.{name}")


def _illegal_capacity(templates: Templates) -> Iterator[Finding]:
    for file_system in lustre(templates):
        capacity, kind = number(file_system.get("StorageCapacity")), _deployment_type(file_system)
        if capacity is not None and kind is not None and not _legal(file_system, capacity, kind):
            yield Finding(file_system, "Properties.StorageCapacity")


def _legal(file_system: Resource, capacity: float, kind: str) -> bool:
    if file_system.undecided("StorageType") or capacity % 1:
        return not capacity % 1
    storage = file_system.get("StorageType") or "SSD"
    if storage == "SSD":
        if kind == "SCRATCH_1":
            return capacity in (1200, 2400) or (capacity > 0 and capacity % 3600 == 0)
        return not list(capacity_problems(int(capacity)))
    if storage == "HDD":
        step = _HDD_STEPS_GIB.get(int(number(file_system.get("LustreConfiguration", "PerUnitStorageThroughput")) or 0))
        return step is None or (capacity > 0 and capacity % step == 0)
    return True


FILE_SYSTEM_RULES = (
    Rule(
        name="AssociationDeletesNoMovies",
        info="An rm on the file system deletes movies in S3.",
        explanation="The association exports DELETED to a bucket that data lands in. Take DELETED out of AutoExportPolicy; "
        "better, export nothing from a path that shows movies.",
        find=lambda templates: _exports_deletions(templates, landing=True),
    ),
    Rule(
        name="AssociationDeletesNoResults",
        info="An rm on the file system deletes results in S3.",
        explanation="The file system is a cache, and people tidy caches. Take DELETED out of AutoExportPolicy.",
        find=lambda templates: _exports_deletions(templates, landing=False),
    ),
    Rule(
        name="AssociationImportsNoDeletions",
        info="What is deleted in S3 disappears under running jobs, exported or not.",
        explanation="A deletion in S3, also one by mistake, would take the copy on the file system with it. Take DELETED out "
        "of AutoImportPolicy.",
        find=_imports_deletions,
    ),
    Rule(
        name="FileSystemRetained",
        info="The Lustre file system goes with its stack, with everything on it that is not in S3.",
        explanation="Set DeletionPolicy and UpdateReplacePolicy to Retain (removal_policy=RemovalPolicy.RETAIN).",
        find=_not_retained,
    ),
    Rule(
        name="FileSystemOwnKey",
        info="The Lustre file system has no key of its owner's.",
        explanation="With AWS's own key nobody can say who may read, or take the right away. Set KmsKeyId. It can only be "
        "set when a file system is made.",
        find=_without_own_key,
    ),
    Rule(
        name="FileSystemNoImportPath",
        info="PERSISTENT_2 has no import path: FSx refuses it, or it does nothing.",
        explanation="ImportPath, ExportPath, ImportedFileChunkSize and AutoImportPolicy belong to older file systems. Make "
        "AWS::FSx::DataRepositoryAssociation instead.",
        find=_of_the_old_kind,
    ),
    Rule(
        name="FileSystemCapacity",
        info="FSx makes no Lustre file system of this capacity.",
        explanation="SSD: 1200, 2400, or a multiple of 2400 GiB (SCRATCH_1: of 3600). HDD: a multiple of 6000 GiB at 12, "
        "of 1800 at 40 MB/s per TiB.",
        find=_illegal_capacity,
    ),
)
