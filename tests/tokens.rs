//! Tokens over the wire: on several servers, over restarts, and in the log.

use std::time::Duration;

use serde_json::{Value, json};

use crate::dynamo::Emulator;
use crate::harness::{PATIENCE, Server, Setup, eventually, http};

/// Makes a token and returns its secret.
pub fn make(server: &Server, body: &Value) -> String {
    let made = server.api("POST", "/v1/tokens", Some(body));
    assert_eq!(made.status, 201, "{made:?}");
    made.json()["token"].as_str().unwrap().to_owned()
}

/// The status of a call with this token.
pub fn status(server: &Server, method: &str, path: &str, secret: &str) -> u16 {
    let bearer = format!("Bearer {secret}");
    let url = format!("http://{}{path}", server.admin);
    http(method, &url, &[("authorization", &*bearer)], None).status
}

#[test]
fn a_token_of_one_server_is_accepted_by_the_other_until_either_revokes_it() {
    let emulator = Emulator::start();
    let node = || Setup::new().dynamodb(&emulator.url()).start();
    let (one, two) = (node(), node());
    for round in 0..3 {
        let name = format!("token-{round}");
        let secret = make(&one, &json!({"name": name, "role": "reader"}));
        // The other server may have read the list just before.
        eventually("accepted", PATIENCE, || {
            status(&two, "GET", "/v1/links", &secret) == 200
        });
        assert_eq!(status(&one, "GET", "/v1/links", &secret), 200);
        assert_eq!(status(&two, "DELETE", "/v1/links/x", &secret), 403);

        let revoked = two.api("DELETE", &format!("/v1/tokens/{name}"), None);
        assert_eq!(revoked.status, 204, "{revoked:?}");
        assert_eq!(status(&two, "GET", "/v1/links", &secret), 401);
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(status(&one, "GET", "/v1/links", &secret), 401);
    }
}

#[test]
fn the_rate_of_a_token_holds_on_all_servers_and_over_a_restart() {
    let emulator = Emulator::start();
    let node = |section: &str| {
        let setup = Setup::new().dynamodb(&emulator.url());
        setup.section(section).start()
    };
    // The rate of the token takes the place of a lower one, and of none.
    let (one, two) = (
        node("[admin.rate]\nrequests_per_second = 1\nburst = 1\n"),
        node(""),
    );
    let body = json!({"name": "slow", "role": "reader", "rate": 1, "burst": 20});
    let slow = make(&two, &body);
    std::thread::sleep(Duration::from_secs(1));
    let one = one.restart();
    for server in [&one, &two] {
        let statuses: Vec<u16> = (0..40)
            .map(|_| status(server, "GET", "/v1/zones", &slow))
            .collect();
        assert_eq!(statuses[..20], [200; 20], "{statuses:?}");
        assert_eq!(statuses[39], 429, "{statuses:?}");
    }
}

#[test]
fn tokens_and_their_last_use_outlive_the_server_and_secrets_stay_out_of_log_and_store() {
    let server = Server::start();
    let secret = make(&server, &json!({"name": "ann", "role": "editor"}));
    let kept = server.api("GET", "/v1/tokens", None).json();
    assert_eq!(kept["tokens"][0]["last_used_at"], Value::Null);
    assert_eq!(status(&server, "GET", "/v1/links", &secret), 200);
    let used = server.api("GET", "/v1/tokens", None).json();
    assert!(used["tokens"][0]["last_used_at"].is_string(), "{used}");

    let server = server.restart();
    assert_eq!(server.api("GET", "/v1/tokens", None).json(), used);
    assert_eq!(status(&server, "GET", "/v1/links", &secret), 200);
    assert!(!server.log().text().contains(&secret));
    let holds = |bytes: &[u8]| {
        bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes())
    };
    for entry in std::fs::read_dir(server.dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            assert!(!holds(&std::fs::read(&path).unwrap()), "{}", path.display());
        }
    }
}
