//! The codes that zone files take: a link with such a name is not served, because static names win.
//!
//! A taken code cannot be registered, but a changed file can take the code of an existing link. Each load compares
//! this list with the links, so the list has a bound.

use std::collections::HashSet;

use hickory_proto::rr::LowerName;

use super::{Zone, Zones};
use crate::link::{Code, LinkName};
use crate::links::TakenNames;

/// The most names of a list; each of them is looked up in the store.
const MAX_TAKEN: usize = 1_000;

impl Zones {
    /// The names of links that static names or other zones take now and did not take `before`; at most 1,000.
    pub fn taken_names(&self, before: Option<&Zones>) -> TakenNames {
        let mut taken = TakenNames::default();
        let mut seen = HashSet::new();
        for zone in self.iter() {
            let Some(origin) = zone.link_origin() else {
                continue;
            };
            let others = self.iter().map(Zone::origin);
            let others = others.filter(|other| zone.origin().zone_of(other));
            for owner in zone.tree.names().chain(others) {
                let Some(code) = zone.code_in(owner) else {
                    continue;
                };
                let name = LinkName::new(&code, origin);
                let is_new = before.is_none_or(|before| !before.is_reserved(&name));
                if !is_new || seen.contains(&name) || !self.is_reserved(&name) {
                    continue;
                }
                if taken.names.len() >= MAX_TAKEN {
                    taken.is_cut = true;
                    return taken;
                }
                seen.insert(name.clone());
                taken.names.push(name);
            }
        }
        taken
    }
}

impl Zone {
    /// The code that a name at or below the origin takes: the label below the origin, or below the redirect host.
    fn code_in(&self, name: &LowerName) -> Option<Code> {
        let redirect_host = self.redirect_name.as_ref()?.iter().next()?;
        let mut labels = name.iter().rev().skip(self.apex_labels);
        let first = labels.next()?;
        let label = match first == redirect_host {
            true => labels.next().unwrap_or(first),
            false => first,
        };
        Code::parse(std::str::from_utf8(label).ok()?).ok()
    }
}
