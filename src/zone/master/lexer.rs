//! Splits a master file into entries and tokens, each with its place (RFC 1035 §5.1).
//!
//! An entry is a line, or several lines that parentheses join. This module alone deals with lines: parentheses,
//! comments, quoted strings and line ends. Later steps see only tokens, so an error in one entry does not affect
//! the next one, and every message can name the right line.

use super::super::diagnostic::Defect;

/// The most tokens in an entry: 65,535 bytes of rdata in RFC 3597 form with a blank behind each hexadecimal digit,
/// and the fields before them.
const MAX_ENTRY_TOKENS: usize = 2 * 65_535 + 16;

/// The longest token, in bytes: 65,535 bytes of rdata, each written as `\DDD`, and quotes. A longer token is the
/// result of a quote that is closed too late.
pub(super) const MAX_TOKEN_LEN: usize = 4 * 65_535 + 2;
/// How much of a token a message shows, in bytes.
const MAX_SHOWN_LEN: usize = 100;

/// A place in a file. Line and column are counted from 1, columns in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: u32,
    pub(super) column: u32,
}

/// A token as it stands in the file, with its quotes and escapes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'t> {
    pub(super) raw: &'t [u8],
    pub(super) place: Position,
    /// Whether white space stands before it. `"a""b"` is two tokens, the second without white space.
    pub(super) spaced: bool,
}

impl Token<'_> {
    /// Whether the token starts with a quote. Other tokens may contain quotes (`alpn="h2"`).
    pub(super) fn is_quoted(&self) -> bool {
        self.raw.first() == Some(&b'"')
    }

    /// The beginning of the token, for a message.
    pub(super) fn shown(&self) -> String {
        match self.raw.split_at_checked(MAX_SHOWN_LEN) {
            None => self.text(),
            Some((first, _)) => String::from_utf8_lossy(first).into_owned() + "...",
        }
    }

    /// The token as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(self.raw).into_owned()
    }
}

/// A record or a directive; it has at least one token.
#[derive(Debug)]
pub(super) struct Entry<'t> {
    /// Whether it begins with white space, and so inherits the owner of the entry before it.
    pub(super) indented: bool,
    pub(super) tokens: Vec<Token<'t>>,
}

/// An error in the text.
#[derive(Debug)]
pub(super) struct LexError {
    pub(super) place: Position,
    pub(super) defect: Defect,
    /// Whether the rest of the file can still be read.
    pub(super) go_on: bool,
}

/// The parentheses that are open in an entry.
#[derive(Default)]
struct Open {
    depth: usize,
    outermost: Option<Position>,
}

