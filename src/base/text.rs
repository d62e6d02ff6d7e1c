//! Text for one line of a terminal or a log.

use std::error::Error;

/// Escapes the control characters of a text, for one line of a terminal or a log: a quoted key may contain a line
/// break, and a reply of a server may contain anything.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().fold(String::new(), |mut line, c| {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
        line
    })
}

/// An error and its causes, as `effect: cause: …`. An error whose own text has several lines, such as the
/// faults of zone files, keeps them. A cause that the effect already quotes is left out.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let shown = cause.to_string();
        if text.is_empty() {
            text = shown;
        } else if !text.ends_with(&shown) {
            text = format!("{text}: {shown}");
        }
        next = cause.source();
    }
    text
}
