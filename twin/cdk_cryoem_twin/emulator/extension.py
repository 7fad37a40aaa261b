"""The only module that touches ministack's internals, pinned to one version and held by a contract test.

Four things are needed: registering a CloudFormation type, registering a JSON service, reacting to an instance's power
state, and running SSM documents. Everything else in this package talks to the emulator through its public AWS API.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import queue
import sys
import threading
import types
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import quote

import botocore.session
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.validate import ParamValidator
from ministack import app as _app
from ministack.core import iam_actions as _iam_actions
from ministack.core import router as _router
from ministack.core.concurrency import run_reentrant
from ministack.core.responses import (
    get_account_id,
    get_region,
    set_request_account_id,
    set_request_region,
)
from ministack.services import ec2 as _ec2
from ministack.services import eventbridge as _eventbridge
from ministack.services import lambda_svc as _lambda
from ministack.services import s3 as _s3
from ministack.services import ssm as _ssm
from ministack.services.cloudformation import provisioners as _provisioners
from ministack.services.cloudformation import stacks as _stacks

Json = dict[str, Any]
log = logging.getLogger("twin")
Operation = Callable[[Json], Json | None]
account: Callable[[], str] = get_account_id
region: Callable[[], str] = get_region
strict: bool = bool(_app.AUTH)

_session = botocore.session.get_session()
_blocking_types: set[str] = set()
_loops: list[asyncio.AbstractEventLoop] = []
"""That of the server, once a service of ours has been called."""
_builtin_rule = _stacks._runs_on_worker_thread
_stacks._runs_on_worker_thread = lambda name: name in _blocking_types or _builtin_rule(name)


class ApiError(Exception):
    """An error that a service of ours answers with."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Resource(Protocol):
    """A CloudFormation type."""

    @property
    def replacing(self) -> Sequence[str]:
        """Properties whose change replaces the resource."""

    def create(self, logical_id: str, props: Json, stack: str) -> tuple[str, Json]:
        """Physical id and attributes."""

    def update(self, physical_id: str, before: Json, after: Json, stack: str) -> tuple[str, Json]:
        """Physical id and attributes."""

    def delete(self, physical_id: str, props: Json) -> None:
        """Gone afterwards, also when it was gone before."""


def client(service: str, *, credentials: Mapping[str, str] | None = None) -> Any:
    """A client of the emulator's own endpoint; as the deploying user unless credentials are given."""
    given = credentials or {"AccessKeyId": "test", "SecretAccessKey": "test"}
    return _session.create_client(
        service,
        region_name=get_region(),
        verify=not strict,
        endpoint_url=f"http{'s' if strict else ''}://127.0.0.1:{os.environ['GATEWAY_PORT']}",
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given.get("SessionToken"),
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
    )


def role_credentials(role_arn: str) -> dict[str, str]:
    """A session of a role, as AWS gives one to the service or instance the role is for."""
    key, secret, token = f"ASIA{uuid.uuid4().hex[:16].upper()}", uuid.uuid4().hex, uuid.uuid4().hex
    name = role_arn.rsplit("/", 1)[-1]
    from ministack.services import sts as _sts

    _sts.register_session(
        key,
        {
            "Arn": f"arn:aws:sts::{get_account_id()}:assumed-role/{name}/twin",
            "UserId": f"{name}:twin",
            "SecretAccessKey": secret,
            "SessionToken": token,
        },
    )
    return {"AccessKeyId": key, "SecretAccessKey": secret, "SessionToken": token}


async def _through_the_app(request: Json, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """One request as the server hands it on: routed, authorized and answered as any other, but not through a socket."""
    answer: Json = {"status": 500, "headers": {}, "body": b""}

    async def receive() -> Json:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Json) -> None:
        if message["type"] == "http.response.start":
            answer["status"] = message["status"]
            answer["headers"] = {name.decode().lower(): value.decode() for name, value in message.get("headers", [])}
        else:
            answer["body"] += message.get("body", b"")

    await _app.app(request, receive, send)
    return answer["status"], answer["headers"], answer["body"]


