"""The OpenAPI 3.1 document and its page, from the table of endpoints and the structs. No script, no outside asset."""

import html
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Struct

from aaa.model.operations import Operation
from billing_hooks.endpoints import NDJSON, PROBLEM, Endpoint
from billing_hooks.idempotency import KEY_LENGTH_MAX
from billing_hooks.problems import CODES, Problem
from billing_hooks.sync import ID_LENGTH_MAX

IDEMPOTENCY_KEY: Final[dict[str, Any]] = {
    "name": "Idempotency-Key", "in": "header", "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH_MAX, "pattern": "^[ -~]+$"},
    "description": "The same key with the same request is answered again and does nothing again.",
}  # fmt: skip
ID: Final = {"type": "string", "minLength": 1, "maxLength": ID_LENGTH_MAX, "pattern": "^[^\\x00-\\x1f\\x7f]+$"}
REF: Final = "#/components/schemas/{name}"


def make_document(endpoints: Iterable[Endpoint], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    endpoints = list(endpoints)
    shapes: list[Any] = [Problem, Operation]
    for endpoint in endpoints:
        parts = (endpoint.body, endpoint.answer, endpoint.query, endpoint.line)
        shapes += [shape for shape in parts if shape is not None]
    unique = list(dict.fromkeys(shapes))
    schemas, components = msgspec.json.schema_components(unique, ref_template=REF)
    schema_of = dict(zip(unique, schemas, strict=True))
    # What a stream consists of is read one by one, so its struct is named here.
    for endpoint in endpoints:
        for member in components[endpoint.body.__name__]["properties"].values() if endpoint.line is not None else ():
            member["items"] = schema_of[endpoint.line]
    queries = {endpoint.query.__name__ for endpoint in endpoints}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        query = components[endpoint.query.__name__]
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schema_of, query)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {"title": "AAA server", "version": version or "0"},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in components.items() if name not in queries},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "tags": [{"name": tag} for tag in dict.fromkeys(endpoint.tag for endpoint in endpoints)],
    }


def _operation(endpoint: Endpoint, schema_of: dict[Any, Any], query: dict[str, Any]) -> dict[str, Any]:
    roles = ", ".join(sorted(endpoint.roles))
    parameters: list[dict[str, Any]] = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": ID}
        for part in endpoint.path.split("/")
        if part.startswith("{")
    ]
    described = _field_docs(endpoint.query)
    for name, schema in query.get("properties", {}).items():
        parameter: dict[str, Any] = {"name": name, "in": "query", "required": False, "schema": _without_null(schema)}
        if name in described:
            parameter["description"] = described[name]
        parameters.append(parameter)
    if endpoint.method != "GET" and endpoint.roles:
        parameters.append(IDEMPOTENCY_KEY)
    content = {endpoint.media_type: {"schema": schema_of[endpoint.answer]}}
    if endpoint.media_type != "application/json":
        content = {endpoint.media_type: {"schema": {"type": "string"}}}
    for other in endpoint.also:
        content[other.partition(";")[0]] = {"schema": {"type": "string"}}
    if endpoint.streams:
        content[NDJSON] = {"schema": {"type": "string", "description": "One answer a line, in order"}}
    problem = {"description": "Problem document", "content": {PROBLEM: {"schema": schema_of[Problem]}}}
    operation: dict[str, Any] = {
        "operationId": _operation_id(endpoint),
        "summary": endpoint.summary,
        "description": f"Roles: {roles}." if roles else "No token needed.",
        "tags": [endpoint.tag],
        "parameters": parameters,
        "responses": {str(endpoint.answer_status): {"description": "Done", "content": content}, "default": problem},
        "security": [{"token": []}] if roles else [],
        "x-roles": sorted(endpoint.roles),
    }
    if endpoint.body is not None:
        bodies = {"application/json": {"schema": schema_of[endpoint.body]}}
        if endpoint.line is not None:
            shown = f"One {endpoint.line.__name__} a line"
            bodies[NDJSON] = {"schema": {"type": "string", "description": shown}}
        operation["requestBody"] = {"required": not endpoint.is_body_optional, "content": bodies}
    return operation


