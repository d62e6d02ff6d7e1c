//! `listen`, in every section.

use super::*;

#[test]
fn addresses_are_checked() {
    let refused = |text: &str, shown: &str| {
        check(
            &format!("[admin]\nlisten = {text}\n"),
            &format!(
                "t.toml:2: admin.listen: {shown} is not an IP address with a port, such as \
                 \"127.0.0.1:5300\" or \"[::1]:5300\""
            ),
        );
    };
    refused("\"localhost:8053\"", "\"localhost:8053\"");
    refused("\"127.0.0.1\"", "\"127.0.0.1\"");
    refused("\"127.0.0.1:65536\"", "\"127.0.0.1:65536\"");
    refused("[\"127.0.0.1:1\", \"::1:5\"]", "\"::1:5\"");
    refused("\"a\\nb\"", "\"a\\nb\"");
    check(
        "[dns]\nlisten = []\n",
        "t.toml:2: dns.listen: at least one address is needed",
    );
    let many = (1..=65).map(|port| format!("\"127.0.0.1:{port}\","));
    check(
        &format!("[dns]\nlisten = [{}]\n", many.collect::<String>()),
        "t.toml:2: dns.listen: 65 addresses; at most 64 are allowed",
    );
}

#[test]
fn an_address_is_used_once() {
    check(
        "[dns]\nlisten = [\n\"127.0.0.1:53\",\n\"127.0.0.1:53\"]\n",
        "t.toml:4: dns.listen: 127.0.0.1:53 is already used in line 3",
    );
    check(
        "[dns]\nlisten = \"[::1]:8053\"\n[admin]\nlisten = [\"127.0.0.1:8053\", \"[::1]:8053\"]\n",
        "t.toml:4: admin.listen: [::1]:8053 is already used in line 2",
    );
    let config = ok("[dns]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\n\
                     [admin]\nlisten = \"127.0.0.1:0\"\n");
    assert_eq!(config.dns.listen.len(), 2);
}

#[test]
fn a_default_address_counts_as_used() {
    check(
        "[redirect]\nlisten = \"127.0.0.1:5300\"\n",
        "t.toml:2: redirect.listen: 127.0.0.1:5300 is the default of dns.listen; set that key to another address",
    );
    check(
        "# no redirect\n[dns]\nlisten = \"127.0.0.1:8080\"\n",
        "t.toml:3: dns.listen: 127.0.0.1:8080 is the default of redirect.listen; set that key to another address",
    );
}
