//! A table from addresses of one family to values, and the prefix for which a value holds.
//!
//! The table has the first addresses of ranges, sorted, and the value of each range. Neighbours with the same value are
//! one range. An index over the first bits of addresses says where to begin, so that a search takes few steps.
//!
//! The prefix of an answer is the shortest one that has the address and lies within its range. All addresses of that
//! prefix have the same prefix in turn: so the prefixes of a table never overlap, and none is longer than needed
//! (RFC 7871 §7.2.1). A tree of bits, as gdnsd has it, yields the same prefixes, but takes a step for each bit.

/// An address as a number.
pub(super) trait Address: Copy + Ord + std::fmt::Debug {
    /// The most bits of an index.
    const MAX_INDEX_BITS: u8;
    /// The lowest address.
    const FIRST: Self;

    /// The first `bits` bits; at most [`Address::MAX_INDEX_BITS`].
    fn top(self, bits: u8) -> usize;
    /// How many of the first bits are the same.
    fn common(self, other: Self) -> u8;
    /// The address before; that before the first is the last.
    fn before(self) -> Self;
    /// The address after; none after the last.
    fn after(self) -> Option<Self>;
}

macro_rules! address {
    ($number:ty, $bits:literal, $index:literal) => {
        impl Address for $number {
            const MAX_INDEX_BITS: u8 = $index;
            const FIRST: Self = 0;

            fn top(self, bits: u8) -> usize {
                (self >> ($bits - u32::from(bits))) as usize
            }
            fn common(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }
            fn before(self) -> Self {
                self.wrapping_sub(1)
            }
            fn after(self) -> Option<Self> {
                self.checked_add(1)
            }
        }
    };
}

address!(u32, 32, 16);
// Registries give out prefixes of few /12, so 16 bits would leave most ranges in few places of the index.
address!(u128, 128, 20);

/// The least bits of an index.
const MIN_INDEX_BITS: u8 = 4;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Table<A> {
    /// For each value of the first bits, the first range that begins there or later.
    index: Box<[u32]>,
    index_bits: u8,
    /// The first address of each range; the first one is the lowest address.
    starts: Box<[A]>,
    /// The value of each range.
    values: Box<[u16]>,
}

/// What a table says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) value: u16,
    /// The length of the prefix for which the value holds, in bits.
    pub(super) len: u8,
}

impl<A: Address> Table<A> {
    /// What it says of an address.
    pub(super) fn find(&self, address: A) -> Found {
        let bucket = address.top(self.index_bits);
        let (from, to) = (self.index[bucket] as usize, self.index[bucket + 1] as usize);
        // Ranges that begin before the bucket may reach into it.
        let behind = from + self.starts[from..to].partition_point(|start| *start <= address);
        let place = behind.saturating_sub(1);
        let from_start = match place {
            0 => 0,
            _ => address.common(self.starts[place].before()) + 1,
        };
        let next = self.starts.get(place + 1);
        let to_end = next.map_or(0, |next| address.common(*next) + 1);
        Found {
            value: self.values[place],
            len: from_start.max(to_end),
        }
    }

    /// How many ranges it has.
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }
}

/// Makes a table of ranges in the order of their addresses, and of explicit networks, which take precedence.
pub(super) struct Builder<A> {
    starts: Vec<A>,
    values: Vec<u16>,
    /// Where explicit networks begin or end, with the value from there on.
    explicit: Vec<(A, Option<u16>)>,
    /// How many of them lie behind.
    passed: usize,
    /// The value of the last range.
    ground: u16,
    /// The value of the explicit network, within one.
    above: Option<u16>,
    /// The first address that no range has yet; none at the end.
    next: Option<A>,
}

