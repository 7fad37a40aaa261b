from __future__ import annotations

from pathlib import Path

import pytest

from cdk_cryoem.head_node_programs import SHIPPED_RECIPES
from cdk_cryoem_stacks.config_file import ConfigError, load


def write(folder: Path, recipe: str) -> Path:
    (folder / "recipes").mkdir()
    path = folder / "cryoem.yaml"
    path.write_text(f"name: em\nprocessing: {{recipes: recipes, on_landed: {recipe}}}\n")
    return path


@pytest.mark.parametrize("recipe", SHIPPED_RECIPES)
def test_a_recipe_that_every_head_node_has_needs_no_file(tmp_path: Path, recipe: str) -> None:
    config = load(write(tmp_path, recipe))
    assert config.processing is not None
    assert config.processing.on_landed == recipe


def test_another_name_than_those_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a recipe: none; or one that every head node has: cryosparc-live, "):
        load(write(tmp_path, "cryosparc-lives"))
