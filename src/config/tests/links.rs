//! `[links]`.

use super::*;
use crate::link::Code;

#[test]
fn reserved_codes_replace_the_default_ones() {
    let reserves = |lines: &str, code: &str| {
        let config = ok(lines);
        config.reserved_codes.contains(&Code::parse(code).unwrap())
    };
    assert!(reserves("", "www"));
    let own = "[links]\nreserved_codes = [\"Team-*\", \"shop\"]\n";
    assert!(reserves(own, "team-a") && reserves(own, "shop"));
    assert!(!reserves(own, "www"));
    assert!(!reserves("[links]\nreserved_codes = []\n", "www"));
    check(
        "[links]\nreserved_codes = [\"shop\", \"a.b\"]\n",
        "t.toml:2: links.reserved_codes: \"a.b\" is not a reserved code: 1 to 63 letters, digits, hyphens and underscores, and \
         perhaps \"*\" at the end, such as \"www\" or \"xn--*\"",
    );
}
