"""docs/settings.md names every key of both files, and none that there isn't."""

import re
from pathlib import Path

import msgspec
import pytest

from frontend.settings import FrontendSettings
from signerd.policy.model import ClientTable, NamesTable, ProfileTable, QuotaTable, SignerTable

_DOCUMENT = (Path(__file__).parents[1] / "docs" / "settings.md").read_text(encoding="utf-8")
_TABLES: dict[str, type[msgspec.Struct]] = {
    "### [signer]": SignerTable,
    "### [profile.NAME]": ProfileTable,
    "### [profile.NAME.names]": NamesTable,
    "### [client.ID]": ClientTable,
    "### [quota]": QuotaTable,
    "## /etc/ca/frontend.toml": FrontendSettings,
}


@pytest.mark.parametrize("heading", _TABLES)
def test_each_table_of_the_document_has_the_keys_that_there_are(heading: str) -> None:
    section = re.split(r"\n##+ ", _DOCUMENT.split(f"\n{heading}\n", 1)[1])[0]
    keys = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert keys == [field.name for field in msgspec.structs.fields(_TABLES[heading])]
