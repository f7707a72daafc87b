"""Connections to the LIMS: what passes is told from what does not."""

import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.pool import QueuePool

from zocelery.errors import TemporaryError
from zocelery.lims import connection
from zocelery.lims.connection import Lims


def test_that_others_hold_all_connections_passes(tmp_path, monkeypatch):
    url = make_url(f"sqlite:///{tmp_path}/lims.sqlite")
    engine = create_engine(
        url, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.05
    )
    monkeypatch.setattr(connection, "_make_engine", lambda _: engine)
    lims = Lims(url)
    with lims.engine.connect(), pytest.raises(TemporaryError, match="limit of size 1"):
        lims.read(lambda _: None)
    assert lims.read(lambda _: "read") == "read"
    lims.close()
