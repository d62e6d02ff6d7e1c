//! Domain names: as text (RFC 1035 §5.1), on the wire (RFC 1035 §3.1), and for messages.
//!
//! A name may hold any bytes (RFC 2181 §11), so text has escapes. Everything that shows a name shows it by
//! [`Shown`] or a [`ZoneName`], in the form that can be put into a zone file or the configuration as it is.
//! Hickory's own `Display` writes bytes beyond ASCII in octal, which every reader takes for decimal.

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
