//! `[server]`: what operators call this server, and where it is.

use super::problem::ConfigProblem;
use super::section::Section;
use crate::store::servers::{Label, MAX_LABEL_LEN};

const DEFAULT_REGION: &str = "default";

/// What operators call this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Its name; none for the name of the host.
    pub name: Option<Label>,
    /// Its region.
    pub region: Label,
}

pub(super) fn server(section: &Section<'_>) -> ServerConfig {
    let region = section.parsed("region", label);
    ServerConfig {
        name: section.parsed("name", label),
        region: region.unwrap_or_else(|| Label::closest(DEFAULT_REGION)),
    }
}

fn label(text: &str) -> Result<Label, ConfigProblem> {
    Label::new(text).ok_or(ConfigProblem::Label { max: MAX_LABEL_LEN })
}
