//! Two regions, with a Redis each: links of one show in the other, a network that is cut between them, and the same code
//! made in both.

mod dynamodb;
mod replicator;
