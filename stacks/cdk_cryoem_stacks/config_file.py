"""Reads `cryoem.yaml` and reports everything that is wrong with it, each with its line."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from cdk_cryoem import Problem
from cdk_cryoem.head_node_programs import SHIPPED_RECIPES

from .config import Config
from .prices import PriceFileError, PriceTable
from .prices import load as load_prices
from .prices.lanes import problem_of

_KINDS = {
    "int_type": "a whole number without a unit",
    "float_type": "a number without a unit",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "model_type": "properties, one a line",
    "missing": "a value: it has no default",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong: where, and what."""

    file: str
    line: int
    problem: Problem

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.problem}"


class ConfigError(Exception):
    """Everything that is wrong with a configuration file."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(str(finding) for finding in findings))


def load(path: Path, *, with_prices: bool = True) -> Config:
    """The configuration in a file, with the prices of the file it names. Errors: ConfigError with every finding."""
    document = _document(path)
    findings = list(_same_names(document, str(path)))
    values = _plain(document)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        findings += [found for found in _findings(error, document, str(path)) if found not in findings]
        # An unknown key keeps pydantic from looking at its section's rules: look again without it.
        try:
            Config.model_validate(_without_unknown_keys(values, error))
        except ValidationError as again:
            findings += [found for found in _findings(again, document, str(path)) if found not in findings]
    else:
        recipes = path.parent / config.processing.recipes if config.processing else None
        if recipes is not None:
            findings += [
                Finding(file=str(path), line=_line(document, ("processing", prop)), problem=problem.under("processing"))
                for prop, problem in _recipe_problems(recipes, config)
            ]
        if config.prices is not None and with_prices:
            try:
                config = config.with_prices(_prices(path.parent / config.prices))
            except PriceFileError as error:
                findings += [
                    Finding(file=fault.file, line=fault.line, problem=problem_of(fault)) for fault in error.faults
                ]
            except FileNotFoundError as error:
                problem = Problem(
                    property="prices",
                    value=config.prices,
                    allowed=f"a file beside this one ({error} is none)",
                    fix="`cryoem prices refresh --output FILE` writes one",
                )
                findings.append(Finding(file=str(path), line=_line(document, ("prices",)), problem=problem))
        if not findings:
            return config
    raise ConfigError(sorted(findings, key=lambda finding: finding.line))


def schema() -> str:
    """The JSON Schema of `cryoem.yaml`, from which editors complete it."""
    document = Config.model_json_schema()
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **document}, indent=2) + "\n"


def _document(path: Path) -> CommentedMap:
    def fail(line: int, value: object, allowed: str, fix: str = "") -> ConfigError:
        problem = Problem(property=path.name, value=value, allowed=allowed, fix=fix)
        return ConfigError([Finding(file=str(path), line=line, problem=problem)])

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise fail(
            1, str(error), "a readable YAML file", "Name one with CRYOEM_CONFIG, or start from cryoem.yaml"
        ) from error
    try:
        document = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise fail((mark.line + 1) if mark else 1, error.problem or str(error), "YAML") from error
    except YAMLError as error:
        raise fail(1, " ".join(str(error).split()), "YAML") from error
    if document is None:
        raise fail(1, "an empty file", "at least a name", "Write 'name: cryoem' for the default system")
    if not isinstance(document, CommentedMap):
        got = "a list" if isinstance(document, list) else document
        raise fail(1, got, "properties, one a line, beginning with 'name: ...'")
    return document


def _plain(node: object) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _without_unknown_keys(values: Any, error: ValidationError) -> Any:
    for detail in error.errors(include_url=False):
        if detail["type"] == "extra_forbidden":
            section = values
            for part in detail["loc"][:-1]:
                section = section[part]
            section.pop(detail["loc"][-1], None)
    return values


def _same_names(document: CommentedMap, file: str) -> Iterator[Finding]:
    # Names of microscopes become names of outputs, which have no dashes.
    for section, noun, dash in (("lanes", "lane", "-"), ("microscopes", "microscope", "")):
        items = document.get(section)
        seen: set[str] = set()
        for index, item in enumerate(items if isinstance(items, list) else ()):
            name = item.get("name") if isinstance(item, Mapping) else None
            if not isinstance(name, str):
                continue
            plain = name.replace("-", dash)
            if plain in seen:
                problem = Problem(
                    property=f"{section}[{index}].name",
                    value=name,
                    allowed=f"every {noun} has a name of its own" + ("" if dash else " (dashes do not count)"),
                    fix="Rename one of them",
                )
                yield Finding(file=file, line=_line(document, (section, index, "name")), problem=problem)
            seen.add(plain)


def _prices(path: Path) -> PriceTable:
    if not path.is_file():
        raise FileNotFoundError(path)
    return load_prices(path)


def _recipe_problems(folder: Path, config: Config) -> Iterator[tuple[str, Problem]]:
    assert config.processing is not None
    recipe = config.processing.on_landed
    if not folder.is_dir():
        yield (
            "recipes",
            Problem(property="recipes", value=config.processing.recipes, allowed=f"a folder ({folder} is none)"),
        )
    elif recipe and recipe not in SHIPPED_RECIPES and not (folder / recipe).is_file():
        found = ", ".join(sorted(p.name for p in folder.iterdir() if p.is_file())) or "none"
        allowed = f"a recipe: {found}; or one that every head node has: {', '.join(SHIPPED_RECIPES)}"
        yield "on_landed", Problem(property="on_landed", value=recipe, allowed=allowed)


def _findings(error: ValidationError, document: CommentedMap, file: str) -> Iterator[Finding]:
    for detail in error.errors(include_url=False):
        where = detail["loc"]
        context = detail.get("ctx", {})
        if detail["type"] == "problems":
            for problem in context["problems"]:
                inner = (*where, *_parts(problem.property))
                yield Finding(file=file, line=_line(document, inner), problem=_placed(problem, where))
            continue
        if detail["type"] == "extra_forbidden":
            problem = _unknown_key(str(where[-1]), detail["input"], where)
        else:
            allowed = _KINDS.get(
                detail["type"], detail["msg"].removeprefix("Input should be ").removeprefix("String should ")
            )
            value = "nothing" if detail["type"] == "missing" else detail["input"]
            problem = Problem(property=_path(where), value=value, allowed=allowed)
        yield Finding(file=file, line=_line(document, where), problem=problem)


def _placed(problem: Problem, where: Sequence[int | str]) -> Problem:
    return problem.under(_path(where)) if where else problem


def _unknown_key(key: str, value: object, where: Sequence[int | str]) -> Problem:
    model: type[BaseModel] | None = _model_at(where[:-1])
    allowed = sorted(model.model_fields) if model else []
    near = difflib.get_close_matches(key, allowed, n=1, cutoff=0.5)
    return Problem(
        property=_path(where),
        value=value,
        allowed=", ".join(allowed) or "nothing here",
        fix=f"Did you mean {near[0]}?" if near else "Remove it",
    )


def _model_at(where: Sequence[int | str]) -> type[BaseModel] | None:
    model: Any = Config
    for part in where:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        if field is None:
            return None
        model = _model_in(field.annotation)
        if model is None:
            return None
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found is not None:
            return found
    return None


def _path(where: Sequence[int | str]) -> str:
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _parts(path: str) -> list[int | str]:
    """Undo `_path`. A key with dots, as tags may have, comes apart; `_line` puts it together again."""
    return [int(part[1:-1]) if part.startswith("[") else part for part in re.findall(r"\[\d+\]|[^.\[]+", path)]


def _line(document: CommentedMap, where: Sequence[int | str]) -> int:
    """The line of the innermost part of a path that is in the file."""
    node: object = document
    line = 1
    for number, part in enumerate(where):
        if isinstance(node, CommentedMap):
            rest = [str(other) for other in where[number:]]
            joined = (".".join(rest[:end]) for end in range(len(rest), 0, -1))
            key = next((key for key in joined if key in node), None)
            if key is None:
                break
            line = node.lc.key(key)[0] + 1
            node = node[key]
        elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
            line = node.lc.item(part)[0] + 1
            node = node[part]
        else:
            break
    return line
