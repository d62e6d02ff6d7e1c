//! `[cache]`.

use super::*;

#[test]
fn the_filter_is_there_where_its_promise_is_within_that_of_the_memory() {
    let filter = |text: &str| ok(text).filter;
    for (absent, expected) in [(0, false), (2, false), (3, true), (3_600, true)] {
        let text = format!("[cache]\nabsent = {absent}\n");
        assert_eq!(filter(&text), expected, "{absent}");
        assert!(filter(&format!("{text}filter = true\n")));
        assert!(!filter(&format!("{text}filter = false\n")));
    }
    let dynamodb = "[store]\nkind = \"dynamodb\"\n[cache]\nabsent = 5\n";
    assert!(!filter(dynamodb));
    assert!(!filter(&format!("{dynamodb}filter = false\n")));
    check(
        &format!("{dynamodb}filter = true\n"),
        "t.toml:5: cache.filter: with kind = \"dynamodb\" it needs the section [redis]: servers have to hear of each \
         other's links",
    );
    let redis = "[redis]\nurl = \"redis://127.0.0.1\"\n";
    assert!(!filter(&format!("{dynamodb}{redis}")));
    assert!(filter(&format!("{dynamodb}filter = true\n{redis}")));
    let without_stream = dynamodb.replace("[cache]", "feed = false\n[cache]");
    check(
        &format!("{without_stream}filter = true\n{redis}"),
        "t.toml:6: cache.filter: with kind = \"dynamodb\" it needs feed = true in [store]: servers have to hear of \
         each other's links",
    );
    check(
        "[cache]\nfilter = 1\n",
        "t.toml:2: cache.filter: invalid type: integer `1`, expected a boolean",
    );
}
