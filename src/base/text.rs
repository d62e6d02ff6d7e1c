//! Text for one line of a terminal or a log.

/// The text with its control characters escaped, for one line of a terminal or a log: a quoted key
/// may hold a line break, and what a server sends may hold anything.
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
