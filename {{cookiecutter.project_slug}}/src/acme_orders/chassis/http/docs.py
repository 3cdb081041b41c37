# feature: http_api
"""The page `/docs`: the OpenAPI document for people, from this process alone, without a script."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from string import Template
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse

PUBLIC = ("/docs", "/openapi.json")  # who asks for them has no tenant, and is nobody yet
_PAGE = Template("""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { font: 600 1.1rem ui-monospace, monospace; margin: 2.5rem 0 0; }
h2 b { background: #234; color: #fff; border-radius: 4px; padding: 0 .5rem; }
table { border-collapse: collapse; width: 100%; }
td, th { border-bottom: 1px solid #ccc; padding: .3rem .6rem .3rem 0; text-align: left; }
td { vertical-align: top; }
pre { background: #f3f3f3; padding: .8rem; overflow: auto; }
</style>
<h1>$title</h1>
<p>For programs: <a href="openapi.json">openapi.json</a>.</p>
$operations
</html>
""")


def page(document: Mapping[str, Any]) -> Any:
    """What answers with the page."""
    parts = [
        part
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        for part in _operation(document, method.upper(), path, operation)
    ]
    title = escape(document["info"]["title"])
    text = _PAGE.substitute(title=title, operations="\n".join(parts))

    async def answer(_: Request) -> HTMLResponse:
        policy = "default-src 'none'; style-src 'unsafe-inline'"
        return HTMLResponse(text, headers={"Content-Security-Policy": policy})

    return answer


def _operation(
    document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]
) -> Iterator[str]:
    yield f"<h2><b>{method}</b> {escape(path)}</h2>"
    yield f"<p>{escape(operation.get('description') or operation.get('summary', ''))}</p>"
    rows = [
        (each["name"], each["in"], each.get("required"), each["schema"], each.get("description"))
        for each in operation.get("parameters", ())
    ]
    for schema in _schemas(document, operation.get("requestBody", {})):
        rows += _fields(schema, "body")
        for example in schema.get("examples", ())[:1]:
            yield f"<pre>{escape(json.dumps(example, indent=2))}</pre>"
    answers = operation["responses"].items()
    for answer in (each for status, each in answers if status < "300"):
        for schema in _schemas(document, answer):
            rows += _fields(schema, "answer")
    if rows:
        yield "<table><tr><th>Name<th>In<th>Type<th>About"
        for name, place, needed, about, words in rows:
            must = " <b>required</b>" if needed else ""
            yield (
                f"<tr><td>{escape(name)}{must}<td>{place}"
                f"<td>{escape(_type(about))}<td>{escape(words or '')}"
            )
        yield "</table>"
    yield "<ul>"
    for status, each in answers:
        yield f"<li><b>{status}</b> {escape(each.get('description', ''))}"
    yield "</ul>"


def _schemas(document: Mapping[str, Any], part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for each in part.get("content", {}).values():
        yield _resolved(document, each.get("schema", {}))


def _fields(schema: Mapping[str, Any], place: str) -> Iterator[tuple[Any, ...]]:
    needed = schema.get("required", ()) if place == "body" else ()
    for name, about in schema.get("properties", {}).items():
        yield name, place, name in needed, about, about.get("description")


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: Mapping[str, Any] = document["components"]["schemas"][name] if name else schema
    return found


def _type(schema: Mapping[str, Any]) -> str:
    if options := schema.get("anyOf"):
        return " or ".join(map(_type, options))
    if name := schema.get("$ref"):
        return str(name.rpartition("/")[2])
    kind = str(schema.get("format") or schema.get("type", "anything"))
    inner = f" of {_type(schema['items'])}" if "items" in schema else ""
    limits = ("minimum", "exclusiveMinimum", "maximum", "minLength", "maxLength", "minItems",
              "maxItems", "pattern", "default")  # fmt: skip
    told = [f"{limit} {schema[limit]}" for limit in limits if limit in schema]
    return f"{kind}{inner}" + (f" ({', '.join(told)})" if told else "")
