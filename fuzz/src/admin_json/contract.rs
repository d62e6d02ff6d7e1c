//! The OpenAPI document, as the server itself gives it, and what it says of calls and their replies.

use std::collections::HashMap;

use axum::http::header::CONTENT_TYPE;
use jsonschema::Validator;
use serde_json::{Value, json};

use super::{Call, Reply};

/// The document, and the schemas that were needed so far.
#[derive(Default)]
pub(super) struct Contract {
    document: Value,
    /// By the place of the schema in the document.
    validators: HashMap<String, Validator>,
}

impl Contract {
    /// Of the document's text.
    pub(super) fn of(text: &[u8]) -> Self {
        Self {
            document: serde_json::from_slice(text).expect("JSON"),
            validators: HashMap::new(),
        }
    }

    /// Holds a reply to the document.
    pub(super) fn check(&mut self, call: &Call<'_>, reply: &Reply) {
        if self.document.is_null() {
            return;
        }
        let context = format!(
            "{} {}: {} {}",
            call.method,
            call.path,
            reply.status,
            reply.body.escape_ascii()
        );
        assert!(reply.status < 500, "{context}");
        let responses = format!("{}/responses", operation(call));
        let response = self.resolved(format!("{responses}/{}", reply.status));
        let found = self.document.pointer(&response);
        let found = found.unwrap_or_else(|| panic!("not in the document: {context}"));
        for (name, header) in found["headers"].as_object().into_iter().flatten() {
            let is_there = reply.headers.contains_key(name);
            assert!(
                is_there || header["required"] != true,
                "no {name}: {context}"
            );
        }
        let media = reply
            .headers
            .get(CONTENT_TYPE)
            .map(|value| value.as_bytes());
        let media = String::from_utf8_lossy(media.unwrap_or_default()).into_owned();
        let content = format!("{response}/content/{}", media.replace('/', "~1"));
        let known = self.document.pointer(&content);
        assert!(
            known.is_some(),
            "{media:?} is not in the document: {context}"
        );
        if media == "application/x-ndjson" {
            let lines = reply.body.split(|byte| *byte == b'\n');
            for line in lines.filter(|line| !line.is_empty()) {
                let line = serde_json::from_slice(line).expect("JSON");
                self.validate(format!("{content}/x-line-schema"), &line, &context);
            }
            return;
        }
        let body = reply.json();
        self.validate(format!("{content}/schema"), &body, &context);
        if media == "application/problem+json" {
            assert_eq!(body["status"], reply.status, "{context}");
            let id = reply.headers.get("x-request-id").map(|id| id.as_bytes());
            let echoed = body["request_id"].as_str().map(str::as_bytes);
            assert_eq!(echoed, id, "{context}");
        }
    }

    /// What was accepted is what the document says is accepted.
    pub(super) fn check_sent(&mut self, call: &Call<'_>, body: &[u8]) {
        let sent = serde_json::from_slice(body).expect("JSON that was accepted");
        let media = call.media.replace('/', "~1");
        let schema = format!("{}/requestBody/content/{media}/schema", operation(call));
        self.validate(schema, &sent, "accepted");
    }

    /// The place that a place refers to, if it does; else itself.
    fn resolved(&self, place: String) -> String {
        let reference = format!("{place}/$ref");
        match self.document.pointer(&reference).and_then(Value::as_str) {
            Some(reference) => reference.trim_start_matches('#').to_owned(),
            None => place,
        }
    }

    fn validate(&mut self, place: String, instance: &Value, context: &str) {
        let document = &self.document;
        let validator = self.validators.entry(place).or_insert_with_key(|place| {
            let schema = document.pointer(place);
            let schema = schema.unwrap_or_else(|| panic!("no schema at {place}"));
            let schema = json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "components": document["components"],
                "allOf": [schema],
            });
            let options = jsonschema::options().should_validate_formats(true);
            options.build(&schema).expect("a schema")
        });
        let errors: Vec<String> = validator
            .iter_errors(instance)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:?}: {instance} {context}");
    }
}

/// The place of a call in the document.
fn operation(call: &Call<'_>) -> String {
    let path = call.template.replace('/', "~1");
    format!("/paths/{path}/{}", call.method.to_ascii_lowercase())
}
