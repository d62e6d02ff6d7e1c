//! What all pages have in common: the title, the menu, and who is logged in.

use super::assets::{ICON, SCRIPT, STYLE};
use super::visitor::Visitor;
use crate::access::{Permission, Role};

/// An entry of the menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The form for a new link.
    New,
    /// The list of links, and the pages of one link.
    Links,
    /// The statistics of zones.
    Stats,
    /// Many links at once.
    Bulk,
    /// The tokens.
    Tokens,
    /// The audit log.
    Audit,
    /// The pools of addresses.
    Pools,
    /// How the server is.
    Health,
    /// None of them.
    Elsewhere,
}

/// The frame of a page.
pub(super) struct Frame {
    pub(super) title: String,
    visitor: Option<Logged>,
    place: Place,
    /// Whether the main part is narrow, as for a form.
    pub(super) is_narrow: bool,
}

/// Who is logged in.
struct Logged {
    name: String,
    role: Role,
    form_token: String,
    has_pools: bool,
}

/// An entry of the menu, as the template shows it.
pub(super) struct Entry {
    pub(super) path: &'static str,
    pub(super) label: &'static str,
    pub(super) is_here: bool,
}

impl Frame {
    /// The frame of a page that anyone may see.
    pub(super) fn open(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            visitor: None,
            place: Place::Elsewhere,
            is_narrow: true,
        }
    }

    /// The frame of a page for a visitor.
    pub(super) fn new(title: impl Into<String>, visitor: &Visitor, place: Place) -> Self {
        let caller = &visitor.session.caller;
        Self {
            title: title.into(),
            visitor: Some(Logged {
                name: caller.name().to_owned(),
                role: caller.role(),
                form_token: visitor.session.form_token.to_string(),
                has_pools: visitor.has_pools,
            }),
            place,
            is_narrow: false,
        }
    }

    /// The same with a narrow main part.
    pub(super) fn narrow(self) -> Self {
        Self {
            is_narrow: true,
            ..self
        }
    }

    pub(super) fn is_logged_in(&self) -> bool {
        self.visitor.is_some()
    }

    pub(super) fn name(&self) -> &str {
        self.visitor.as_ref().map_or("", |visitor| &visitor.name)
    }

    pub(super) fn role(&self) -> &str {
        self.visitor
            .as_ref()
            .map_or("", |visitor| visitor.role.name())
    }

    /// The token for the forms of the page.
    pub(super) fn form_token(&self) -> &str {
        let visitor = self.visitor.as_ref();
        visitor.map_or("", |visitor| &visitor.form_token)
    }

    /// The entries of the menu.
    pub(super) fn menu(&self) -> Vec<Entry> {
        let entry = |path, label, place| Entry {
            path,
            label,
            is_here: self.place == place,
        };
        let all = [
            (entry("/", "New", Place::New), Permission::Write),
            (entry("/links", "Links", Place::Links), Permission::Read),
            (entry("/stats", "Stats", Place::Stats), Permission::Read),
            (entry("/bulk", "Bulk", Place::Bulk), Permission::Write),
            (
                entry("/tokens", "Tokens", Place::Tokens),
                Permission::Administer,
            ),
            (
                entry("/audit", "Audit", Place::Audit),
                Permission::Administer,
            ),
            (
                entry("/pools", "Pools", Place::Pools),
                Permission::Administer,
            ),
            (entry("/health", "Health", Place::Health), Permission::Read),
        ];
        let Some(visitor) = &self.visitor else {
            return Vec::new();
        };
        let offered = all.into_iter().filter(|(entry, needed)| {
            visitor.role.may(*needed) && (visitor.has_pools || entry.path != "/pools")
        });
        offered.map(|(entry, _)| entry).collect()
    }

    pub(super) fn style(&self) -> String {
        STYLE.url()
    }

    pub(super) fn script(&self) -> String {
        SCRIPT.url()
    }

    pub(super) fn icon(&self) -> String {
        ICON.url()
    }

    pub(super) fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }
}

/// Whether a visitor may make links.
pub(super) fn may_write(visitor: &Visitor) -> bool {
    visitor.may(Permission::Write)
}

/// Whether a visitor may withhold links.
pub(super) fn may_withhold(visitor: &Visitor) -> bool {
    visitor.may(Permission::Administer)
}
