//! `tinyns store identity` and `tinyns store restored`.

use std::fmt::Write as _;

use serde_json::json;

use super::super::output::print;
use super::super::shown::row;
use super::open::{InUse, Purpose, open};
use crate::base::text::one_line;
use crate::config::Config;

/// Shows which store the configuration names.
pub(super) async fn show(config: &Config, as_json: bool) -> anyhow::Result<()> {
    let opened = open(config, Purpose::Read).await?;
    let links = opened.store.estimate().await;
    let facts = &opened.facts;
    if as_json {
        let in_use = match opened.in_use {
            InUse::Yes => Some(true),
            InUse::No => Some(false),
            InUse::Unknown => None,
        };
        let text = json!({
            "kind": facts.kind,
            "id": facts.id,
            "epoch": facts.epoch,
            "place": facts.place,
            "links": links,
            "in_use": in_use,
        });
        return print(&format!("{text}\n"));
    }
    let mut text = format!("{}\n", one_line(&facts.place));
    row(&mut text, "kind", facts.kind);
    row(&mut text, "id", &one_line(&facts.id));
    row(&mut text, "epoch", &facts.epoch.to_string());
    // DynamoDB counts its items every few hours.
    let links = match (links, opened.in_use) {
        (None, _) => "unknown".into(),
        (Some(links), InUse::Unknown) => format!("about {links}"),
        (Some(links), _) => links.to_string(),
    };
    row(&mut text, "links", &links);
    match opened.in_use {
        InUse::Yes => row(&mut text, "server", "has it open"),
        InUse::No => row(&mut text, "server", "none has it open"),
        InUse::Unknown => {}
    }
    print(&text)
}

/// Begins a new epoch.
pub(super) async fn restored(config: &Config) -> anyhow::Result<()> {
    let opened = open(config, Purpose::Change).await?;
    let epoch = opened.store.begin_epoch().await?;
    opened.store.close().await;
    let mut text = format!("{}\n", one_line(&opened.facts.place));
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "  epoch {epoch} has begun; servers use nothing that Redis holds of earlier ones"
    );
    print(&text)
}
