//! Forms with files (`multipart/form-data`, RFC 7578), which are small enough to be in memory.

/// A part of a form: its name, and its content.
pub(super) type Part<'a> = (String, &'a [u8]);

/// How many parts a form may have.
const MAX_PARTS: usize = 64;

/// The boundary in a media type (RFC 2046 §5.1.1); none if it is not that of such a form.
pub(super) fn boundary(media_type: &str) -> Option<&str> {
    let (essence, parameters) = media_type.split_once(';')?;
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let mut parameters = parameters.split(';');
    let boundary = parameters.find_map(|parameter| {
        let (name, value) = parameter.trim().split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then_some(value)
    })?;
    let boundary = boundary.trim_matches('"');
    (1..=70).contains(&boundary.len()).then_some(boundary)
}

/// The parts of a body; none if it is not well-formed.
pub(super) fn parts<'a>(body: &'a [u8], boundary: &str) -> Option<Vec<Part<'a>>> {
    let delimiter = format!("\r\n--{boundary}");
    // The first delimiter may be at the beginning.
    let mut rest = match body.strip_prefix(delimiter.trim_start().as_bytes()) {
        Some(rest) => rest,
        None => split(body, delimiter.as_bytes())?.1,
    };
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Some(parts);
        }
        if parts.len() == MAX_PARTS {
            return None;
        }
        let (part, behind) = split(rest, delimiter.as_bytes())?;
        let (head, content) = match part.strip_prefix(b"\r\n\r\n") {
            Some(content) => (&b""[..], content),
            None => split(part, b"\r\n\r\n")?,
        };
        let head = std::str::from_utf8(head).ok()?;
        parts.push((name(head)?, content));
        rest = behind;
    }
}

/// The name in the head of a part. Browsers write a quote in it as `%22`.
fn name(head: &str) -> Option<String> {
    const HEADER: &str = "content-disposition:";
    let line = head.lines().find(|line| {
        let start = line.get(..HEADER.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(HEADER))
    })?;
    let (_, rest) = line.split_once("; name=\"")?;
    let (name, _) = rest.split_once('"')?;
    Some(name.to_owned())
}

/// What is before and behind the first `separator`.
fn split<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let mut windows = bytes.windows(separator.len());
    let at = windows.position(|window| window == separator)?;
    Some((&bytes[..at], &bytes[at + separator.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(boundary(text), expected);
        check("multipart/form-data; boundary=abc", Some("abc"));
        check(
            "Multipart/Form-Data; charset=x; Boundary=\"a c\"",
            Some("a c"),
        );
        check("multipart/form-data", None);
        check("multipart/form-data; boundary=", None);
        check("text/plain; boundary=abc", None);
    }

    #[test]
    fn bodies() {
        let check = |body: &str, expected: Option<&[(&str, &str)]>| {
            let found = parts(body.as_bytes(), "B");
            let found = found.map(|parts| {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let owned = parts.into_iter().map(|(name, bytes)| (name, text(bytes)));
                owned.collect::<Vec<_>>()
            });
            let expected = expected.map(|parts| {
                let owned = parts
                    .iter()
                    .map(|(name, text)| ((*name).into(), (*text).into()));
                owned.collect::<Vec<_>>()
            });
            assert_eq!(found, expected, "{body:?}");
        };
        let a = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--\r\n";
        check(&format!("{a}--B--\r\n"), Some(&[("a", "1\r\n--")]));
        let b = "--B\r\nX: y\r\ncontent-disposition: form-data; name=\"b\"; filename=\"f.csv\"\r\n\r\n\r\n";
        check(
            &format!("{a}{b}--B--"),
            Some(&[("a", "1\r\n--"), ("b", "")]),
        );
        check(&format!("before\r\n{a}--B--"), Some(&[("a", "1\r\n--")]));
        check("--B--", Some(&[]));
        check(a, None);
        check("", None);
        check("--B\r\n\r\n1\r\n--B--", None);
        check(&a.repeat(65), None);
    }
}