impl<A: Address> Builder<A> {
    /// A table in which all addresses have the value `ground`, except those of explicit networks. These are their first
    /// and last addresses; of two that contain an address, the smaller one counts.
    pub(super) fn new(ground: u16, explicit: &[(A, A, u16)]) -> Self {
        let mut builder = Self {
            starts: Vec::new(),
            values: Vec::new(),
            explicit: segments(explicit),
            passed: 0,
            ground,
            above: None,
            next: Some(A::FIRST),
        };
        builder.begin(A::FIRST, ground);
        builder
    }

    /// Gives the addresses from `first` to `last` a value; `rest` is that of addresses between the ranges. Ranges before
    /// the last one are ignored: only a damaged database has them.
    pub(super) fn push(&mut self, first: A, last: A, value: u16, rest: u16) {
        let Some(next) = self.next.filter(|next| *next <= first) else {
            return;
        };
        if next < first {
            self.begin(next, rest);
        }
        self.begin(first, value);
        self.next = last.after();
    }

    /// The table; `rest` is the value of all addresses after the last range.
    pub(super) fn finish(mut self, rest: u16) -> Table<A> {
        if let Some(next) = self.next {
            self.begin(next, rest);
        }
        while let Some(&(start, above)) = self.explicit.get(self.passed) {
            self.pass(start, above);
        }
        let wanted = self.starts.len().ilog2() as u8 + 1;
        let index_bits = wanted.clamp(MIN_INDEX_BITS, A::MAX_INDEX_BITS);
        let mut index = Vec::with_capacity((1 << index_bits) + 1);
        for (place, start) in self.starts.iter().enumerate() {
            while index.len() <= start.top(index_bits) {
                index.push(place as u32);
            }
        }
        // Places fit 32 bits: no file has so many networks.
        index.resize((1 << index_bits) + 1, self.starts.len() as u32);
        Table {
            index: index.into(),
            index_bits,
            starts: self.starts.into(),
            values: self.values.into(),
        }
    }

    /// Begins a range of the database.
    fn begin(&mut self, start: A, value: u16) {
        while let Some(&(at, above)) = self.explicit.get(self.passed)
            && at < start
        {
            self.pass(at, above);
        }
        self.ground = value;
        match self.explicit.get(self.passed) {
            Some(&(at, above)) if at == start => self.pass(at, above),
            _ => self.emit(start, self.above.unwrap_or(value)),
        }
    }

    /// Begins or ends an explicit network.
    fn pass(&mut self, at: A, above: Option<u16>) {
        self.passed += 1;
        self.above = above;
        self.emit(at, above.unwrap_or(self.ground));
    }

    fn emit(&mut self, start: A, value: u16) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.values.pop();
        }
        if self.values.last() != Some(&value) {
            self.starts.push(start);
            self.values.push(value);
        }
    }
}

/// The addresses at which the value changes, and the value from there on; none for addresses that are in no network. Of
/// networks that overlap the smallest one decides.
fn segments<A: Address>(networks: &[(A, A, u16)]) -> Vec<(A, Option<u16>)> {
    let mut networks = networks.to_vec();
    // Of networks that begin at the same address, the largest first.
    networks.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    let mut found: Vec<(A, Option<u16>)> = Vec::new();
    let mut open: Vec<(A, u16)> = Vec::new();
    let mut begin = |start: A, value: Option<u16>| {
        if found.last().is_some_and(|(at, _)| *at == start) {
            found.pop();
        }
        found.push((start, value));
    };
    for (first, last, value) in networks {
        while let Some((end, _)) = open.pop_if(|(end, _)| *end < first) {
            close(end, &open, &mut begin);
        }
        begin(first, Some(value));
        open.push((last, value));
    }
    while let Some((end, _)) = open.pop() {
        close(end, &open, &mut begin);
    }
    found
}

/// After a network ends, the one around it goes on.
fn close<A: Address>(end: A, open: &[(A, u16)], begin: &mut impl FnMut(A, Option<u16>)) {
    if let Some(start) = end.after() {
        begin(start, open.last().map(|(_, value)| *value));
    }
}

#[cfg(test)]
mod tests;
