//! Which changes a replica may not show yet, although this server has acknowledged them or knows of them.
//!
//! Each *note* has a moment: a change is shown once the replica shows everything that was committed before that moment. The
//! names that have notes are read from the server that takes changes until then, and from nowhere else.

use std::collections::HashMap;
use std::time::Instant;

use crate::link::LinkName;

/// How many names may have notes: about as many as are created within ten seconds, some 10 MB.
const MAX_NAMES: usize = 65_536;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Awaited {
    names: HashMap<LinkName, Instant>,
    /// The latest moment of all notes, also of those below.
    newest: Option<Instant>,
    /// Until the replica shows this moment, any name may have changed: there were too many names.
    any: Option<Instant>,
    /// The same, because changes by others may have been missed. These were not acknowledged by this server.
    missed: Option<Instant>,
}

/// Whether a replica that shows everything up to `as_of` may lack what was committed before `at`.
fn is_pending(at: Option<Instant>, as_of: Option<Instant>) -> bool {
    at.is_some_and(|at| as_of.is_none_or(|as_of| as_of <= at))
}

impl Awaited {
    /// Notes a change of a name that was committed before `at`.
    pub(super) fn note(&mut self, name: &LinkName, at: Instant, as_of: Option<Instant>) {
        self.newest = self.newest.max(Some(at));
        if let Some(held) = self.names.get_mut(name) {
            *held = at.max(*held);
            return;
        }
        if self.names.len() >= MAX_NAMES && !is_pending(self.any, as_of) {
            self.names.retain(|_, at| is_pending(Some(*at), as_of));
            self.any = None;
        }
        match self.names.len() {
            MAX_NAMES.. => self.any = self.any.max(Some(at)),
            _ => drop(self.names.insert(name.clone(), at)),
        }
    }

    /// Notes that changes of any names may have been committed before `at`, of which this server does not know.
    pub(super) fn note_missed(&mut self, at: Instant) {
        self.newest = self.newest.max(Some(at));
        self.missed = self.missed.max(Some(at));
    }

    /// Forgets what a replica shows.
    pub(super) fn settle(&mut self, as_of: Option<Instant>) {
        if !is_pending(self.newest, as_of) && self.newest.is_some() {
            *self = Self::default();
        }
    }

    /// Whether the replica may lack a change of this name.
    pub(super) fn holds(&self, name: &LinkName, as_of: Option<Instant>) -> bool {
        is_pending(self.newest, as_of)
            && (is_pending(self.any, as_of) || is_pending(self.names.get(name).copied(), as_of))
    }

    /// Whether it may lack any change that was noted.
    pub(super) fn is_pending(&self, as_of: Option<Instant>) -> bool {
        is_pending(self.newest, as_of)
    }

    /// Whether changes may have been missed that it does not show.
    pub(super) fn has_missed(&self, as_of: Option<Instant>) -> bool {
        is_pending(self.missed, as_of)
    }

    /// How many names have notes.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn name(number: usize) -> LinkName {
        LinkName::parse(&format!("c{number}.s.example.com")).unwrap()
    }

    #[test]
    fn a_name_is_awaited_until_a_later_moment_is_shown() {
        let mut awaited = Awaited::default();
        let began = Instant::now();
        let at = |millis| Some(began + Duration::from_millis(millis));
        assert!(!awaited.is_pending(None) && !awaited.holds(&name(1), None));
        awaited.note(&name(1), at(100).unwrap(), at(0));
        assert!(awaited.holds(&name(1), None) && awaited.holds(&name(1), at(100)));
        assert!(!awaited.holds(&name(1), at(101)) && !awaited.holds(&name(2), at(0)));
        // A later note counts, and an earlier one does not.
        awaited.note(&name(1), at(200).unwrap(), at(0));
        awaited.note(&name(1), at(150).unwrap(), at(0));
        assert!(awaited.holds(&name(1), at(200)) && !awaited.holds(&name(1), at(201)));
        awaited.settle(at(200));
        assert_eq!(awaited.len(), 1);
        awaited.settle(at(201));
        assert_eq!(awaited.len(), 0);
        assert!(!awaited.is_pending(None));
    }

    #[test]
    fn what_may_have_been_missed_concerns_lists_but_no_name_for_certain() {
        let mut awaited = Awaited::default();
        let began = Instant::now();
        let at = |millis| Some(began + Duration::from_millis(millis));
        awaited.note_missed(at(100).unwrap());
        assert!(awaited.has_missed(at(100)) && awaited.is_pending(at(100)));
        assert!(!awaited.holds(&name(1), at(0)));
        assert!(!awaited.has_missed(at(101)) && !awaited.is_pending(at(101)));
    }

    #[test]
    fn with_too_many_names_all_are_awaited() {
        let mut awaited = Awaited::default();
        let began = Instant::now();
        let at = |millis| Some(began + Duration::from_millis(millis));
        for number in 0..MAX_NAMES {
            awaited.note(&name(number), at(10).unwrap(), at(0));
        }
        assert!(!awaited.holds(&name(MAX_NAMES), at(0)));
        awaited.note(&name(MAX_NAMES), at(20).unwrap(), at(0));
        for number in [0, MAX_NAMES, MAX_NAMES + 1] {
            assert!(awaited.holds(&name(number), at(20)));
            assert!(!awaited.holds(&name(number), at(21)));
        }
        assert_eq!(awaited.len(), MAX_NAMES);
        // What is shown makes room.
        awaited.note(&name(MAX_NAMES + 1), at(40).unwrap(), at(30));
        assert_eq!(awaited.len(), 1);
        assert!(!awaited.holds(&name(0), at(30)));
        assert!(awaited.holds(&name(MAX_NAMES + 1), at(30)));
    }
}
