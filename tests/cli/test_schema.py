"""The file of ``--schema``: what is taken, and what is told about what is not."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Optional

import click
import pytest

from runtimeuse_sync.cli._schema import read_schema

BARE = {"type": "object", "properties": {"größe": {"type": "integer"}}}
WRAPPED = {"type": "json_schema", "schema": BARE}


@pytest.mark.parametrize("schema", [BARE, WRAPPED, {**WRAPPED, "name": "answer"}])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_bare_or_wrapped_with_or_without_a_byte_order_mark(
    tmp_path: Path, schema: dict[str, object], mark: bytes
) -> None:
    file = tmp_path / "schema.json"
    file.write_bytes(mark + json.dumps(schema, ensure_ascii=False).encode())
    assert read_schema(str(file)) == BARE


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "schema.json: No such file or directory"),
        (b"", "schema.json is not JSON: Expecting value"),
        (b"{", "schema.json is not JSON: "),
        (b"[]", "holds no JSON object, which a schema is"),
        (b"\xff{}", "schema.json is not UTF-8: byte 0 is no part of a character"),
        ("{}".encode("utf-16"), "schema.json is UTF-16: save it as UTF-8"),
        (codecs.BOM_UTF16_BE + "{}".encode("utf-16-be"), "schema.json is UTF-16: save it as UTF-8"),
        (b'{"minimum": 1e999}', "schema.json is not JSON: "),
        (b'{"minimum": NaN}', "schema.json is not JSON: "),
        (b'{"type": "json_schema"}', 'has no object "schema": write {"type": "json_schema", "schema": {...}}'),
        (b'{"type": "json_schema", "schema": "x"}', 'has no object "schema"'),
        (b'{"type": "numbr"}', "schema.json: output_type is no JSON schema: 'numbr' is not valid"),
        (b'{"type": "array"}', "schema.json: output_type cannot be asked for: "),
        (b'{"schema": {"type": "object"}}', 'has a "schema", but no "type": write {"type": "json_schema"'),
    ],
)
def test_what_is_no_schema_is_refused_with_the_reason(tmp_path: Path, content: Optional[bytes], told: str) -> None:
    if content is not None:
        (tmp_path / "schema.json").write_bytes(content)
    with pytest.raises(click.BadParameter) as caught:
        read_schema(str(tmp_path / "schema.json"))
    assert told in caught.value.message


def test_one_that_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_bytes(b'{"x":' * 100_000)
    with pytest.raises(click.BadParameter, match="is nested too deeply"):
        read_schema(str(tmp_path / "schema.json"))
