"""The app: one configuration file in, five stacks out, checked by cdk-nag and rules of our own."""

from __future__ import annotations

from pathlib import Path

from aws_cdk import Annotations, App, Environment, Tags, Validations
from aws_cdk import aws_iam as iam
from cdk_nag import AwsSolutionsChecks

from cdk_cryoem.checks import CryoEmChecks
from cdk_cryoem.problems import require

from .acknowledgements import acknowledge, acknowledge_deletion, acknowledge_everywhere
from .cluster import ClusterStack
from .config import Config
from .deletion import Keys
from .flags import DELETE_CONTEXT, FLAGS, SERVICE_TOKEN_CONTEXT
from .hooks import HooksStack
from .ingest import IngestStack
from .network import NetworkStack
from .storage import StorageStack
from .system import Stacks


def make_app(*, outdir: str | None = None) -> App:
    """An app with the project's flags; what cdk.json or -c says goes before them."""
    return App(context=dict(FLAGS), analytics_reporting=False, outdir=outdir)


def build(app: App, config: Config, *, config_folder: Path) -> Stacks:
    """Put the five stacks into the app, with cdk-nag's AwsSolutions checks and our own on all of them.

    Errors: CryoEmError when the second key to delete data (`-c cryoem:delete=NAME`) fits nothing.
    """
    env = Environment(account=config.account, region=config.region)
    name = config.name
    token = app.node.try_get_context(SERVICE_TOKEN_CONTEXT)

    asked = app.node.try_get_context(DELETE_CONTEXT)
    keys = Keys(system=name, allowed=config.deletion.allowed, given=None if asked is None else str(asked))
    require(name, keys.problems())

    network = NetworkStack(app, f"{name}-network", config=config.network, env=env)
    storage = StorageStack(
        app,
        f"{name}-storage",
        config=config,
        vpc=network.vpc,
        subnet=network.subnet,
        deletable=keys.deletable,
        env=env,
    )
    warning = keys.warning()
    if warning is not None:
        Annotations.of(storage).add_warning_v2(DELETE_CONTEXT, warning)
    ingest = IngestStack(app, f"{name}-ingest", config=config, landing_zone=storage.landing_zone, env=env)
    cluster = ClusterStack(
        app,
        f"{name}-cluster",
        config=config,
        config_folder=config_folder,
        vpc=network.vpc,
        subnet=network.subnet,
        file_system=storage.file_system,
        results_bucket=storage.landing_zone.results_bucket,
        records=storage.records.table,
        provider_service_token=token if isinstance(token, str) else None,
        web_subnets=network.subnets_for_a_load_balancer(public=config.web.internet_facing) if config.web else (),
        env=env,
    )
    hooks = HooksStack(
        app,
        f"{name}-hooks",
        config=config,
        engine=cluster.engine,
        landing_bucket=storage.landing_zone.landing_bucket,
        file_system=storage.file_system,
        ingest_task_arns=[ingest.task_arn for ingest in ingest.microscopes.values()],
        records=storage.records.table,
        env=env,
    )
    if storage.landing_zone.second_copy is not None:
        storage.landing_zone.alarm_on_failed_copies(hooks.hooks.alarm_topic, scope=hooks)
    for microscope in ingest.microscopes.values():
        microscope.alarm_through(hooks.hooks.alarm_topic, scope=hooks)
    hooks.show(config=config, engine=cluster.engine, file_system=storage.file_system, microscopes=ingest.microscopes)
    for number, said in enumerate(config.price_warnings()):
        Annotations.of(cluster).add_warning_v2(f"cdk-cryoem:prices{number}", said)
    # The file system's associations and the cluster use it without naming it.
    cluster.add_stack_dependency(storage)
    for key, value in {"cryoem:system": name, **config.tags}.items():
        Tags.of(app).add(key, value)
    if config.permissions_boundary_arn is not None:
        boundary = iam.ManagedPolicy.from_managed_policy_arn(network, "Boundary", config.permissions_boundary_arn)
        iam.PermissionsBoundary.of(app).apply(boundary)
    stacks = Stacks(network=network, storage=storage, ingest=ingest, cluster=cluster, hooks=hooks)
    acknowledge(stacks)
    acknowledge_everywhere(app)
    if keys.deletable:
        acknowledge_deletion(storage)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app), CryoEmChecks(app))
    return stacks
