//! Domain names: as text (RFC 1035 §5.1), on the wire (RFC 1035 §3.1), and for messages.
//!
//! A name may contain any bytes (RFC 2181 §11), so its text has escapes. Messages show names by [`Shown`] or
//! [`ZoneName`], in a form that zone files and the configuration accept. Hickory's own `Display` writes bytes beyond
//! ASCII in octal, which readers of zone files take for decimal.

mod shown;
pub(crate) mod text;
pub(crate) mod wire;
mod zone_name;

pub use self::shown::Shown;
pub use self::text::NameProblem;
pub use self::zone_name::{ZoneName, ZoneNameError};

/// The longest name on the wire, in bytes (RFC 1035 §2.3.4).
pub(crate) const MAX_NAME_LEN: usize = 255;
/// The longest label, in bytes (RFC 1035 §2.3.4).
pub(crate) const MAX_LABEL_LEN: usize = 63;
