"""What several unit tests need."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from zocelery.settings import current_settings


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The one allowed folder, with a link in it that leads out."""
    folder = tmp_path / "visits"
    folder.mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "x_1.cbf").write_text("###CBF: secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    monkeypatch.setenv("ZOCELERY_FILES_ROOTS", json.dumps([str(folder)]))
    current_settings.cache_clear()
    yield folder
    monkeypatch.undo()
    current_settings.cache_clear()
