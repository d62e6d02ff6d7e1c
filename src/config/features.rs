//! Which optional parts a program has. It refuses a configuration that needs another one.

/// The cargo features that a configuration can depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    /// The client of DynamoDB.
    pub(super) dynamodb: bool,
    /// The client of PostgreSQL.
    pub(super) postgresql: bool,
    /// The client of Redis.
    pub(super) redis: bool,
}

impl Features {
    /// The features of this program. Tests also read configurations for other programs.
    pub(super) const BUILT: Self = Self {
        dynamodb: cfg!(feature = "dynamodb"),
        postgresql: cfg!(feature = "postgresql"),
        redis: cfg!(feature = "redis"),
    };
}
