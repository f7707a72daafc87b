"""Recipe library: the recipes that have a name, in folders of JSON files."""

import difflib
import logging
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path

from zocelery.errors import ConfigurationError, RecipeError
from zocelery.installed import entry_points
from zocelery.recipe import Recipe
from zocelery.recipe_format import load_recipe
from zocelery.resources import resource_dir
from zocelery.settings import RecipeSettings

logger = logging.getLogger(__name__)

ENTRY_POINTS = "zocelery.recipes"
"""The entry-point group of facilities; each names a module beside its recipes."""
LIMS_PREFIX = "ispyb-"
"""What Zocalo puts before the recipe that a processing job of the LIMS names."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class RecipeLibrary:
    """The recipes of some folders, the first folder that has a name being asked."""

    def __init__(
        self, folders: Sequence[Path], aliases: Mapping[str, str] | None = None
    ) -> None:
        """Take the folders and other names for recipes: `{"mimas": "grid-scan"}`."""
        self.folders = tuple(folders)
        self.aliases = dict(aliases or {})
        for folder in self.folders:
            if not folder.is_dir():
                logger.warning("The recipe folder %r is not there.", str(folder))

    def names(self) -> tuple[str, ...]:
        """Return the names of all recipes, aliases apart, sorted."""
        files = (file for folder in self.folders for file in folder.glob("*.json"))
        return tuple(sorted({f.stem for f in files if is_recipe_name(f.stem)}))

    def find(self, name: str) -> Recipe:
        """Read the recipe called `name`: never a file outside the folders.

        An alias of the configuration goes before a file; `ispyb-NAME` means NAME unless
        there is a recipe with the whole name.

        Raises:
            RecipeError: there is none, or it is not valid.
        """
        return load_recipe(self.path(name))

    def has(self, name: str) -> bool:
        """Whether there is a recipe called `name`, as a file or an alias."""
        try:
            self.path(name)
        except RecipeError:
            return False
        return True

    def find_or_load(self, recipe: str | Path) -> Recipe:
        """Read a recipe by name, or from the JSON file that a person names.

        A text with a slash or the ending `.json` is a file's path. Not for names that
        come in messages: those are for `find`.

        Raises:
            InputFileError: the file cannot be read.
            RecipeError: there is no such recipe, or it is not valid.
        """
        is_path = isinstance(recipe, Path) or "/" in recipe or recipe.endswith(".json")
        return load_recipe(recipe) if is_path else self.find(str(recipe))

    def path(self, name: str) -> Path:
        """Return the file of the recipe called `name`; see `find`."""
        seen = [name]
        while True:
            current = seen[-1]
            if not is_recipe_name(current):
                raise RecipeError(
                    f"{current!r} is no recipe name: letters, digits, '-', '_' and '.'"
                )
            file = None if current in self.aliases else self._file(current)
            if file is not None:
                return file
            following = self._other_name(current)
            if following is None or following in seen:
                raise RecipeError(self._unknown(name))
            seen.append(following)

    def _file(self, name: str) -> Path | None:
        files = (folder / f"{name}.json" for folder in self.folders)
        return next((file for file in files if file.is_file()), None)

    def _other_name(self, name: str) -> str | None:
        if name in self.aliases:
            return self.aliases[name]
        return name[len(LIMS_PREFIX) :] if name.startswith(LIMS_PREFIX) else None

    def _unknown(self, name: str) -> str:
        known = (*self.names(), *self.aliases)
        close = difflib.get_close_matches(name.removeprefix(LIMS_PREFIX), known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        absent = [str(folder) for folder in self.folders if not folder.is_dir()]
        lost = f" (the folder {', '.join(absent)} is not there)" if absent else ""
        return (
            f"there is no recipe {name!r}{lost}; 'zocelery recipe list' shows all{hint}"
        )


def is_recipe_name(name: str) -> bool:
    """Whether `name` can be a recipe's name, and so never leads out of a folder."""
    return _NAME.fullmatch(name) is not None and ".." not in name


def current_library(settings: RecipeSettings) -> RecipeLibrary:
    """Return the library of a configuration.

    Its folders come first, then those of installed facility packages (entry points
    `zocelery.recipes`), then the recipes that ship with zocelery.

    Raises:
        ConfigurationError: an entry point names a module that is not there.
    """
    installed = [
        _folder_of(entry)
        for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda e: e.name)
    ]
    folders = (*settings.folders, *installed, resource_dir("recipes"))
    return RecipeLibrary(folders, settings.aliases)


def _folder_of(entry: EntryPoint) -> Path:
    """Return the folder `recipes` beside a module, or else the module's own."""
    try:
        spec = find_spec(entry.module)
    except ModuleNotFoundError:
        spec = None
    places = [*(spec.submodule_search_locations or ())] if spec else []
    if spec and spec.origin and not places:
        places = [str(Path(spec.origin).parent)]
    if not places:
        raise ConfigurationError(
            f"entry point {entry.name!r} of {ENTRY_POINTS}: there is no module "
            f"{entry.module!r}"
        )
    folder = Path(places[0])
    return folder / "recipes" if (folder / "recipes").is_dir() else folder
