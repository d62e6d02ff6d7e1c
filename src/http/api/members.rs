//! Members of JSON objects, checked one by one. `None` is absent, and `Some(None)` is `null`.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::http::problem::{Kind, Problem};

/// An example time for messages.
pub(super) const TIME_EXAMPLE: &str = "2026-12-31T23:59:59Z";

/// For `deserialize_with`: tells a member that is `null` from one that is absent.
pub(super) fn present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// The problem of a body of the wrong shape.
pub(super) fn invalid(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(Kind::InvalidBody, detail)
}

/// Reads a member that is a string, `null` or absent.
pub(super) fn text(
    member: Option<Value>,
    name: &'static str,
) -> Result<Option<Option<String>>, Problem> {
    match member {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::String(text)) => Ok(Some(Some(text))),
        Some(_) if name == "expires_at" => {
            let detail = format!(
                "\"expires_at\" is not a string; write the time in the form of RFC 3339, such as {TIME_EXAMPLE:?}"
            );
            Err(invalid(detail).of(name))
        }
        Some(_) => {
            Err(invalid(format!("{name:?} is not a string; put it in double quotes")).of(name))
        }
    }
}

/// Reads a member that is an array of strings, `null` or absent.
pub(super) fn texts(
    member: Option<Value>,
    name: &'static str,
) -> Result<Option<Option<Vec<String>>>, Problem> {
    let texts = match member {
        None => return Ok(None),
        Some(Value::Null) => return Ok(Some(None)),
        Some(Value::Array(values)) => values
            .into_iter()
            .map(|value| match value {
                Value::String(text) => Some(text),
                _ => None,
            })
            .collect(),
        Some(_) => None,
    };
    let wrong = || {
        let detail = format!("{name:?} is not an array of strings, such as [\"print\", \"2026\"]");
        invalid(detail).of(name)
    };
    texts.map(|texts| Some(Some(texts))).ok_or_else(wrong)
}

/// Reads a member that is an integer, `null` or absent. Negative and huge integers have the right type, too; they
/// become `u64::MAX`, which is refused later. `300.0` is an integer (JSON Schema 2020-12 §6.1.1).
///
/// `unit` says what the number counts, with an example.
pub(super) fn integer(
    member: Option<Value>,
    name: &'static str,
    unit: &str,
) -> Result<Option<Option<u64>>, Problem> {
    /// Up to this number a float can hold every integer.
    const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
    match member {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::Number(n)) if n.is_u64() || n.is_i64() => {
            Ok(Some(Some(n.as_u64().unwrap_or(u64::MAX))))
        }
        Some(Value::Number(n)) if n.as_f64().is_some_and(|n| n.fract() == 0.0) => {
            let in_range = n.as_f64().filter(|n| (0.0..=MAX_EXACT).contains(n));
            Ok(Some(Some(in_range.map_or(u64::MAX, |n| n as u64))))
        }
        Some(_) => Err(invalid(format!("{name:?} is not an integer; it is {unit}")).of(name)),
    }
}
