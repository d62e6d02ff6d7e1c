//! What the server answers: the decision, its input and its outcome, and the records that it chooses.

pub mod chaos;
pub mod decide;
pub mod outcome;
pub mod question;
pub(crate) mod records;
