"""`plughost schema`: the JSON Schemas of what people write."""

import json
import sys
from typing import Final

from plughost.catalog.manifest_schema import manifest_schema

from .exit_codes import ExitCode

__all__ = ["print_schema", "schema_text"]


_SCHEMAS: Final = {"manifest": manifest_schema}


def print_schema(name: str) -> ExitCode:
    """Print a schema, with or without `--json` the same."""
    sys.stdout.write(schema_text(name))
    return ExitCode.OK


def schema_text(name: str) -> str:
    """A schema as it is published: `docs/NAME.schema.json`."""
    return json.dumps(_SCHEMAS[name](), indent=2) + "\n"
