"""JSON as PostgreSQL gets it: what json.dumps makes of a value, and of Pydantic models."""

from typing import Any

from pydantic import ConfigDict, TypeAdapter

# NaN within a document is not JSON: PostgreSQL refuses it, where it would become NULL otherwise.
_JSON = TypeAdapter(Any, config=ConfigDict(ser_json_inf_nan="constants"))


def document(value: Any) -> str:
    """A value as JSON; raises ValueError if it has no form in JSON."""
    text = _JSON.dump_json(value).decode()
    return text if '"None":' not in text else _JSON.dump_json(_named(value)).decode()


def _named(value: Any) -> Any:
    # Pydantic calls a key that is None by its name in Python, json.dumps by that in JSON.
    if isinstance(value, dict):
        return {"null" if key is None else key: _named(each) for key, each in value.items()}
    return list(map(_named, value)) if isinstance(value, list | tuple) else value
