//! A table from addresses of one family to values, and the prefix for which a value holds.
//!
//! The table has the first addresses of ranges, sorted, and the value of each range. Neighbours with the same value are
//! one range. An index narrows the search to few ranges: an array by the first bits of an address, and where many ranges have
//! the same first bits, another array by the next bits. So registries may give out addresses as unevenly as they do.
//!
//! The prefix of an answer is the shortest one that has the address and lies within its range. All addresses of that
//! prefix have the same prefix in turn: so the prefixes of a table never overlap, and none is longer than needed
//! (RFC 7871 §7.2.1). A tree of bits, as gdnsd has it, yields the same prefixes, but takes a step for each bit.

/// An address as a number.
pub(super) trait Address: Copy + Ord + std::fmt::Debug {
    /// How many bits it has.
    const BITS: u8;
    /// The lowest address.
    const FIRST: Self;

    /// The number in the `bits` bits, 1 to 32, behind the first `skip` bits. It has at most [`Address::BITS`] with them.
    fn part(self, skip: u8, bits: u8) -> usize;
    /// How many of the first bits are the same.
    fn common(self, other: Self) -> u8;
    /// The address before; that before the first is the last.
    fn before(self) -> Self;
    /// The address after; none after the last.
    fn after(self) -> Option<Self>;
}

macro_rules! address {
    ($number:ty) => {
        impl Address for $number {
            const BITS: u8 = <$number>::BITS as u8;
            const FIRST: Self = 0;

            fn part(self, skip: u8, bits: u8) -> usize {
                (self << skip >> (<Self as Address>::BITS - bits)) as usize
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

address!(u32);
address!(u128);

/// Among so many ranges a search needs no index: the first addresses of those of IPv4 are within one or two lines of the
/// processor's cache.
const FEW: usize = 8;
/// An array has a place for every four ranges.
const RANGES_PER_CHILD_BITS: u32 = 2;
/// The most bits of an array.
const MAX_BITS: u8 = 22;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Table<A: Copy> {
    index: Index,
    /// The first one begins at the lowest address.
    ranges: Box<[Range<A>]>,
}

/// A range, which ends where the next one begins. It is packed: without gaps, a range of IPv6 takes 18 bytes and not 32.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(2))]
struct Range<A: Copy> {
    /// The first address.
    start: A,
    value: u16,
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
        let (from, to) = self.index.narrow(address, self.ranges.len());
        // A range that begins before these may reach to the address.
        let behind =
            from + self.ranges[from..to].partition_point(|range| { range.start } <= address);
        let place = behind.saturating_sub(1);
        let from_start = match place {
            0 => 0,
            _ => address.common({ self.ranges[place].start }.before()) + 1,
        };
        let next = self.ranges.get(place + 1);
        let to_end = next.map_or(0, |next| address.common(next.start) + 1);
        Found {
            value: self.ranges[place].value,
            len: from_start.max(to_end),
        }
    }

    /// How many ranges it has.
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }
}

/// Where to search among ranges.
#[derive(Debug, Default)]
struct Index {
    root: Node,
    children: Vec<Child>,
}

/// An array of children by the next bits of an address: the number of bits, then [`Node::FIRST_BITS`] for the place of the first
/// child. It is 0 where there is no array. The child behind the last one says where that ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Node(u32);

/// The ranges that begin with certain bits.
#[derive(Clone, Copy, Debug)]
struct Child {
    /// The first of them, or the next one if there is none. A table has fewer than 2^32 ranges.
    from: u32,
    /// An array of them, if they are many.
    node: Node,
}

impl Node {
    const NONE: Self = Self(0);
    const FIRST_BITS: u32 = 27;

    /// None if the place is too high, as no database makes it.
    fn new(bits: u8, first: usize) -> Self {
        match first >> Self::FIRST_BITS {
            0 => Self(u32::from(bits) << Self::FIRST_BITS | first as u32),
            _ => Self::NONE,
        }
    }

    fn bits(self) -> u8 {
        (self.0 >> Self::FIRST_BITS) as u8
    }

    fn first(self) -> usize {
        (self.0 & ((1 << Self::FIRST_BITS) - 1)) as usize
    }
}

impl Index {
    /// The index of these ranges, which are sorted.
    fn of<A: Address>(ranges: &[Range<A>]) -> Self {
        let mut index = Self::default();
        index.root = index.add(ranges, (0, ranges.len()), 0);
        index.children.shrink_to_fit();
        index
    }

    /// Adds an array of the ranges from one place to another, whose first `skip` bits are the same.
    fn add<A: Address>(
        &mut self,
        ranges: &[Range<A>],
        (from, to): (usize, usize),
        skip: u8,
    ) -> Node {
        if to - from <= FEW || skip == A::BITS {
            return Node::NONE;
        }
        let bits = (to - from).ilog2() - RANGES_PER_CHILD_BITS;
        let bits = (bits as u8).min(MAX_BITS).min(A::BITS - skip);
        let first = self.children.len();
        let node = Node::new(bits, first);
        if node == Node::NONE {
            return node;
        }
        let mut place = from;
        for part in 0..=1_usize << bits {
            while place < to && { ranges[place].start }.part(skip, bits) < part {
                place += 1;
            }
            self.children.push(Child {
                from: place as u32,
                node: Node::NONE,
            });
        }
        for child in first..self.children.len() - 1 {
            let [from, to] = [child, child + 1].map(|child| self.children[child].from as usize);
            self.children[child].node = self.add(ranges, (from, to), skip + bits);
        }
        node
    }

    /// The ranges, of `len` ones, that begin with as many bits of an address as the index distinguishes.
    fn narrow<A: Address>(&self, address: A, len: usize) -> (usize, usize) {
        let (mut found, mut node, mut skip) = ((0, len), self.root, 0);
        while node != Node::NONE {
            let at = node.first() + address.part(skip, node.bits());
            let (child, next) = (self.children[at], self.children[at + 1]);
            found = (child.from as usize, next.from as usize);
            skip += node.bits();
            node = child.node;
        }
        found
    }
}

/// Makes a table of ranges in the order of their addresses, and of explicit networks, which take precedence.
pub(super) struct Builder<A: Copy> {
    ranges: Vec<Range<A>>,
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
            ranges: Vec::new(),
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
        Table {
            index: Index::of(&self.ranges),
            ranges: self.ranges.into(),
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
        // What was said of this address before does not count.
        self.ranges.pop_if(|last| { last.start } == start);
        if self.ranges.last().is_none_or(|last| last.value != value) {
            self.ranges.push(Range { start, value });
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
