"""Four source roots without `__init__.py`; `constructs` stays PyPI's."""

from __future__ import annotations

from pathlib import Path

import constructs
import pytest

import cdk_cryoem
import cdk_cryoem_stacks

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "constructs": "cdk_cryoem",
    "stacks": "cdk_cryoem_stacks",
    "lambda": "cdk_cryoem_lambda",
    "twin": "cdk_cryoem_twin",
}


@pytest.mark.parametrize("root", PACKAGES)
def test_a_source_root_is_no_package_and_holds_one(root: str) -> None:
    assert not (ROOT / root / "__init__.py").exists()
    packages = sorted(path.parent.name for path in (ROOT / root).glob("*/__init__.py"))
    assert packages == [PACKAGES[root]]


@pytest.mark.parametrize("package", ["constructs/cdk_cryoem", "stacks/cdk_cryoem_stacks"])
def test_what_users_import_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_constructs_is_pypis() -> None:
    assert "site-packages" in str(constructs.__file__)
    assert constructs.Construct is not None
    assert not Path(str(constructs.__file__)).is_relative_to(ROOT / "constructs")


def test_the_library_under_test_is_this_checkout() -> None:
    assert Path(str(cdk_cryoem.__file__)).parent == ROOT / "constructs" / "cdk_cryoem"
    assert Path(str(cdk_cryoem_stacks.__file__)).parent == ROOT / "stacks" / "cdk_cryoem_stacks"


def test_tests_are_no_packages() -> None:
    assert [str(path) for path in (ROOT / "tests").rglob("__init__.py") if "fixtures" not in path.parts] == []


def test_the_handlers_need_nothing_but_the_standard_library_and_boto3() -> None:
    assert not list((ROOT / "lambda").glob("**/requirements*.txt"))
    assert not (ROOT / "lambda" / "pyproject.toml").exists()
