"""The drawings of the bundled recipes in the documentation are what is printed."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from zocelery.cli import cli
from zocelery.resources import resource_dir

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
NAMES = sorted(file.stem for file in resource_dir("recipes").glob("*.json"))
DRAWING = re.compile(r"^### (\S+)\n\n```mermaid\n(.*?)```$", re.DOTALL | re.MULTILINE)


def drawings() -> dict[str, str]:
    return dict(DRAWING.findall(PAGE.read_text()))


@pytest.mark.parametrize("name", NAMES)
def test_a_drawing_is_what_the_command_prints(name: str) -> None:
    printed = CliRunner().invoke(cli, ["recipe", "graph", name, "--format", "mermaid"])
    assert printed.exit_code == 0
    assert drawings().get(name) == printed.stdout, (
        f"{PAGE}: put there under '### {name}' what "
        f"`zocelery recipe graph {name} --format mermaid` prints"
    )


def test_every_drawing_is_of_a_recipe() -> None:
    assert sorted(drawings()) == NAMES
