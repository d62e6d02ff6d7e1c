//! `[server]`.

use super::*;

#[test]
fn names_are_short_and_visible() {
    let rule = "a name has 1 to 255 bytes and no control characters";
    for key in ["name", "region"] {
        for bad in ["", "a\nb", &"x".repeat(256)] {
            let text = format!("[server]\n{key} = {bad:?}\n");
            check(&text, &format!("t.toml:2: server.{key}: {rule}"));
        }
    }
    check(
        "[server]\nnam = \"a\"\n",
        "t.toml:2: server.nam: unknown key; did you mean \"name\"? Known here: region, name",
    );
}
