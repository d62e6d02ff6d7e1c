//! `[admin]` and `[redirect]`.

use super::*;

#[test]
fn http_has_so_many_connections_as_a_process_can_have() {
    for section in ["admin", "redirect"] {
        for (key, value) in [
            ("connections", 0),
            ("connections", 1_000_001),
            ("connections_per_client", 0),
        ] {
            check(
                &format!("[{section}]\n{key} = {value}\n"),
                &format!("t.toml:2: {section}.{key}: {value} is not within 1 to 1000000"),
            );
        }
        check(
            &format!("[{section}]\nexempt = \"192.0.2.1/24\"\n"),
            &format!(
                "t.toml:2: {section}.exempt: \"192.0.2.1/24\": the address has bits beyond the length of \
                 the prefix"
            ),
        );
    }
}

#[test]
fn short_urls_are_checked() {
    check(
        "[redirect]\nshort_url_scheme = \"ftp\"\n",
        "t.toml:2: redirect.short_url_scheme: unknown value \"ftp\", expected \"http\" or \"https\"",
    );
    for port in ["0", "65536", "-80"] {
        check(
            &format!("[redirect]\nshort_url_port = {port}\n"),
            &format!("t.toml:2: redirect.short_url_port: {port} is not within 1 to 65535"),
        );
    }
}
