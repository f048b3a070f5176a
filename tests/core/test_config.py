from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from penchant.core.config import Settings, read_toml
from penchant.core.errors import ConfigError


class Inner(Settings):
    half_life: float = 3.0
    """Events until a past event counts half."""


class Outer(Settings):
    inner: Inner = Inner()
    k: int = Field(10, ge=1)
    kind: Literal["a", "b"] = "a"


def test_unknown_setting_names_the_nearest():
    with pytest.raises(ConfigError, match=r"no setting 'half_lif'.*\n.*shop.toml: inner.half_lif\n.*'half_life'"):
        Outer.read({"inner": {"half_lif": 2}}, where="shop.toml")


def test_wrong_type_names_value_and_place():
    with pytest.raises(ConfigError, match=r"k = 'ten' does not fit"):
        Outer.read({"k": "ten"}, where="shop.toml")


@pytest.mark.parametrize(
    ("values", "fix"),
    [
        ({"k": "ten"}, "set it to a valid integer"),
        ({"k": 0}, "set it to a value greater than or equal to 1"),
        ({"kind": "c"}, "set it to 'a' or 'b'"),
    ],
)
def test_a_value_that_does_not_fit_is_told_what_fits(values, fix):
    with pytest.raises(ConfigError) as error:
        Outer.read(values, where="shop.toml")
    assert error.value.fix.startswith(fix)


def test_docstring_is_the_help_text():
    assert Inner.model_fields["half_life"].description == "Events until a past event counts half."


def test_broken_toml_names_the_line(tmp_path: Path):
    file = tmp_path / "shop.toml"
    file.write_text("a = = 1")
    with pytest.raises(ConfigError, match="line 1"):
        read_toml(file)
    with pytest.raises(ConfigError, match="no settings file"):
        read_toml(tmp_path / "none.toml")
