//! Checks requests and responses against the OpenAPI document.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use axum::http::{HeaderValue, Method, header};
use serde_json::{Value, json};

use super::Reply;

/// The OpenAPI document, as it is served.
pub(in crate::http) fn openapi() -> &'static Value {
    static DOCUMENT: LazyLock<Value> =
        LazyLock::new(|| serde_json::from_str(&crate::http::api::OPENAPI).unwrap());
    &DOCUMENT
}

/// The path of the document that describes this path.
fn template(path: &str) -> Option<&'static str> {
    let paths = openapi()["paths"].as_object().unwrap();
    if let Some((known, _)) = paths.get_key_value(path) {
        return Some(known);
    }
    let fits = |known: &str| {
        let parts = known.split('/').zip(path.split('/'));
        let is_same = known.split('/').count() == path.split('/').count();
        is_same
            && parts
                .into_iter()
                .all(|(known, part)| known == part || (known.starts_with('{') && !part.is_empty()))
    };
    paths.keys().map(String::as_str).find(|known| fits(known))
}

fn resolved(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(reference) => openapi().pointer(&reference[1..]).unwrap(),
        None => value,
    }
}

fn errors(schema: &Value, instance: &Value) -> Vec<String> {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "components": openapi()["components"],
        "allOf": [schema],
    });
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap();
    let errors = validator.iter_errors(instance);
    errors
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect()
}

fn essence(media: &HeaderValue) -> &str {
    media.to_str().unwrap().split(';').next().unwrap().trim()
}

/// What the document says about responses of this path and method with this status.
fn response_of(path: &str, method: &Method, status: u16) -> &'static Value {
    let shared = &openapi()["components"]["responses"];
    let Some(template) = template(path) else {
        return match status {
            400 => &shared["BadRequest"],
            401 => &shared["Unauthorized"],
            403 => &shared["Forbidden"],
            429 => &shared["TooManyGuesses"],
            404 => &shared["NoSuchPath"],
            _ => panic!("{status} at {path}, which the document does not have"),
        };
    };
    let method = match *method {
        Method::HEAD => "get".to_owned(),
        _ => method.as_str().to_ascii_lowercase(),
    };
    match &openapi()["paths"][template][&method] {
        Value::Null => match status {
            400 => &shared["BadRequest"],
            401 => &shared["Unauthorized"],
            405 => &shared["MethodNotAllowed"],
            _ => panic!("{status} for {method} at {path}, which the document does not have"),
        },
        operation => match &operation["responses"][status.to_string()] {
            Value::Null => panic!("{method} {path}: {status} is not in the document"),
            response => resolved(response),
        },
    }
}

/// Checks a response, and the request if it was accepted.
pub(in crate::http) fn check(
    method: &Method,
    path: &str,
    sent: Option<&[u8]>,
    media: Option<&HeaderValue>,
    reply: &Reply,
) {
    let response = response_of(path, method, reply.status.as_u16());
    let place = format!("{method} {path} {}", reply.status);
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        let header = resolved(header);
        let found = reply.header(name);
        assert!(
            found.is_some() || header["required"] != true,
            "{place}: no {name}"
        );
        if let Some(found) = found {
            assert_eq!(
                errors(&header["schema"], &json!(found)),
                [""; 0],
                "{place} {name}"
            );
        }
    }
    assert_eq!(
        reply.header("x-content-type-options"),
        Some("nosniff"),
        "{place}"
    );
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{place}");
    if *method == Method::HEAD {
        assert!(reply.body.is_empty(), "{place}: a body");
    } else {
        check_body(&place, response, reply);
    }
    if let (Some(sent), Some(media)) = (sent, media)
        && reply.status.is_success()
    {
        check_sent(path, method, media, sent);
    }
}

fn check_body(place: &str, response: &Value, reply: &Reply) {
    let Some(content) = response["content"].as_object() else {
        assert!(reply.body.is_empty(), "{place}: a body");
        return;
    };
    let media = essence(&reply.headers[header::CONTENT_TYPE]);
    let content = content
        .get(media)
        .unwrap_or_else(|| panic!("{place}: {media}"));
    let body = if media.ends_with("json") && media != "application/x-ndjson" {
        reply.json()
    } else if media == "image/png" {
        json!(String::from_utf8_lossy(&reply.body))
    } else {
        json!(reply.text())
    };
    assert_eq!(
        errors(&content["schema"], &body),
        [""; 0],
        "{place}: {body}"
    );
    if let line_schema @ Value::Object(_) = &content["x-line-schema"] {
        for line in reply.text().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let schema = match line.get("visible") {
                Some(_) => &content["x-last-line-schema"],
                None => line_schema,
            };
            assert_eq!(errors(schema, &line), [""; 0], "{place}: {line}");
        }
    }
    if media == "application/problem+json" {
        assert_eq!(body["status"], reply.status.as_u16(), "{place}");
        assert_eq!(
            body["request_id"].as_str(),
            reply.header("x-request-id"),
            "{place}"
        );
    }
}

/// A request that was accepted must be one that the document allows.
fn check_sent(path: &str, method: &Method, media: &HeaderValue, sent: &[u8]) {
    let template = template(path).unwrap();
    let operation = &openapi()["paths"][template][method.as_str().to_ascii_lowercase()];
    let content = &operation["requestBody"]["content"];
    // The document says in its text that any +json is accepted.
    let content = match &content[essence(media)] {
        Value::Null => &content["application/json"],
        content => content,
    };
    if content["x-line-schema"].is_null() {
        let sent: Value = serde_json::from_slice(sent).unwrap();
        let found = errors(&content["schema"], &sent);
        assert_eq!(found, [""; 0], "{method} {path} accepted {sent}");
    }
}

/// The paths of the document, each with the methods that it describes.
pub(in crate::http) fn operations() -> BTreeMap<&'static str, BTreeSet<String>> {
    let paths = openapi()["paths"].as_object().unwrap();
    let paths = paths.iter().map(|(path, item)| {
        let methods = item.as_object().unwrap().keys();
        let methods = methods.filter(|key| *key != "parameters");
        (
            path.as_str(),
            methods.map(|m| m.to_ascii_uppercase()).collect(),
        )
    });
    paths.collect()
}
