"""Names that consist of marks, or begin with one, are planned like others."""

from __future__ import annotations

import pytest

from t2vu_core.mentions import says


@pytest.mark.parametrize("name", ["-", "-1", "1-", "--", "_", "- -", "x-"])
def test_a_name_of_marks_breaks_no_search(name: str) -> None:
    assert says(f"a {name} in the sea", [name])
    assert not says("a lamp in the sea", [name])
