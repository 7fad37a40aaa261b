"""What a recipe is told of a dataset: how it is called, and RECIPE.json, for the site and, where it differs, for one dataset.

Read in this order, a later one changing single values of the earlier: the folder of the user's recipes, the dataset's own
folder, the dataset's project folder. Whatever is wrong is reported at once, and refused.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, Sequence

from .outcome import Mask, Refused, end

NUMBER = (int, float)


def run(recipe: str, description: str | None, work: Callable[[Path, Path, Mask], Dict[str, Any]]) -> None:
    """What every recipe's program does: it is called with the dataset's folder and the project's, and prints one document."""
    parser = argparse.ArgumentParser(
        prog=recipe, description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("dataset_dir", type=Path)
    parser.add_argument("project_dir", type=Path)
    arguments = parser.parse_args()
    mask = Mask()
    end(recipe, lambda: work(arguments.dataset_dir, arguments.project_dir, mask), mask)


def places(recipe: str, *, home: Path, data: Path, project: Path) -> List[Path]:
    """Where the recipe's parameters may be."""
    return [folder / f"{recipe}.json" for folder in (home / "recipes", data, project)]


def load(recipe: str, *, home: Path, data: Path, project: Path) -> Dict[str, Any]:
    """The parameters. Errors: Refused when there are none, or when a file is no JSON object."""
    paths = places(recipe, home=home, data=data, project=project)
    found = [path for path in paths if path.is_file()]
    if not found:
        raise Refused(
            f"no parameters: put {recipe}.json into the folder processing.recipes names, or into {data} or {project}"
        )
    merged: Dict[str, Any] = {}
    for path in found:
        merged = merge(merged, _read(path))
    return merged


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> Dict[str, Any]:
    """Both, value by value; where they differ, the second's."""
    merged = dict(under)
    for name, value in over.items():
        before = merged.get(name)
        merged[name] = merge(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def _read(path: Path) -> Dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise Refused(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise Refused(f"{path} is no JSON object")
    return found


class Check:
    """Looks at parameters one by one, and keeps what is wrong with them."""

    def __init__(self, recipe: str) -> None:
        self._recipe = recipe
        self.problems: List[str] = []

    def unknown(self, values: Mapping[str, Any], known: Iterable[str], *, under: str = "") -> None:
        """Nothing that is not known: a name with a slip would be ignored."""
        for name in sorted(set(values) - set(known)):
            self.problems.append(f"{under}{name} is not known")

    def positive(self, values: Mapping[str, Any], name: str, meaning: str, *, under: str = "") -> None:
        """A number above 0, which must be there."""
        value = values.get(name)
        if value is None:
            self.problems.append(f"{under}{name} is missing ({meaning})")
        elif isinstance(value, bool) or not isinstance(value, NUMBER) or not value > 0:
            self.problems.append(f"{under}{name} is {value!r}, not a number above 0 ({meaning})")

    def text(self, values: Mapping[str, Any], name: str, meaning: str, *, under: str = "") -> str:
        """Text, which must be there."""
        value = values.get(name)
        if not isinstance(value, str) or not value:
            what = "missing" if value is None else f"{value!r}, not text"
            self.problems.append(f"{under}{name} is {what} ({meaning})")
            return ""
        return value

    def section(self, values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        """An object, empty if it is not there."""
        value = values.get(name, {})
        if not isinstance(value, dict):
            self.problems.append(f"{name} is {value!r}, not an object")
            return {}
        return value

    def texts(self, values: Mapping[str, Any], name: str) -> Sequence[str]:
        """A list of texts, empty if it is not there."""
        value = values.get(name, [])
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            self.problems.append(f"{name} is {value!r}, not a list of texts")
            return ()
        return tuple(value)

    def end(self) -> None:
        """Errors: Refused, with everything that is wrong in one line."""
        if self.problems:
            raise Refused(f"{self._recipe}.json: {'; '.join(self.problems)}")


def one_file(folder: Path, pattern: str) -> Path:
    """The file that a path names, relative to a folder or absolute, or the only one that a pattern does.

    Errors: Refused for none, and for several.
    """
    path = folder / pattern
    if path.is_file():
        return path
    # No folder's own name is taken for a pattern.
    matching = Path("/").glob(pattern.lstrip("/")) if pattern.startswith("/") else folder.glob(pattern)
    found = sorted(found for found in matching if found.is_file())
    if len(found) != 1:
        raise Refused(f"{len(found)} files are {path}, not one")
    return found[0]
