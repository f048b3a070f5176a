import pickle

import pytest

from penchant.core.errors import DataError, MissingExtraError, nearest
from penchant.service.http_errors import RefusedError


def test_error_prints_what_where_and_fix():
    error = DataError("The file is empty.", where="items.csv", fix="export it again")
    assert str(error) == "The file is empty.\n  where: items.csv\n  fix:   export it again"
    assert error.as_dict()["error"] == "DataError"


def test_error_without_fix_is_refused():
    with pytest.raises(TypeError, match="fix"):
        DataError("no fix", where="here")


def test_missing_extra_gives_the_install_line():
    assert "pip install 'penchant[audio]'" in str(MissingExtraError("soundfile", "audio"))


def test_nearest_names_the_close_one():
    assert nearest("populrity", ["popularity", "ease"]) == "Did you mean 'popularity'?"
    assert nearest("zzz", ["b", "a"]) == "Known names: a, b."


def test_error_passes_from_process_to_process_with_its_parts():
    for error in (
        DataError("a value", where="a row", fix="change it"),
        RefusedError("too many", where="here", fix="wait", status=503, headers={"Retry-After": "1"}),
        MissingExtraError("av", "audio"),
    ):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert (str(copy), copy.as_dict(), copy.__dict__) == (str(error), error.as_dict(), error.__dict__)