def put_object(
    credentials: Mapping[str, str], *, bucket: str, key: str, body: bytes, metadata: Mapping[str, str]
) -> tuple[str, str | None]:
    """PutObject under these credentials; returns ETag and version. Errors: OSError with the answer.

    A client would take longer to make the request than the emulator to work it off: of thousands of files that matters.
    """
    path, address = quote(f"/{bucket}/{key}", safe="/~"), f"127.0.0.1:{os.environ['GATEWAY_PORT']}"
    scheme = "https" if strict else "http"
    signed = AWSRequest(
        "PUT",
        f"{scheme}://{address}{path}",
        data=body,
        headers={"content-length": str(len(body)), **{f"x-amz-meta-{name}": text for name, text in metadata.items()}},
    )
    S3SigV4Auth(
        Credentials(credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials.get("SessionToken")),
        "s3",
        get_region(),
    ).add_auth(signed)
    headers = {"host": address, **{name.lower(): str(value) for name, value in signed.headers.items()}}
    request = {
        "type": "http",
        "http_version": "1.1",
        "method": "PUT",
        "scheme": scheme,
        "path": f"/{bucket}/{key}",
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", int(os.environ["GATEWAY_PORT"])),
    }
    status, answered, text = asyncio.run_coroutine_threadsafe(_through_the_app(request, body), _loops[-1]).result()
    if status != 200:
        raise OSError(f"PutObject {key}: {status} {text.decode(errors='replace')[:500]}")
    return answered["etag"], answered.get("x-amz-version-id")


def register_type(name: str, resource: Resource) -> None:
    """Make a CloudFormation type known. Errors: RuntimeError when the emulator has grown it."""
    if name in _provisioners._RESOURCE_HANDLERS:
        raise RuntimeError(f"the emulator provides {name} by now: remove ours")
    _provisioners._RESOURCE_HANDLERS[name] = {
        "create": resource.create,
        "update": resource.update,
        "delete": resource.delete,
    }
    if resource.replacing:
        _provisioners._REPLACING_PROPERTIES[name] = tuple(resource.replacing)
    _blocking_types.add(name)


def after_type(name: str, react: Callable[[str, Json], None]) -> None:
    """React once a type of the emulator's own was created or updated."""
    handlers = _provisioners._RESOURCE_HANDLERS[name]
    create, update = handlers["create"], handlers.get("update")

    def created(logical_id: str, props: Json, stack: str) -> Any:
        out = create(logical_id, props, stack)
        react(out[0], props)
        return out

    def updated(physical_id: str, before: Json, after: Json, *rest: Any) -> Any:
        out = update(physical_id, before, after, *rest)
        react(out[0], after)
        return out

    handlers["create"] = created
    if update:
        handlers["update"] = updated


def register_service(
    name: str, operations: Mapping[str, Operation], *, resource_of: Callable[[str, Json], str] = lambda op, args: "*"
) -> None:
    """Register a JSON-protocol service. Inputs are checked against botocore's model, callers against their policies."""
    model = _session.get_service_model(name)
    content_type = f"application/x-amz-json-{model.metadata.get('jsonVersion', '1.1')}"

    def fail(code: str, message: str) -> tuple[int, dict[str, str], bytes]:
        body = {"__type": code, "message": message, "Message": message}
        return 400, {"Content-Type": content_type, "x-amzn-errortype": code}, json.dumps(body).encode()

    async def handle_request(
        method: str, path: str, headers: Mapping[str, str], body: bytes, query: Mapping[str, Any]
    ) -> tuple[int, dict[str, str], bytes]:
        if not _loops:
            _loops.append(asyncio.get_running_loop())
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        act = operations.get(operation)
        if act is None:
            return fail("UnknownOperationException", f"{name}:{operation} is not in the twin")
        args: Json = json.loads(body or b"{}")
        denied = _app._enforce_data_plane(
            name, f"{name}:{operation}", headers, query, str(uuid.uuid4()), resource_arn=resource_of(operation, args)
        )
        if denied:
            return fail("AccessDeniedException", f"not authorized to perform {name}:{operation}")
        shape = model.operation_model(operation).input_shape
        if shape is not None:
            report = ParamValidator().validate(args, shape)
            if report.has_errors():
                return fail("ValidationException", report.generate_report())
        try:
            out = await run_reentrant(act, args)
        except ApiError as error:
            return fail(error.code, str(error))
        return 200, {"Content-Type": content_type}, json.dumps(out or {}, default=_plain).encode()

    module = types.ModuleType(f"ministack.services.{name}")
    module.handle_request = handle_request  # type: ignore[attr-defined]
    module.reset = lambda: None  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    _app.SERVICE_REGISTRY[name] = {"module": name}
    _app.SERVICE_HANDLERS[name] = handle_request
    _router.SERVICE_PATTERNS[name] = {"target_prefixes": [model.metadata["targetPrefix"]]}


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.timestamp()
    raise TypeError(f"not JSON: {value!r}")


