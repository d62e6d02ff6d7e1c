//! Statistics as they are read: the same figures in the API, on the page and in the terminal, and what has a bound.

use crate::harness::{Setup, ZONE};

/// The most zones whose sums are in one reply.
const MAX_ZONES: usize = 500;

/// A server of many zones, which are summed up as far as documented, and whose page asks for one beyond that.
#[test]
fn sums_of_many_zones_have_a_bound() {
    let zones = |number: usize| {
        let mut setup = Setup::empty();
        for zone in 0..number {
            let origin = format!("z{zone}.example.com");
            let text = ZONE.replace("s.example.com", &origin);
            setup = setup.zone(&origin, "redirect_host = \"r\"", &text);
        }
        setup.start()
    };
    let server = zones(MAX_ZONES);
    let reply = server.api("GET", "/v1/stats", None);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["zones"].as_array().unwrap().len(), MAX_ZONES);
    drop(server);
    let server = zones(MAX_ZONES + 1);
    let reply = server.api("GET", "/v1/stats", None);
    let problem = reply.json();
    assert_eq!(
        (
            reply.status,
            problem["type"].as_str(),
            problem["field"].as_str()
        ),
        (422, Some("urn:tinyns:problem:too-many-zones"), Some("zone"))
    );
    let one = server.api("GET", "/v1/stats?zone=z500.example.com", None);
    assert_eq!(one.status, 200, "{one:?}");
}
