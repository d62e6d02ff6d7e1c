"""What Schemathesis has to know of the API beyond its OpenAPI document."""

import json
from datetime import datetime

import schemathesis
from hypothesis import strategies as st

# The zones of the test server.
ZONES = ["s.example.com", "t.example.com"]

# Periods of statistics. They end after they begin, and months are kept for ever.
PERIODS = {
    "from": ["2020-01-01", "2024-02-29T12:00:00Z"],
    "to": ["2025-01-01", "2025-06-30T10:00:00+02:00"],
    "by": ["month"],
}
# Addresses and networks of clients.
ADDRESSES = {"address": ["192.0.2.77", "2001:db8::1", "198.51.100.0/24", "2001:db8::/48", "::/0"]}
VALUES = {**PERIODS, **ADDRESSES}

# URLs that may be the destination of a link. The rules for them (WHATWG) fit into no pattern of a schema.
schemathesis.openapi.format(
    "destination",
    st.from_regex(r"https?://[a-z]{1,9}\.example/[a-z0-9/]{0,9}(\?[a-z]=[0-9])?", fullmatch=True),
)

# Times that are still to come: links and tokens cannot end in the past.
schemathesis.openapi.format(
    "date-time",
    st.datetimes(min_value=datetime(2100, 1, 1), max_value=datetime(9999, 12, 31)).map(
        lambda time: time.replace(microsecond=0).isoformat() + "Z"
    ),
)

# Another key for each request: with the key of another one it would be a repeat.
schemathesis.openapi.format("idempotency-key", st.uuids().map(lambda key: f'"{key}"'))

LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl")


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Changes the copy of the document that the requests are made from.

    A body of lines becomes a list of what `x-line-schema` describes. Parameters whose rules fit into no schema get values
    that the server takes, for otherwise most requests would be refused before their other parts are looked at.
    """
    for path in raw_schema["paths"].values():
        for operation in path.values():
            if not isinstance(operation, dict):
                continue
            bodies = [operation.get("requestBody", {}), *operation.get("responses", {}).values()]
            for media in (media for body in bodies for media in body.get("content", {}).values()):
                if "x-line-schema" in media:
                    lines = [media[schema] for schema in ("x-line-schema", "x-last-line-schema") if schema in media]
                    media["schema"] = {"type": "array", "items": {"oneOf": lines} if len(lines) > 1 else lines[0]}
            for parameter in operation.get("parameters", []):
                if parameter.get("name") in VALUES:
                    parameter["schema"] = {"type": "string", "enum": VALUES[parameter["name"]]}
    components = raw_schema["components"]
    components["parameters"]["Zone"]["schema"]["enum"] = ZONES
    # Schemathesis 4.32 makes headers with a pattern of the number 0.
    for header in ("IfMatch", "IfNoneMatch"):
        components["parameters"][header]["schema"] = {"type": "string", "enum": ["*", '"7"', 'W/"7", "8"']}
    components["parameters"]["IdempotencyKey"]["schema"] = {"type": "string", "format": "idempotency-key"}
    for body in ("NewLink", "LinkPatch"):
        properties = components["schemas"][body]["properties"]
        properties["url"]["format"] = "destination"
        properties["destinations"]["items"]["properties"]["url"]["format"] = "destination"


@schemathesis.serializer(*LINES)
def write_lines(context, value):
    lines = value if isinstance(value, list) else [value]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@schemathesis.deserializer(*LINES)
def read_lines(context, response):
    return [json.loads(line) for line in response.content.splitlines()]


@schemathesis.hook
def before_call(context, case, kwargs):
    """Deletes no token with which it calls: it knows their names from the list of tokens, and later calls would be 401."""
    if case.method == "DELETE" and str(case.path_parameters.get("name", "")).startswith("the-"):
        case.path_parameters["name"] = "0"


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """What is no failure, although Schemathesis takes it for one."""
    kind = type(failure).__name__
    if kind == "RejectedPositiveData" and response.status_code == 400:
        # Only the server can make a cursor, and no pattern tells which texts are hosts.
        return response.json().get("field") not in ("cursor", "host")
    if kind == "AcceptedNegativeData" and isinstance(case.body, dict):
        # A format is one of strings (JSON Schema 2020-12, Validation 7.1): null does not violate it.
        return "`format` at /properties/expires_at" not in failure.message or case.body.get("expires_at") is not None
    return True
