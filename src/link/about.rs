//! What people say about a link: its title, tags and note.
//!
//! DNS and redirects never need these values, so only the store keeps them. Most links have none of them, and such an
//! [`About`] is one word.

use std::fmt;

/// The most characters of a title.
const MAX_TITLE: usize = 200;
/// The most tags of a link.
const MAX_TAGS: usize = 16;
/// The most characters of a tag.
const MAX_TAG: usize = 32;
/// The most characters of a note.
const MAX_NOTE: usize = 2_000;

/// A title: 1 to [`Title::MAX`] characters in one line, without white space at its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title(Box<str>);

/// A tag: 1 to [`Tag::MAX`] characters in one line, in lower case, without commas or white space at its ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(Box<str>);

/// The tags of a link: at most [`Tags::MAX`], without duplicates, sorted by their characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Box<[Tag]>);

/// A note: 1 to [`Note::MAX`] characters, which may be line feeds and tabs, without white space at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note(Box<str>);

/// Why a text is no title, tag or note, and no [reason](super::Reason).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AboutError {
    /// The text is empty, or white space.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// The text is too long.
    #[error("the {what} has {found} characters; at most {max} are accepted")]
    TooLong {
        /// What the text is.
        what: &'static str,
        /// Its number of characters.
        found: usize,
        /// The most characters that are accepted.
        max: usize,
    },
    /// The text has a control character, or a character that would change the direction of the text around it.
    #[error("the {what} has the control character U+{code:04X} at character {place}; remove it")]
    ControlCharacter {
        /// What the text is.
        what: &'static str,
        /// The code point.
        code: u32,
        /// Its place, from 1.
        place: usize,
    },
    /// A tag has a comma.
    #[error("the tag {0:?} has a comma; write several tags as separate ones")]
    Comma(String),
    /// Too many tags.
    #[error("the link has {0} tags; at most {MAX_TAGS} are accepted")]
    TooManyTags(usize),
}

impl Title {
    /// The most characters.
    pub const MAX: usize = MAX_TITLE;

    /// A title; drops white space at its ends.
    ///
    /// # Errors
    /// [`AboutError`] says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, AboutError> {
        let text = bounded("title", text.trim(), MAX_TITLE, |_| false)?;
        Ok(Self(text.into()))
    }

    /// The title as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tag {
    /// The most characters.
    pub const MAX: usize = MAX_TAG;

    /// A tag; drops white space at its ends, and converts the text to lower case.
    ///
    /// # Errors
    /// [`AboutError`] says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, AboutError> {
        let text = text.trim();
        // Before the conversion, so that no long text is copied. Few characters become longer by it.
        bounded("tag", text, MAX_TAG, |_| false)?;
        if text.contains(',') {
            return Err(AboutError::Comma(text.into()));
        }
        let lower = text.to_lowercase();
        bounded("tag", &lower, MAX_TAG, |_| false)?;
        Ok(Self(lower.into()))
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tags {
    /// The most tags of a link.
    pub const MAX: usize = MAX_TAGS;

    /// The tags; drops duplicates, and sorts them.
    ///
    /// # Errors
    /// [`AboutError::TooManyTags`].
    pub fn new(mut tags: Vec<Tag>) -> Result<Self, AboutError> {
        tags.sort();
        tags.dedup();
        match tags.len() {
            0..=MAX_TAGS => Ok(Self(tags.into())),
            found => Err(AboutError::TooManyTags(found)),
        }
    }

    /// The tags of these texts.
    ///
    /// # Errors
    /// [`AboutError`] says which rule they break.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, AboutError> {
        let tags: Result<Vec<_>, _> = texts.into_iter().map(Tag::parse).collect();
        Self::new(tags?)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is one of them.
    pub fn contains(&self, tag: &Tag) -> bool {
        self.0.binary_search(tag).is_ok()
    }

    /// The tags in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Tag::as_str)
    }
}

impl Note {
    /// The most characters.
    pub const MAX: usize = MAX_NOTE;

    /// A note; drops white space at its end, and turns all line breaks into line feeds.
    ///
    /// # Errors
    /// [`AboutError`] says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, AboutError> {
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let is_layout = |c| matches!(c, '\n' | '\t');
        let text = bounded("note", text.trim_end(), MAX_NOTE, is_layout)?;
        Ok(Self(text.into()))
    }

    /// The note as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text, if it has 1 to `max` characters and no control characters except those that are `allowed`.
pub(super) fn bounded<'a>(
    what: &'static str,
    text: &'a str,
    max: usize,
    allowed: fn(char) -> bool,
) -> Result<&'a str, AboutError> {
    let is_refused = |c: char| (c.is_control() || is_direction(c)) && !allowed(c);
    if text.is_empty() {
        return Err(AboutError::Empty(what));
    }
    let found = text.chars().count();
    if found > max {
        return Err(AboutError::TooLong { what, found, max });
    }
    match text.chars().position(is_refused) {
        None => Ok(text),
        Some(at) => Err(AboutError::ControlCharacter {
            what,
            code: text.chars().nth(at).map_or(0, u32::from),
            place: at + 1,
        }),
    }
}

/// Whether a character is one of the Unicode embeddings, overrides and isolates (UAX #9 §2), or ends a line although it
/// is no control character. In a list they would make a text look like another one.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// What people say about a link.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct About(Option<Box<Texts>>);

