//! `[signatures]`.

use super::*;
use crate::dns::limits::rate_limit::SignatureLimits;

fn signatures(lines: &str) -> SignatureLimits {
    ok(lines).dns.settings.signatures
}

#[test]
fn how_many_signatures_there_may_be() {
    assert_eq!(signatures(""), SignatureLimits::default());
    let all = "[signatures]\nper_second = 0\nper_client = 9\nmade_up_per_second = 1000000\nmade_up_per_client = 7\n";
    let expected = SignatureLimits {
        per_second: 0,
        per_client: 9,
        made_up_per_second: 1_000_000,
        made_up_per_client: 7,
    };
    assert_eq!(signatures(all), expected);
    check(
        "[signatures]\nper_second = 1000001\n",
        "t.toml:2: signatures.per_second: 1000001 is not within 0 to 1000000 a second",
    );
    check(
        "[signatures]\nper_minute = 1\n",
        "t.toml:2: signatures.per_minute: unknown key. Known here: per_second, per_client, \
         made_up_per_second, made_up_per_client",
    );
}
