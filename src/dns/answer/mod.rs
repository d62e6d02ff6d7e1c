//! What is answered: the decision, and the records that it chooses.

pub mod chaos;
pub mod decide;
pub(crate) mod records;