/// The texts of an [`About`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Texts {
    title: Option<Title>,
    tags: Tags,
    note: Option<Note>,
}

impl About {
    /// These texts.
    pub fn new(title: Option<Title>, tags: Tags, note: Option<Note>) -> Self {
        let texts = Texts { title, tags, note };
        Self((texts != Texts::default()).then(|| Box::new(texts)))
    }

    /// The title.
    pub fn title(&self) -> Option<&Title> {
        self.0.as_ref().and_then(|texts| texts.title.as_ref())
    }

    /// The tags.
    pub fn tags(&self) -> &Tags {
        static NONE: std::sync::LazyLock<Tags> = std::sync::LazyLock::new(Tags::default);
        self.0.as_ref().map_or(&NONE, |texts| &texts.tags)
    }

    /// The note.
    pub fn note(&self) -> Option<&Note> {
        self.0.as_ref().and_then(|texts| texts.note.as_ref())
    }

    /// The same after a change.
    pub fn changed(self, change: AboutChange) -> Self {
        let texts = self.0.map_or_else(Texts::default, |texts| *texts);
        Self::new(
            change.title.unwrap_or(texts.title),
            change.tags.unwrap_or(texts.tags),
            change.note.unwrap_or(texts.note),
        )
    }
}

impl fmt::Debug for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(texts) => texts.fmt(f),
            None => f.write_str("About"),
        }
    }
}

/// A change of an [`About`]; a field that is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AboutChange {
    /// A new title, or `Some(None)` for no title.
    pub title: Option<Option<Title>>,
    /// All tags.
    pub tags: Option<Tags>,
    /// A new note, or `Some(None)` for no note.
    pub note: Option<Option<Note>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_one_line() {
        let title = |text: &str| Title::parse(text).map(|title| title.as_str().to_owned());
        assert_eq!(title(" Autumn sale\t"), Ok("Autumn sale".into()));
        assert_eq!(title(&"ü".repeat(200)), Ok("ü".repeat(200)));
        let check =
            |text: &str, reason: &str| assert_eq!(title(text).unwrap_err().to_string(), reason);
        check(" \n", "the title is empty");
        check(
            &"ü".repeat(201),
            "the title has 201 characters; at most 200 are accepted",
        );
        check(
            "a\nb",
            "the title has the control character U+000A at character 2; remove it",
        );
        check(
            "abc\u{202E}",
            "the title has the control character U+202E at character 4; remove it",
        );
    }

    #[test]
    fn tags_are_compared_without_case_and_sorted() {
        let tags = |texts: &[&str]| {
            let tags = Tags::parse(texts.iter().copied());
            tags.map(|tags| tags.iter().map(ToOwned::to_owned).collect::<Vec<_>>())
        };
        assert_eq!(
            tags(&["Print", " äRGER ", "print", "a b"]).unwrap(),
            ["a b", "print", "ärger"]
        );
        let many: Vec<String> = (0..17).map(|n| format!("t{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(tags(&many[..16]).unwrap().len(), 16);
        let check = |texts: &[&str], reason: &str| {
            assert_eq!(tags(texts).unwrap_err().to_string(), reason);
        };
        check(&many, "the link has 17 tags; at most 16 are accepted");
        check(&["a", " "], "the tag is empty");
        check(
            &["a,b"],
            "the tag \"a,b\" has a comma; write several tags as separate ones",
        );
        check(
            &[&"x".repeat(33)],
            "the tag has 33 characters; at most 32 are accepted",
        );
        // This letter has two characters in lower case.
        check(
            &[&"İ".repeat(17)],
            "the tag has 34 characters; at most 32 are accepted",
        );
        let parsed = Tags::parse(["b", "a"]).unwrap();
        assert!(parsed.contains(&Tag::parse("B").unwrap()));
        assert!(!parsed.contains(&Tag::parse("c").unwrap()));
    }

    #[test]
    fn notes_have_lines() {
        let note = |text: &str| Note::parse(text).map(|note| note.as_str().to_owned());
        assert_eq!(
            note(" one\r\ntwo\rthree\n\tx\n\n"),
            Ok(" one\ntwo\nthree\n\tx".into())
        );
        assert_eq!(note("\n \n"), Err(AboutError::Empty("note")));
        assert!(note(&"n".repeat(2_000)).is_ok());
        assert!(note(&"n".repeat(2_001)).is_err());
        assert!(note("a\u{1b}[2J").is_err());
    }

    #[test]
    fn a_change_leaves_the_rest_alone() {
        let title = Title::parse("t").ok();
        let note = Note::parse("n").ok();
        let tags = Tags::parse(["a"]).unwrap();
        let about = About::new(title.clone(), tags.clone(), note.clone());
        let without_title = about.clone().changed(AboutChange {
            title: Some(None),
            ..AboutChange::default()
        });
        assert_eq!(without_title, About::new(None, tags, note.clone()));
        let without_tags = about.clone().changed(AboutChange {
            tags: Some(Tags::default()),
            ..AboutChange::default()
        });
        assert_eq!(without_tags, About::new(title, Tags::default(), note));
        assert_eq!(about.clone().changed(AboutChange::default()), about);
        assert_eq!(size_of::<About>(), size_of::<usize>());
        assert_eq!(About::new(None, Tags::default(), None), About::default());
    }
}