def add_ssm_operations(operations: Mapping[str, Operation]) -> None:
    """Operations that the emulator's SSM lacks; and SendCommand is allowed or not by document and instance, as on AWS."""
    builtin, builtin_arn = _ssm.handle_request, _iam_actions.extract_resource_arn

    def arn(
        service: str, method: str, path: str, headers: Mapping[str, str], body: bytes, *rest: Any, **more: Any
    ) -> Any:
        if service == "ssm" and headers.get("x-amz-target", "").endswith(".SendCommand"):
            return f"arn:aws:ssm:{get_region()}:{get_account_id()}:document/{json.loads(body)['DocumentName']}"
        return builtin_arn(service, method, path, headers, body, *rest, **more)

    async def handle_request(
        method: str, path: str, headers: Mapping[str, str], body: bytes, query: Mapping[str, Any]
    ) -> Any:
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        if operation == "SendCommand":
            for instance_id in json.loads(body).get("InstanceIds", []):
                instance_arn = f"arn:aws:ec2:{get_region()}:{get_account_id()}:instance/{instance_id}"
                denied = _app._enforce_data_plane(
                    "ssm", "ssm:SendCommand", headers, query, str(uuid.uuid4()), resource_arn=instance_arn
                )
                if denied:
                    return denied
        act = operations.get(operation)
        if act is None:
            return await builtin(method, path, headers, body, query)
        try:
            out = act(json.loads(body or b"{}"))
        except ApiError as error:
            return _ssm.error_response_json(error.code, str(error), 400)
        return _ssm.json_response(out or {})

    _iam_actions.extract_resource_arn = arn
    _ssm.handle_request = handle_request


def run_commands(
    *,
    knows: Callable[[str], bool],
    check: Callable[[Json], str],
    argv: Callable[[Json], list[str]],
    reachable: Callable[[str], bool],
    execute: Callable[[str, list[str]], tuple[int, str, str]],
) -> None:
    """Let SendCommand run documents of ours: known, checked (a text says what is wrong), rendered, executed."""
    builtin_argv, builtin_send = _ssm._shell_argv, _ssm._send_command

    class Documents(set[str]):
        def __contains__(self, name: object) -> bool:
            return super().__contains__(name) or knows(str(name))

    def send(data: Json) -> Any:
        if knows(str(data.get("DocumentName"))):
            wrong = check(data)
            if wrong:
                return _ssm.error_response_json("InvalidParameters", wrong, 400)
        return builtin_send(data)

    _ssm._SHELL_DOCUMENTS = Documents(_ssm._SHELL_DOCUMENTS)
    _ssm._shell_argv = lambda data: argv(data) if knows(str(data.get("DocumentName"))) else builtin_argv(data)
    _ssm._send_command = send
    _ec2.instance_is_managed = reachable
    _ec2.exec_in_instance_blocking = execute


def instance(instance_id: str) -> Json:
    """The emulator's record of an instance; empty when there is none."""
    return dict(_ec2._instances.get(instance_id) or {})


def on_instance_power(react: Callable[[str, str], None]) -> None:
    """React to every start, stop and termination of an instance (instance id, verb), one after the other."""
    changes: queue.Queue[Callable[[], None]] = queue.Queue()

    def work() -> None:
        while True:
            try:
                changes.get()()
            except Exception:
                # The next change must still be acted on.
                log.exception("a change of power state failed")

    threading.Thread(target=work, daemon=True, name="instance-power").start()
    for verb, operation in (
        ("start", "StartInstances"),
        ("stop", "StopInstances"),
        ("terminate", "TerminateInstances"),
    ):
        builtin = _ec2._ACTION_MAP[operation]

        def acted(params: Json, builtin: Any = builtin, verb: str = verb) -> Any:
            out = builtin(params)
            if out[0] == 200:
                for instance_id in _ec2._parse_member_list(params, "InstanceId"):
                    changes.put(functools.partial(in_this_context(react), instance_id, verb))
            return out

        _ec2._ACTION_MAP[operation] = acted


def _in_context(context: tuple[str, str], act: Callable[..., None], *args: object) -> None:
    set_request_account_id(context[0])
    set_request_region(context[1])
    act(*args)


def in_this_context(act: Callable[..., None]) -> Callable[..., None]:
    """The same function, for another thread, in the account and region of this one."""
    context = (get_account_id(), get_region())
    return lambda *args: _in_context(context, act, *args)