/// Reads entries from the text of a master file.
pub(super) struct Lexer<'t> {
    text: &'t [u8],
    at: usize,
    line: u32,
    line_start: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t [u8]) -> Self {
        // RFC 3629 §6: a byte order mark is not part of the text. Some editors write one.
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        Self {
            text,
            at: 0,
            line: 1,
            line_start: 0,
        }
    }

    /// The next entry, or none at the end of the file. After an error with `go_on`, reading continues with the
    /// next line.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry<'t>>, LexError> {
        while self.at < self.text.len() {
            let mut open = Open::default();
            match self.entry(&mut open) {
                Ok(Some(entry)) => return Ok(Some(entry)),
                Ok(None) => {}
                Err(mut error) => {
                    // Within parentheses there is no sign of where the next entry begins.
                    error.go_on &= open.depth == 0;
                    self.skip_line();
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// Reads up to the end of the line, or of the last line that parentheses join; none if there is no token.
    fn entry(&mut self, open: &mut Open) -> Result<Option<Entry<'t>>, LexError> {
        let indented = matches!(self.peek(), Some(b' ' | b'\t'));
        let mut tokens: Vec<Token<'t>> = Vec::new();
        let mut spaced = indented;
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => {
                    self.newline();
                    if open.depth == 0 {
                        break;
                    }
                }
                b'\r' if self.text.get(self.at + 1) == Some(&b'\n') => self.at += 1,
                b' ' | b'\t' => self.at += 1,
                b';' => self.skip_comment(),
                b'(' => {
                    if open.depth == 0 {
                        open.outermost = Some(self.place());
                    }
                    open.depth += 1;
                    self.at += 1;
                }
                b')' => {
                    if open.depth == 0 {
                        return Err(self.error(Defect::UnopenedParenthesis));
                    }
                    open.depth -= 1;
                    self.at += 1;
                }
                _ if tokens.len() >= MAX_ENTRY_TOKENS => {
                    return Err(self.error(Defect::LongEntry(MAX_ENTRY_TOKENS)));
                }
                _ => {
                    tokens.push(self.token(spaced)?);
                    spaced = false;
                    continue;
                }
            }
            spaced = true;
        }
        if let (Some(place), 1..) = (open.outermost, open.depth) {
            return Err(LexError {
                place,
                defect: Defect::UnclosedParenthesis,
                go_on: false,
            });
        }
        Ok((!tokens.is_empty()).then_some(Entry { indented, tokens }))
    }

    /// Reads one token.
    fn token(&mut self, spaced: bool) -> Result<Token<'t>, LexError> {
        let start = self.at;
        let place = self.place();
        if self.peek() == Some(b'"') {
            self.quoted()?;
        } else {
            while let Some(byte) = self.peek() {
                match byte {
                    b'"' => self.quoted()?,
                    b'\\' => self.escape()?,
                    b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' => break,
                    0x21..=0x7E => self.at += 1,
                    _ => return Err(self.error(Defect::BadByte(byte))),
                }
            }
            if self.at == start {
                // A carriage return that ends no line. A terminal would overwrite the line with the text behind
                // it.
                return Err(self.error(Defect::BadByte(b'\r')));
            }
        }
        if self.at - start > MAX_TOKEN_LEN {
            return Err(LexError {
                place,
                defect: Defect::LongToken(MAX_TOKEN_LEN),
                go_on: true,
            });
        }
        Ok(Token {
            raw: &self.text[start..self.at],
            place,
            spaced,
        })
    }

    /// Reads a quoted string, which may contain any byte except a line end. RFC 1035 §5.1 allows line ends, but
    /// then two forgotten quotes would turn all records between them into one string without an error. BIND
    /// refuses line ends as well.
    fn quoted(&mut self) -> Result<(), LexError> {
        let place = self.place();
        self.at += 1;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.escape()?,
                b'\n' => break,
                _ => self.at += 1,
            }
        }
        Err(LexError {
            place,
            defect: Defect::UnclosedQuote,
            go_on: true,
        })
    }

    /// Skips a backslash and the character that it escapes.
    fn escape(&mut self) -> Result<(), LexError> {
        match self.text.get(self.at + 1) {
            None | Some(b'\r' | b'\n') => Err(self.error(Defect::BadEscape)),
            Some(_) => {
                self.at += 2;
                Ok(())
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn place(&self) -> Position {
        Position {
            line: self.line,
            column: u32::try_from(self.at - self.line_start + 1).unwrap_or(u32::MAX),
        }
    }

    fn error(&self, defect: Defect) -> LexError {
        LexError {
            place: self.place(),
            defect,
            go_on: true,
        }
    }

    fn newline(&mut self) {
        self.at += 1;
        self.line = self.line.saturating_add(1);
        self.line_start = self.at;
    }

    /// Goes to the end of the line, and leaves the line end.
    fn skip_comment(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
    }

    /// Goes to the start of the next line.
    fn skip_line(&mut self) {
        self.skip_comment();
        if self.at < self.text.len() {
            self.newline();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens of every entry, each as `line:column text`; an indented entry starts with `>`.
    fn entries(text: &str) -> Vec<Vec<String>> {
        let mut lexer = Lexer::new(text.as_bytes());
        let mut all = Vec::new();
        while let Some(entry) = lexer.next_entry().unwrap() {
            let mut shown: Vec<_> = entry
                .tokens
                .iter()
                .map(|t| format!("{}:{} {}", t.place.line, t.place.column, t.text()))
                .collect();
            if entry.indented {
                shown.insert(0, ">".into());
            }
            all.push(shown);
        }
        all
    }

    #[track_caller]
    fn check(text: &str, expected: &[&[&str]]) {
        assert_eq!(entries(text), expected, "{text:?}");
    }

    #[track_caller]
    fn check_error(text: &str, line: u32, column: u32, message: &str) {
        let mut lexer = Lexer::new(text.as_bytes());
        let error = loop {
            match lexer.next_entry() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("no error in {text:?}"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.place, Position { line, column }, "{text:?}");
        assert!(error.defect.to_string().contains(message), "{error:?}");
    }

    #[test]
    fn rfc_1035_5_1_lines_and_tokens() {
        check("", &[]);
        check("\n \t\n; a comment\n  ; another", &[]);
        check("a b\nc", &[&["1:1 a", "1:3 b"], &["2:1 c"]]);
        check("\tb ; \"(\n", &[&[">", "1:2 b"]]);
        check("a\r\nb\r\n", &[&["1:1 a"], &["2:1 b"]]);
        check("\u{feff}a", &[&["1:1 a"]]);
        check(r"a\ b a\;c \(", &[&[r"1:1 a\ b", r"1:6 a\;c", r"1:11 \("]]);
    }

    #[test]
    fn rfc_1035_5_1_parentheses_join_lines() {
        check(
            "a (b ; (\n c\n\n(d) )\ne",
            &[&["1:1 a", "1:4 b", "2:2 c", "4:2 d"], &["5:1 e"]],
        );
        check("a(b)c", &[&["1:1 a", "1:3 b", "1:5 c"]]);
    }

    #[test]
    fn rfc_1035_5_1_quoted_strings() {
        check(
            r#"a "b; (c) \" d" e"#,
            &[&["1:1 a", r#"1:3 "b; (c) \" d""#, "1:17 e"]],
        );
        check(r#"""  k="a b"c"#, &[&[r#"1:1 """#, r#"1:5 k="a b"c"#]]);
        let mut lexer = Lexer::new(br#""a""b""#);
        let entry = lexer.next_entry().unwrap().unwrap();
        assert_eq!(entry.tokens.len(), 2);
        assert!(!entry.tokens[1].spaced);
    }

    #[test]
    fn errors_have_the_place_of_the_mistake() {
        check_error("a\nb (\nc\nd\n", 2, 3, "never closed");
        check_error("a\nb )\n", 2, 3, "unmatched \")\"");
        check_error("a\n\nb \"c\nd", 3, 3, "quote");
        check_error("a \"b\nc \"d\"\ne \"f\"\n", 1, 3, "quote");
        check_error("a \"b\nc d\ne f\"\n", 1, 3, "quote");
        check_error("a (\n\"b\nc\" )\n", 2, 1, "quote");
        check_error("a \"b\r\nc\"\n", 1, 3, "quote");
        check_error("a b\\\nc", 1, 4, "backslash");
        check_error("a b\\", 1, 4, "backslash");
        check_error("a\rb", 1, 2, "carriage return");
        check_error("a b\u{1}", 1, 4, "0x01");
        check_error("ab é", 1, 4, "0xC3");
        check_error("ab c\u{7f}", 1, 5, "0x7F");
    }

    #[test]
    fn reading_goes_on_with_the_entry_after_an_error() {
        let mut lexer = Lexer::new(b"a )\nb c\n");
        assert!(lexer.next_entry().unwrap_err().go_on);
        let entry = lexer.next_entry().unwrap().unwrap();
        assert_eq!(entry.tokens[0].text(), "b");
        assert_eq!(entry.tokens[0].place.line, 2);
        let mut lexer = Lexer::new(b"a \"b\nc d\n");
        assert!(lexer.next_entry().unwrap_err().go_on);
        let entry = lexer.next_entry().unwrap().unwrap();
        assert_eq!(entry.tokens[0].text(), "c");
    }

    #[test]
    fn an_entry_is_bounded() {
        let text = "a ".repeat(MAX_ENTRY_TOKENS + 1);
        check_error(&text, 1, text.len() as u32 - 1, "131086");
    }
}
