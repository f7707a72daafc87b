import json
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from zocelery import recipe_library
from zocelery.errors import ConfigurationError, InputFileError, RecipeError
from zocelery.recipe_library import RecipeLibrary, current_library
from zocelery.resources import resource_dir
from zocelery.settings import RecipeSettings


def write(folder: Path, name: str, description: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.json"
    document = {"description": description, "start": "a", "nodes": {"a": {}}}
    file.write_text(json.dumps(document))
    return file


def test_the_first_folder_that_has_a_name_is_asked(tmp_path: Path) -> None:
    write(tmp_path / "own", "scan", "ours")
    write(tmp_path / "bundled", "scan", "theirs")
    write(tmp_path / "bundled", "other")
    library = RecipeLibrary([tmp_path / "own", tmp_path / "bundled"])
    assert library.names() == ("other", "scan")
    assert library.find("scan").description == "ours"
    assert library.find("other").name == "other"


@pytest.mark.parametrize(
    "name",
    [
        "../scan",
        "sub/scan",
        "/etc/scan",
        "..",
        "a..b",
        ".scan",
        "-x",
        "",
        "scan\n",
        "a" * 200,
    ],
)
def test_a_name_never_leads_out_of_the_folders(tmp_path: Path, name: str) -> None:
    write(tmp_path, "scan")
    write(tmp_path / "recipes" / "sub", "scan")
    library = RecipeLibrary([tmp_path / "recipes"])
    with pytest.raises(RecipeError, match="is no recipe name"):
        library.find(name)


def test_an_alias_cannot_lead_out_either(tmp_path: Path) -> None:
    write(tmp_path, "scan")
    library = RecipeLibrary([tmp_path / "recipes"], {"mimas": "../scan"})
    with pytest.raises(RecipeError, match="is no recipe name"):
        library.find("mimas")


def test_an_alias_goes_before_a_file(tmp_path: Path) -> None:
    write(tmp_path, "mimas", "a file")
    write(tmp_path, "grid-scan", "what is meant")
    library = RecipeLibrary([tmp_path], {"mimas": "grid-scan"})
    assert library.find("mimas").description == "what is meant"


def test_the_prefix_of_the_lims_falls_away_if_it_must(tmp_path: Path) -> None:
    write(tmp_path, "grid-scan", "plain")
    write(tmp_path, "ispyb-xia2", "with prefix")
    library = RecipeLibrary([tmp_path], {"mimas": "grid-scan"})
    assert library.find("ispyb-grid-scan").description == "plain"
    assert library.find("ispyb-xia2").description == "with prefix"
    assert library.find("ispyb-mimas").description == "plain"


def test_aliases_that_mean_each_other_are_no_recipe(tmp_path: Path) -> None:
    library = RecipeLibrary([tmp_path], {"a": "b", "b": "a"})
    with pytest.raises(RecipeError, match="there is no recipe 'a'"):
        library.find("a")


def test_an_unknown_name_is_answered_by_the_one_most_like_it(tmp_path: Path) -> None:
    write(tmp_path, "grid-scan")
    library = RecipeLibrary([tmp_path, tmp_path / "absent"])
    with pytest.raises(RecipeError) as caught:
        library.find("grid-scna")
    assert "did you mean 'grid-scan'?" in str(caught.value)
    assert f"the folder {tmp_path / 'absent'} is not there" in str(caught.value)


def test_a_file_is_read_only_where_a_person_names_it(tmp_path: Path) -> None:
    file = write(tmp_path / "elsewhere", "scan")
    library = RecipeLibrary([tmp_path])
    assert library.find_or_load(file).name == "scan"
    assert library.find_or_load(str(file)).name == "scan"
    with pytest.raises(RecipeError):
        library.find(str(file))
    with pytest.raises(InputFileError, match=r"absent\.json"):
        library.find_or_load("absent.json")


def test_bundled_recipes_come_after_a_facilitys(tmp_path: Path) -> None:
    write(tmp_path, "grid-scan", "ours")
    library = current_library(RecipeSettings(folders=(tmp_path,), aliases={}))
    assert library.find("grid-scan").description == "ours"
    assert library.folders[-1] == resource_dir("recipes")
    assert {"all-features", "grid-scan-3d", "per-image-analysis"} < set(library.names())


@pytest.mark.parametrize("inside", ["i99_recipes", "i99_recipes/recipes"])
def test_a_facility_package_brings_its_recipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    write(tmp_path / inside, "i99-scan", "from the package")
    (tmp_path / "i99_recipes" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    found = [EntryPoint("i99", "i99_recipes", recipe_library.ENTRY_POINTS)]
    monkeypatch.setattr(recipe_library, "entry_points", lambda group: found)
    library = current_library(RecipeSettings(folders=(), aliases={}))
    assert library.find("i99-scan").description == "from the package"
    assert "i99_recipes" not in sys.modules


def test_an_entry_point_without_a_module_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [EntryPoint("i99", "not_there.recipes", recipe_library.ENTRY_POINTS)]
    monkeypatch.setattr(recipe_library, "entry_points", lambda group: found)
    with pytest.raises(ConfigurationError, match=r"'i99'.*'not_there\.recipes'"):
        current_library(RecipeSettings(folders=(), aliases={}))
