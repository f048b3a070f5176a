"""A bundle of another catalog is refused by a running service, and by one that starts."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from fastapi.testclient import TestClient

from penchant.core.errors import ArtifactError
from penchant.recommender.recommender import Recommender
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.served_catalog import NAME
from penchant.service.service import Service


def replace_ids(folder: Path, first: int) -> None:
    """Save the bundle with other ids for the items from the row `first` on."""
    bundle = Recommender.load(folder)
    ids = [item if row < first else f"other-{item}" for row, item in enumerate(bundle.catalog.item_ids)]
    catalog = type(bundle.catalog)(
        bundle.catalog.table.with_columns(item_id=pl.Series(ids)),
        bundle.catalog.title_column,
        bundle.catalog.text_columns,
        bundle.catalog.media_columns,
        bundle.catalog.attribute_columns,
        bundle.catalog.media_root,
    )
    Recommender(
        catalog,
        bundle.histories,
        bundle.ensemble,
        bundle.tables,
        bundle.topics,
        bundle.facts,
        content=bundle.content,
        fitted=bundle.fitted,
    ).save(folder)


@pytest.fixture
def config(own_shop: Path, tmp_path: Path) -> ServiceConfig:
    return ServiceConfig(bundle=own_shop, folder=tmp_path / "state", watch_seconds=60, host_names=["testserver"])


def test_refused_bundle_is_not_served_after_a_restart(config: ServiceConfig):
    with TestClient(create_app(config)) as client:
        replace_ids(config.bundle, 0)
        client.app.state.worker.step()
        assert client.get("/v1/items/i0").status_code == 200
    with pytest.raises(
        ArtifactError, match=r"holds 0% of the items that were served(.|\n)*where:(.|\n)*fix:.*--folder"
    ):
        Service(config)
    assert config.folder is not None
    (config.folder / NAME).unlink()  # what the error names as the way to a new catalog
    Service(config).close()


def test_bundle_with_half_of_the_items_is_remembered_as_the_new_catalog(config: ServiceConfig):
    with TestClient(create_app(config)) as client:
        replace_ids(config.bundle, 12)
        client.app.state.worker.step()
        assert client.get("/v1/items/other-i20").status_code == 200
    Service(config).close()
    assert config.folder is not None
    assert "other-i20" in pl.read_parquet(config.folder / NAME)["item_id"].to_list()


def test_damaged_list_of_items_is_an_error_with_three_lines(config: ServiceConfig):
    Service(config).close()
    assert config.folder is not None
    (config.folder / NAME).write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match="served cannot be read"):
        Service(config)
