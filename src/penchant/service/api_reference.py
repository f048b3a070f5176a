"""The API reference as one HTML page.

In: the OpenAPI description. Out: HTML without a script, readable offline and under the page's own security policy.
"""

from __future__ import annotations

import json
from typing import Any

from jinja2 import Environment

PAGE = Environment(autoescape=True).from_string(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ info.title }} {{ info.version }}: the API</title></head>
<body><main>
<h1>{{ info.title }} {{ info.version }}</h1>
<p>{{ info.description }} The same as JSON: <a href="/openapi.json">openapi.json</a>.</p>
<p>With keys in place, send <code>Authorization: Bearer pk_...</code>.
Every error is <code>application/problem+json</code> with what, where and fix.</p>
<ul>{% for call in calls %}<li><a href="#{{ loop.index }}"><code>{{ call.method }} {{ call.path }}</code></a></li>{% endfor %}</ul>
{% for call in calls %}
<h2 id="{{ loop.index }}"><code>{{ call.method }} {{ call.path }}</code></h2>
<p>{{ call.about }}</p>
{% if call.parameters %}<dl>{% for p in call.parameters %}
<dt><code>{{ p.name }}</code> ({{ p.place }}{% if p.required %}, required{% endif %})</dt><dd>{{ p.about }}</dd>
{% endfor %}</dl>{% endif %}
{% for title, text in call.bodies %}<h3>{{ title }}</h3><pre>{{ text }}</pre>{% endfor %}
{% endfor %}
</main></body></html>
"""
)


def reference_page(schema: dict[str, Any]) -> str:
    """Return the page."""
    parts = schema["components"]["schemas"]
    calls = [
        {
            "method": method.upper(),
            "path": path,
            "about": call.get("description", ""),
            "parameters": [_parameter(p) for p in call.get("parameters", [])],
            "bodies": list(_bodies(call, parts)),
        }
        for path, methods in schema["paths"].items()
        for method, call in methods.items()
    ]
    return PAGE.render(info=schema["info"], calls=calls)


def _parameter(parameter: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": parameter["name"],
        "place": parameter["in"],
        "required": parameter.get("required", False),
        "about": parameter.get("description") or parameter["schema"].get("description", ""),
    }


def _bodies(call: dict[str, Any], parts: dict[str, Any]) -> Any:
    """Yield the request and response bodies as the names and descriptions of their fields."""
    body = call.get("requestBody", {}).get("content", {}).get("application/json")
    if body:
        yield "Body", _fields(body["schema"], parts)
        for name, example in body.get("examples", {}).items():
            yield f"Example: {name}", json.dumps(example["value"], indent=2)
    for status in ("200", "202"):
        answer = call.get("responses", {}).get(status, {}).get("content", {}).get("application/json")
        if answer and (text := _fields(answer["schema"], parts)):
            yield f"Answer {status}", text


def _fields(shape: dict[str, Any], parts: dict[str, Any]) -> str:
    """Return one line for each field of a schema; alternatives one after the other."""
    shapes = shape.get("anyOf", [shape])
    named = [parts[s["$ref"].rpartition("/")[2]] for s in shapes if "$ref" in s]
    lines = [[f"{name}: {f.get('description', '')}" for name, f in s.get("properties", {}).items()] for s in named]
    return "\n\nor\n\n".join("\n".join(group) for group in lines)
