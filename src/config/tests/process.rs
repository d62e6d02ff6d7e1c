//! `[process]`.

use super::*;

#[test]
fn accounts_have_names_or_numbers() {
    let process = |text: &str| ok(&format!("[process]\n{text}\n")).process;
    assert_eq!(process(""), ProcessConfig::default());
    for name in ["tinyns", "65534", "_dns", "user@example.com", "grün"] {
        let expected = ProcessConfig {
            user: Some(name.into()),
            group: None,
        };
        assert_eq!(process(&format!("user = {name:?}")), expected);
        let expected = ProcessConfig {
            group: Some(name.into()),
            ..expected
        };
        assert_eq!(
            process(&format!("user = {name:?}\ngroup = {name:?}")),
            expected
        );
    }
    let longest = "x".repeat(255);
    assert_eq!(
        process(&format!("user = \"{longest}\"")).user,
        Some(longest)
    );
}

#[test]
fn what_cannot_be_an_account_is_refused() {
    let rule =
        "is not the name or number of a user or group: 1 to 255 bytes without blanks and colons";
    for bad in ["", "a b", "a:b", "\t", "a\nb"] {
        let text = format!("[process]\nuser = \"a\"\ngroup = {bad:?}\n");
        check(&text, &format!("t.toml:3: process.group: {bad:?} {rule}"));
    }
    let long = "x".repeat(256);
    let text = format!("[process]\nuser = {long:?}\n");
    check(&text, &format!("t.toml:2: process.user: {long:?} {rule}"));
    check(
        "[process]\nuser = 65534\n",
        "t.toml:2: process.user: invalid type: integer `65534`, expected a string",
    );
    check(
        "\n[process]\ngroup = \"daemon\"\n",
        "t.toml:3: process.group: missing; a group needs \"user\"",
    );
    check(
        "[process]\nusr = \"a\"\n",
        "t.toml:2: process.usr: unknown key; did you mean \"user\"? Known here: user, group",
    );
}
