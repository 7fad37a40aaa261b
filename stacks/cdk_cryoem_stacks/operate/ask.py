"""Questions to AWS, and what to say when it does not answer."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from botocore import exceptions as botocore

POLICY = "docs/iam.md, 'Operators'"
"""Where the policy is that these commands need."""
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"}
_LOG_IN = {
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_T = TypeVar("_T")


class Failed(Exception):
    """It was not done. The text says why, and what mends it."""


def ask(action: str, call: Callable[[], _T]) -> _T:
    """AWS's answer. `action` is the IAM action that the call needs. Errors: Failed."""
    answer = find(action, call, unless=())
    assert answer is not None, "a call that may be refused asks by find()"
    return answer


def find(action: str, call: Callable[[], _T], *, unless: Collection[str]) -> _T | None:
    """AWS's answer, or None when it is one of the error codes in `unless`. Errors: Failed."""
    try:
        return call()
    except botocore.ClientError as problem:
        said = problem.response.get("Error", {})
        code, message = said.get("Code", ""), said.get("Message", "")
        if code in unless:
            return None
        if code in _DENIED:
            raise Failed(f"these credentials may not {action}: allow it; {POLICY}, has the whole policy") from problem
        if code in _LOG_IN:
            raise Failed(f"AWS does not take these credentials ({code}: {message}): log in again") from problem
        raise Failed(f"{action} was answered with {code}: {message}") from problem
    except (botocore.ConnectionError, botocore.HTTPClientError) as problem:
        raise Failed(f"{action} had no answer: {problem}. Look at network and proxy, try again") from problem
    except botocore.BotoCoreError as problem:
        raise Failed(f"{action} was not asked: {problem}. `aws configure list` shows the credentials") from problem
