"""The option ``--schema``: a file with a JSON schema, checked before anything is sent."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

import click

from ..outputs import output_schema

_WRAPPER = '{"type": "json_schema", "schema": {...}}'
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_schema(path: str) -> dict[str, Any]:
    """The JSON schema in a file, which may hold it bare or as the wire wraps it.

    Raises:
        click.BadParameter: there is no such file, no schema in it, or one that cannot be asked for.
    """
    schema = _parse(path, _read(path))
    if not isinstance(schema, dict):
        raise click.BadParameter(f"{path} holds no JSON object, which a schema is")
    schema = _unwrapped(path, schema)
    try:
        output_schema(schema)
    except (ValueError, ImportError) as error:
        raise click.BadParameter(f"{path}: {error}") from None
    return schema


def _read(path: str) -> str:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}") from None
    if content.startswith(_UTF_16):
        raise click.BadParameter(f"{path} is UTF-16: save it as UTF-8")
    try:
        # Editors on Windows begin a file with a byte order mark.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{path} is not UTF-8: byte {error.start} is no part of a character") from None


def _parse(path: str, text: str) -> Any:
    try:
        schema = json.loads(text)
        json.dumps(schema, allow_nan=False)
    except ValueError as error:
        raise click.BadParameter(f"{path} is not JSON: {error}") from None
    except RecursionError:
        raise click.BadParameter(f"{path} is nested too deeply") from None
    return schema


def _unwrapped(path: str, schema: dict[str, Any]) -> dict[str, Any]:
    is_wrapper = schema.get("type") == "json_schema"
    if not is_wrapper and isinstance(schema.get("schema"), dict) and "type" not in schema:
        raise click.BadParameter(f'{path} has a "schema", but no "type": write {_WRAPPER}, or the schema alone')
    if is_wrapper and not isinstance(schema.get("schema"), dict):
        raise click.BadParameter(f'{path} is of type "json_schema", but has no object "schema": write {_WRAPPER}')
    return schema["schema"] if is_wrapper else schema
