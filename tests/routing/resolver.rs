//! Behind unbound, as a resolver that sends the subnets of its clients.

use super::{dig_at, started};
use crate::resolver::Unbound;

const SENDS_SUBNETS: &str = "module-config: \"subnetcache iterator\"\n  send-client-subnet: 127.0.0.1\n  \
    client-subnet-always-forward: yes\n  max-client-subnet-ipv4: 32";

/// Clients of one resolver get the addresses of their own places, also those of the redirect host behind a link. The
/// resolver keeps an answer for all clients of its scope, and for no other.
#[test]
fn a_resolver_keeps_an_answer_for_its_scope() {
    let server = started();
    let unbound = Unbound::with(&server, SENDS_SUBNETS);
    let port = unbound.address.port().to_string();
    let own_sent = || server.metric("tinyns_dns_routed_responses_total", &[("pool", "own")]);
    for name in ["www.s.example.com", "sale.s.example.com"] {
        let check = |subnet: &str, expected: &[&str]| {
            let (mut found, _) = dig_at(&port, subnet, name, &["A"]);
            found.sort_unstable();
            assert_eq!(found, expected, "{name} {subnet}\n{}", unbound.log());
        };
        check("10.2.3.0/24", &["192.0.2.25"]);
        let sent = own_sent();
        assert!(sent > 0.0);
        check("10.9.9.0/24", &["192.0.2.25"]);
        assert_eq!(
            own_sent(),
            sent,
            "{name}: the resolver has it for 10.0.0.0/8"
        );
        check("175.16.199.0/24", &["192.0.2.23", "192.0.2.24"]);
        check("89.160.20.112/29", &["192.0.2.22"]);
        check("192.0.2.0/24", &["192.0.2.10"]);
        check("10.77.0.0/16", &["192.0.2.25"]);
        assert_eq!(
            own_sent(),
            sent,
            "{name}: answers for other places are apart"
        );
    }
}
