//! Which hosts stay where only so many can: those with the most clicks (Misra and Gries, 1982).
//!
//! Clients may send any number of invented hosts. If the first ones stayed, invented ones would keep out real ones for ever. So
//! when there are more than `most` hosts, the same number is taken from the counts of all of them, and a host whose count
//! reaches 0 gives up its place. The number is the count of the first host beyond the `most` heaviest ones, so at least
//! `most + 1` hosts lose that much each time. What was taken is added to "other". Therefore, in whatever order and in whichever
//! batches clicks come (Agarwal et al., "Mergeable summaries", 2012):
//!
//! * The sum of all hosts and "other" is exact.
//! * The count of a host is never too high, and too low by at most `other / (most + 1)`. A host that is not there counts as 0.
//! * So a host with more than one of `most + 1` clicks is there.
//!
//! The alternative, to keep the largest counts as they are (or to let a new host take over the smallest one, as "Space-Saving"
//! does), was rejected: a host that comes slowly never gets past invented ones with large counts, or counts are too high.

/// Takes the same number from all counts.
#[derive(Debug)]
pub struct Reduction {
    excess: u64,
    taken: u64,
}

impl Reduction {
    /// One that leaves at most `most` of these counts above 0. It takes nothing if so few are there.
    pub fn to(most: usize, counts: impl IntoIterator<Item = u64>) -> Self {
        let excess = excess(counts, most);
        Self { excess, taken: 0 }
    }

    /// Takes from a count. Whether anything is left of it.
    pub fn take_from(&mut self, count: &mut u64) -> bool {
        self.taken = self.taken.saturating_add(self.excess.min(*count));
        *count = count.saturating_sub(self.excess);
        *count > 0
    }

    /// How much was taken in all.
    pub fn taken(&self) -> u64 {
        self.taken
    }
}

/// The number that is to be taken from each of the counts, so that at most `most` of them remain above 0; 0 if so few are there.
fn excess(counts: impl IntoIterator<Item = u64>, most: usize) -> u64 {
    let mut counts: Vec<u64> = counts.into_iter().collect();
    if counts.len() <= most {
        return 0;
    }
    let (_, excess, _) = counts.select_nth_unstable_by(most, |a, b| b.cmp(a));
    *excess
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_is_taken_that_no_more_than_the_most_remain() {
        let check = |counts: &[u64], most: usize, expected: u64| {
            assert_eq!(excess(counts.iter().copied(), most), expected, "{counts:?}");
            let remain = counts.iter().filter(|count| **count > expected).count();
            assert!(remain <= most, "{counts:?}");
        };
        check(&[], 0, 0);
        check(&[5, 7], 2, 0);
        check(&[5, 7], 1, 5);
        check(&[1, 9, 1, 3], 3, 1);
        check(&[1, 9, 2, 3], 2, 2);
        check(&[4, 4, 4], 2, 4);
        check(&[u64::MAX, 1], 0, u64::MAX);
    }
}
