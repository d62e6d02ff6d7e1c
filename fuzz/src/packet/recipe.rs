//! Packets out of recipes: bytes of which each chooses something, so that what libFuzzer changes in them
//! gives another query that is nearly right, for a name that nearly is there. Bytes that are taken for
//! packets as they are seldom get beyond the header.

use super::super::message::wire_name;
use super::zones::ORIGINS;

/// Labels that some zone has a name of, or a link, or that are near to it.
const LABELS: [&[u8]; 40] = [
    b"abc",
    b"r",
    b"later",
    b"lengthy",
    b"longest",
    b"short",
    b"never",
    b"none",
    b"x",
    b"www",
    b"ns",
    b"mail",
    b"old",
    b"new",
    b"loop1",
    b"promo",
    b"promo2",
    b"sub",
    b"wild",
    b"*",
    b"a",
    b"b",
    b"c",
    b"svc",
    b"many",
    b"long",
    b"huge",
    b"far",
    b"ns1",
    b"ns2",
    b"_dns",
    b"raw",
    b"\0",
    b"\xff",
    b"chain1",
    b"dname",
    b"-bad",
    b"bind",
    b"version",
    b"nothing8",
];

const TYPES: [u16; 28] = [
    16, 1, 256, 28, 255, 2, 5, 6, 15, 33, 39, 43, 65, 64, 41, 250, 251, 252, 249, 46, 48, 128,
    65_280, 0, 47, 43, 59, 60,
];
const CLASSES: [u16; 4] = [1, 3, 255, 254];
const SIZES: [u16; 8] = [1_232, 0, 512, 513, 700, 1_400, 4_096, 65_535];
const OPTIONS: [u16; 12] = [10, 3, 11, 12, 8, 15, 5, 9, 13, 14, 65_001, 0];

/// Bytes to choose by; when there are none left, all that is chosen is the first.
pub struct Choices<'c>(pub &'c [u8]);

impl Choices<'_> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&byte, rest)) => {
                self.0 = rest;
                byte
            }
            None => 0,
        }
    }

    fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// One of these, or for a byte beyond them any number at all.
    fn of(&mut self, choice: &[u16]) -> u16 {
        let place = usize::from(self.byte());
        match choice.get(place) {
            Some(chosen) => *chosen,
            None if place < 128 => choice[place % choice.len()],
            None => self.number(),
        }
    }

    /// Any bytes, at most so many.
    fn bytes(&mut self, max: u8) -> Vec<u8> {
        let len = self.byte() % (max + 1);
        (0..len).map(|_| self.byte()).collect()
    }

    /// A packet.
    pub fn packet(&mut self) -> Vec<u8> {
        let (about, flags) = (self.byte(), self.byte());
        let mut packet = vec![self.byte(), about, 0, flags];
        // Most have no flags but RD.
        packet[2] = match about {
            0..128 => about & 1,
            128..192 => self.byte() & 0x07,
            _ => self.byte() & 0x7F,
        };
        packet.extend([0, 1, 0, 0, 0, 0, 0, 0]);
        self.name(&mut packet);
        packet.extend(self.of(&TYPES).to_be_bytes());
        let class = match about & 6 {
            6 => self.of(&CLASSES),
            _ => 1,
        };
        packet.extend(class.to_be_bytes());
        if about & 8 != 0 {
            self.opt(&mut packet);
        }
        if about & 48 == 48 {
            self.spoil(&mut packet);
        }
        packet
    }

    /// A name: some labels, and an origin or none.
    fn name(&mut self, packet: &mut Vec<u8>) {
        let about = self.byte();
        let start = packet.len();
        for _ in 0..about >> 4 & 7 {
            let place = self.byte();
            match LABELS.get(usize::from(place)) {
                Some(label) => push_label(packet, label),
                // Long ones, of one byte.
                None if place < 128 => {
                    let len = usize::from(place % 63) + 1;
                    push_label(packet, &vec![b'a'; len]);
                }
                None => {
                    let label = self.bytes(62);
                    push_label(packet, if label.is_empty() { b"z" } else { &label });
                }
            }
        }
        match ORIGINS.get(usize::from(about & 7)) {
            Some(origin) => packet.extend(wire_name(origin)),
            None => packet.push(0),
        }
        if about & 8 != 0 {
            // As resolvers do (0x20); the lengths of labels are no letters.
            let case = self.byte();
            for (place, byte) in packet[start..].iter_mut().enumerate() {
                if case >> (place % 8) & 1 != 0 && byte.is_ascii_lowercase() {
                    *byte = byte.to_ascii_uppercase();
                }
            }
        }
    }

    /// An OPT record.
    fn opt(&mut self, packet: &mut Vec<u8>) {
        let about = self.byte();
        packet[11] += 1;
        packet.extend([0, 0, 41]);
        packet.extend(self.of(&SIZES).to_be_bytes());
        let (rcode, version, flags) = match about & 3 {
            0 => (0, 0, 0),
            1 => (0, 0, 0x80),
            2 => (self.byte(), 0, self.byte()),
            _ => (0, self.byte(), 0xC0),
        };
        packet.extend([rcode, version, flags, 0]);
        let mut options = Vec::new();
        for _ in 0..about >> 2 & 3 {
            options.extend(self.of(&OPTIONS).to_be_bytes());
            // Of a cookie, these are the lengths that there are.
            let data = match self.byte() {
                0 => vec![0xC0; 8],
                1 => vec![0xC0; 24],
                2 => Vec::new(),
                _ => self.bytes(48),
            };
            options.extend((data.len() as u16).to_be_bytes());
            options.extend(data);
        }
        packet.extend((options.len() as u16).to_be_bytes());
        packet.extend(options);
    }

    /// Something is wrong with the packet.
    fn spoil(&mut self, packet: &mut Vec<u8>) {
        match self.byte() % 8 {
            0 => packet.truncate(usize::from(self.byte()) % packet.len()),
            1 => packet.push(self.byte()),
            2 => packet[4 + usize::from(self.byte() % 8)] = self.byte(),
            3 => {
                let at = usize::from(self.number()) % packet.len();
                packet[at] = self.byte();
            }
            4 => self.opt(packet),
            // A record: its owner, with or without a pointer, type, class, TTL and data.
            place => {
                packet[7 + 2 * (usize::from(place) - 5)] += 1;
                match self.byte() % 3 {
                    0 => packet.push(0),
                    1 => packet.extend([0xC0, 12]),
                    _ => packet.extend([0xC0, self.byte()]),
                }
                packet.extend(self.of(&TYPES).to_be_bytes());
                packet.extend(self.of(&CLASSES).to_be_bytes());
                packet.extend([0; 4]);
                let data = self.bytes(64);
                packet.extend((data.len() as u16).to_be_bytes());
                packet.extend(data);
            }
        }
    }
}

fn push_label(packet: &mut Vec<u8>, label: &[u8]) {
    packet.push(label.len() as u8);
    packet.extend(label);
}
