import pytest

from penchant.core.errors import ConfigError, MissingExtraError
from penchant.core.registry import Table

TABLE = Table(
    "thing",
    {"path": "pathlib:Path", "gone": "package_that_is_not_there:X"},
    group="penchant.nothing",
    base="pathlib:PurePath",
    extras={"package_that_is_not_there": "audio"},
)


def test_table_loads_by_name():
    assert TABLE.load("path").__name__ == "Path"


def test_unknown_name_lists_the_nearest():
    with pytest.raises(ConfigError, match=r"no thing 'pth'.*\n.*\n.*'path'"):
        TABLE.load("pth")


def test_missing_package_gives_the_install_line():
    with pytest.raises(MissingExtraError, match=r"penchant\[audio\]"):
        TABLE.load("gone")


def test_installed_packages_are_read_once_for_a_path(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr("penchant.core.registry.entry_points", lambda group: calls.append(group) or ())
    table = Table("thing", {"path": "os:getcwd"}, group="penchant.read_once")
    for _ in range(3):
        table.load("path")
    assert calls == ["penchant.read_once"]
    monkeypatch.syspath_prepend(tmp_path)
    table.names()
    assert len(calls) == 2