def emit(source: str, detail_type: str, detail: Json, resources: Sequence[str] = ()) -> None:
    """An event of an AWS service, on the default bus."""
    _eventbridge._dispatch_event(
        {
            "EventId": str(uuid.uuid4()),
            "Source": source,
            "DetailType": detail_type,
            "Detail": json.dumps(detail),
            "EventBusName": "default",
            "Time": datetime.now(UTC).timestamp(),
            "Resources": list(resources),
            "Account": get_account_id(),
            "Region": get_region(),
        }
    )


def on_universal_target(service: str, operation: str, act: Callable[[Json, str], None]) -> None:
    """Let EventBridge Scheduler call an operation as its universal targets do: act(input, ARN of the schedule's role)."""
    builtin, ending = _eventbridge._invoke_target, f":aws-sdk:{service}:{operation}"

    def invoke(target: Json, *rest: Any) -> Any:
        if not str(target.get("Arn", "")).endswith(ending):
            return builtin(target, *rest)
        given = (json.loads(target.get("Input") or "{}"), str(target["RoleArn"]))
        # The ticker of the schedules must not wait for an answer of its own server.
        threading.Thread(target=in_this_context(act), args=given, daemon=True, name=operation).start()
        return None

    _eventbridge._invoke_target = invoke


def mend() -> None:
    """What ministack 1.5.33 drops although it matters here."""

    def bucket_tags(name: str, props: Json) -> None:
        if props.get("Tags"):
            _s3._bucket_tags[name] = {tag["Key"]: tag["Value"] for tag in props["Tags"]}

    after_type("AWS::S3::Bucket", bucket_tags)

    parameter = _provisioners._RESOURCE_HANDLERS["AWS::SSM::Parameter"]
    create_parameter = parameter["create"]

    def parameter_named(logical_id: str, props: Json, stack: str) -> Any:
        # CloudFormation generates names without a slash, and ARNs in policies are made accordingly.
        name = props.get("Name") or f"CFN-{logical_id}-{uuid.uuid4().hex[:12]}"
        return create_parameter(logical_id, {**props, "Name": name}, stack)

    parameter["create"] = parameter_named

    secret = _provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"]
    create_secret = secret["create"]

    def secret_with_arn(logical_id: str, props: Json, stack: str) -> Any:
        # Ref of a secret is its ARN; policies are made with it.
        _, attributes = create_secret(logical_id, props, stack)
        return attributes["Arn"], attributes

    secret["create"] = secret_with_arn

    alarm = _provisioners._RESOURCE_HANDLERS["AWS::CloudWatch::Alarm"]
    create_alarm, update_alarm = alarm["create"], alarm["update"]

    def known_metric(builtin: Any, props: Json, *, name: str, rest: Sequence[Any]) -> Any:
        # An alarm on an expression over metrics is kept by name only: nothing here would evaluate it.
        if "Metrics" in props:
            return name, {"Arn": f"arn:aws:cloudwatch:{get_region()}:{get_account_id()}:alarm:{name}"}
        return builtin(*rest)

    def alarm_made(logical_id: str, props: Json, stack: str) -> Any:
        name = f"{stack}-{logical_id}-{uuid.uuid4().hex[:12]}"
        return known_metric(create_alarm, props, name=name, rest=(logical_id, props, stack))

    def alarm_changed(physical_id: str, *rest: Any) -> Any:
        return known_metric(update_alarm, rest[1], name=physical_id, rest=(physical_id, *rest))

    alarm["create"] = alarm_made
    alarm["update"] = alarm_changed

    def to_lambda(arn: str, payload: str) -> None:
        # As on AWS: an asynchronous invocation, with its retries and dead-letter queue.
        function, config, _ = _lambda._get_func_record_for_ref(arn)
        if function and config:
            _lambda.invoke_async_with_retry(_lambda._execution_record_for_config(function, config), json.loads(payload))

    _eventbridge._dispatch_to_lambda = to_lambda


def after_each_call(react: Callable[[str, str], Awaitable[None]]) -> None:
    """Await react(service, operation) when a call has had its effect, before it is answered."""

    def around(service: str, builtin: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def handle_request(method: str, path: str, headers: Mapping[str, str], *rest: Any) -> Any:
            answer = await builtin(method, path, headers, *rest)
            await react(service, headers.get("x-amz-target", "").rpartition(".")[2])
            return answer

        return handle_request

    for service, builtin in list(_app.SERVICE_HANDLERS.items()):
        _app.SERVICE_HANDLERS[service] = around(service, builtin)


def serve() -> None:
    """Run the emulator until it is told to stop."""
    from ministack.app import main

    main()