def _operation_id(endpoint: Endpoint) -> str:
    words = [word.strip("{}").replace(".", "_").replace("-", "_") for word in endpoint.path.split("/") if word]
    return "_".join([endpoint.method.lower(), *(word for word in words if word != "v1")])


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query parameter is absent, never null."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) == 1:
        return dict(kinds[0])
    return {name: value for name, value in schema.items() if value is not None}


def _field_docs(shape: type[Struct]) -> dict[str, str]:
    """Descriptions of query parameters that need one."""
    return {"after": "Cursor: the `next` of the page before.", "q": "Prefix of the id."} | (
        {"at": "RFC 3339 with a zone, or epoch seconds."} if "at" in shape.__struct_fields__ else {}
    )


STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
code,pre{font:13px/1.4 ui-monospace,monospace}pre{background:#f4f4f4;padding:.6rem;overflow:auto}
details{border:1px solid #ddd;border-radius:4px;margin:.4rem 0;padding:.3rem .6rem}summary{cursor:pointer}
b.method{display:inline-block;width:4.2rem}table{border-collapse:collapse}
td,th{text-align:left;padding:.15rem .8rem .15rem 0;vertical-align:top}h2{margin-top:2rem}.roles{color:#666}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}
pre{background:#222}details{border-color:#444}.roles{color:#999}}
"""


def make_page(document: dict[str, Any]) -> str:
    """The document as one HTML page, readable without scripts."""
    text = html.escape
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>AAA server API</title><style>{STYLE}</style><h1>{text(document['info']['title'])} API</h1>",
        "<p>For machines: <a href=/openapi.json>/openapi.json</a>. Send <code>Authorization: Bearer TOKEN</code>.</p>",
    ]
    for tag in document["tags"]:
        parts.append(f"<h2>{text(tag['name'])}</h2>")
        for path, methods in document["paths"].items():
            parts += [
                _page_operation(path, method, operation)
                for method, operation in methods.items()
                if operation["tags"] == [tag["name"]]
            ]
    parts.append("<h2 id=schemas>Shapes</h2>")
    for name, schema in sorted(document["components"]["schemas"].items()):
        shown = text(msgspec.json.format(msgspec.json.encode(schema), indent=2).decode())
        description = text(schema.get("description", ""))
        parts.append(
            f"<details id='{text(name)}'><summary><code>{text(name)}</code> {description}</summary>"
            f"<pre>{shown}</pre></details>"
        )
    parts.append("<h2 id=problems>Problems</h2><table><tr><th>error<th>status<th>meaning")
    for name, (status, title) in CODES.items():
        parts.append(f"<tr id='{name}'><td><code>{name}</code><td>{status}<td>{text(title)}")
    parts.append("</table></html>")
    return "\n".join(parts)


def _page_operation(path: str, method: str, operation: dict[str, Any]) -> str:
    text = html.escape
    rows = [
        f"<tr><td><code>{text(parameter['name'])}</code><td>{parameter['in']}"
        f"<td>{text(parameter.get('description', ''))}<td><code>{text(_brief(parameter['schema']))}</code>"
        for parameter in operation["parameters"]
    ]
    body = operation.get("requestBody")
    if body:
        rows.append(f"<tr><td>body<td><td><td>{_link(body['content']['application/json']['schema'])}")
    for status, answer in operation["responses"].items():
        shapes = ", ".join(_link(content["schema"]) for content in answer["content"].values())
        rows.append(f"<tr><td>{status}<td>answer<td><td>{shapes}")
    return (
        f"<details><summary><b class=method>{method.upper()}</b> <code>{text(path)}</code> {text(operation['summary'])}"
        f"</summary><p class=roles>{text(operation['description'])}</p><table>{''.join(rows)}</table></details>"
    )


def _brief(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    return str(schema.get("type", ""))


def _link(schema: dict[str, Any]) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    if name:
        return f"<a href='#{html.escape(name)}'><code>{html.escape(name)}</code></a>"
    return f"<code>{html.escape(_brief(schema))}</code>"
