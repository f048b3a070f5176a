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
