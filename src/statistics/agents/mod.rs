//! What the user agents of programs look like: which requests come from robots, which from programs that make previews, and
//! which, as far as one can tell, from people.
//!
//! `crawlers.txt` has the patterns of the project crawler-user-agents, whose licence is in `LICENSE`. The script `update`
//! writes both. The project's tag `social-preview` tells the programs that make previews from the others. `ours.txt` has
//! what that list lacks, and the patterns of it that are left out because the browsers of people match them.
//!
//! Nearly all patterns are plain texts. An Aho-Corasick automaton looks for all of them in one pass; a small [`RegexSet`] has
//! the others. One `RegexSet` of all 1,500 was rejected: its automaton does not fit into a bounded memory, so that a user agent
//! that a client makes up takes 11 ms of a core. This way, none takes more than some 50 µs. Each thread remembers the
//! classes of the user agents that it has seen last: not the text, but a hash of it with a key that is chosen at random when
//! the thread begins.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::hash::BuildHasher;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use foldhash::quality::RandomState;
use regex::bytes::{RegexSet, RegexSetBuilder};

use crate::store::statistics::Click;

/// The patterns of crawler-user-agents.
const CRAWLERS: &str = include_str!("crawlers.txt");
/// The additions and exceptions of this project.
const OURS: &str = include_str!("ours.txt");
/// How many bytes of a user agent are looked at. Those of browsers are shorter.
pub(super) const MAX_AGENT_BYTES: usize = 512;
/// The most memory that the compiled expressions take, in bytes.
const MAX_EXPRESSION_BYTES: usize = 4 << 20;
/// The most memory that the search for expressions takes in each thread, in bytes.
const MAX_SEARCH_BYTES: usize = 1 << 20;
/// How many user agents a thread remembers. Each takes 16 bytes.
const REMEMBERED: usize = 1_024;

/// Why the patterns cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AgentsError {
    /// A line is not a class, a tab and a pattern.
    #[error("the program's list of user agents is damaged: {0:?}")]
    Line(&'static str),
    /// The plain texts cannot be compiled.
    #[error("the program's list of user agents cannot be used: {0}")]
    Texts(#[from] aho_corasick::BuildError),
    /// The expressions are wrong or take too much memory.
    #[error("the program's list of user agents cannot be used: {0}")]
    Expressions(#[from] regex::Error),
}

/// The classes of user agents.
#[derive(Debug)]
pub struct Agents {
    texts: AhoCorasick,
    /// The classes of the texts.
    text_classes: Vec<Program>,
    expressions: RegexSet,
    /// The classes of the expressions.
    expression_classes: Vec<Program>,
}

/// What kind of program a pattern stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Bot,
    Preview,
}

impl Agents {
    /// Compiles the patterns, which takes some milliseconds.
    ///
    /// # Errors
    /// [`AgentsError`] if the lists in the program are damaged.
    pub fn new() -> Result<Self, AgentsError> {
        let (mut texts, mut text_classes) = (Vec::new(), Vec::new());
        let (mut expressions, mut expression_classes) = (Vec::new(), Vec::new());
        for (program, pattern) in patterns()? {
            if let Some(text) = plain_text(pattern) {
                texts.push(text);
                text_classes.push(program);
            } else {
                expressions.push(pattern);
                expression_classes.push(program);
            }
        }
        Ok(Self {
            // The other kind that is fast takes 20 times the memory.
            texts: AhoCorasick::builder()
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .build(texts)?,
            text_classes,
            expressions: RegexSetBuilder::new(expressions)
                .unicode(false)
                .size_limit(MAX_EXPRESSION_BYTES)
                .dfa_size_limit(MAX_SEARCH_BYTES)
                .build()?,
            expression_classes,
        })
    }

    /// The class of a request by its user agent: a person, a robot or a preview maker. A request without a user agent comes
    /// from a robot.
    pub fn class(&self, agent: Option<&[u8]>) -> Click {
        let agent = agent.unwrap_or_default();
        let agent = &agent[..agent.len().min(MAX_AGENT_BYTES)];
        if agent.is_empty() {
            return Click::Bot;
        }
        thread_local! {
            static MEMORY: RefCell<Memory> = RefCell::new(Memory::new());
        }
        MEMORY.with_borrow_mut(|memory| memory.class(agent, || self.search(agent)))
    }

    fn search(&self, agent: &[u8]) -> Click {
        let texts = self.texts.find_overlapping_iter(agent);
        let texts = texts.map(|found| self.text_classes[found.pattern().as_usize()]);
        let expressions = self.expressions.matches(agent);
        let expressions = expressions
            .iter()
            .map(|index| self.expression_classes[index]);
        let mut class = Click::Person;
        for program in texts.chain(expressions) {
            match program {
                // Many preview makers also call themselves robots.
                Program::Preview => return Click::Preview,
                Program::Bot => class = Click::Bot,
            }
        }
        class
    }
}

/// The patterns of both lists.
fn patterns() -> Result<Vec<(Program, &'static str)>, AgentsError> {
    let (mut patterns, mut exceptions) = (Vec::new(), Vec::new());
    let lines = OURS.lines().chain(CRAWLERS.lines());
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once('\t') {
            Some(("except", pattern)) => exceptions.push(pattern),
            Some((_, pattern)) if exceptions.contains(&pattern) => {}
            Some(("preview", pattern)) => patterns.push((Program::Preview, pattern)),
            Some(("bot", pattern)) => patterns.push((Program::Bot, pattern)),
            _ => return Err(AgentsError::Line(line)),
        }
    }
    Ok(patterns)
}

/// The text that a pattern stands for; none if it is an expression.
fn plain_text(pattern: &str) -> Option<String> {
    let mut text = String::with_capacity(pattern.len());
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            // `\.` is a dot, and `\d` is a class.
            '\\' => text.push(letters.next().filter(char::is_ascii_punctuation)?),
            '[' | ']' | '(' | ')' | '{' | '}' | '*' | '+' | '?' | '.' | '^' | '$' | '|' => {
                return None;
            }
            other => text.push(other),
        }
    }
    Some(text)
}

/// The classes of the user agents that a thread has seen last. Each has one place, where a later one may replace it.
struct Memory {
    hasher: RandomState,
    places: Box<[Option<(u64, Click)>]>,
}

impl Memory {
    fn new() -> Self {
        Self {
            hasher: RandomState::default(),
            places: vec![None; REMEMBERED].into(),
        }
    }

    fn class(&mut self, agent: &[u8], search: impl FnOnce() -> Click) -> Click {
        let hash = self.hasher.hash_one(agent);
        let place = usize::try_from(hash % REMEMBERED as u64).unwrap_or_default();
        match self.places[place] {
            Some((known, class)) if known == hash => class,
            _ => {
                let class = search();
                self.places[place] = Some((hash, class));
                class
            }
        }
    }
}
