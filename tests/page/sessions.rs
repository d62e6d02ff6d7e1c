use std::time::Duration;

use serde_json::json;

use super::visitor::{Visitor, cookie, log_in, origin};
use crate::dynamo::Emulator;
use crate::harness::{PATIENCE, Server, Setup, TOKEN, eventually, http};

#[test]
fn the_cookie_is_for_this_host_and_no_script() {
    let server = Server::start();
    let reply = log_in(&server, TOKEN);
    let set = reply.header("set-cookie").unwrap();
    assert!(set.starts_with("tinyns="), "{set}");
    assert!(
        set.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"),
        "{set}"
    );
    assert!(!set.contains(TOKEN));
    // A proxy in front of the server has the certificate.
    let headers = [("origin", "https://127.0.0.1"), ("host", "127.0.0.1")];
    let reply = super::visitor::send(&server, "/login", &headers, &[("token", TOKEN)]);
    assert_eq!(reply.status, 303, "{reply:?}");
    let set = reply.header("set-cookie").unwrap();
    assert!(set.starts_with("__Host-tinyns="), "{set}");
    assert!(set.ends_with("; SameSite=Strict; Secure"), "{set}");
}

#[test]
fn without_a_session_the_login_leads_back() {
    let server = Server::start();
    let url = format!("{}/links?q=a%20b", origin(&server));
    let reply = http("GET", &url, &[], None);
    assert_eq!(reply.status, 303);
    let login = reply.header("location").unwrap().to_owned();
    assert_eq!(login, "/login?next=%2Flinks%3Fq%3Da%2520b");
    let page = http("GET", &format!("{}{login}", origin(&server)), &[], None);
    assert!(
        page.body.contains("name=\"next\" value=\"/links?q=a%20b\""),
        "{page:?}"
    );
    let wrong = log_in(&server, "not-a-token-at-all");
    assert_eq!(wrong.status, 403);
    assert!(wrong.body.contains("id=\"token-error\""));
    assert!(wrong.header("set-cookie").is_none());
    assert_eq!(log_in(&server, "").status, 422);
}

#[test]
fn a_session_outlives_the_server_and_ends_at_the_logout() {
    let server = Server::start();
    let cookie_of = Visitor::root(&server).cookie().to_owned();
    let server = server.restart();
    let visitor = Visitor::with_cookie(&server, cookie_of.clone());
    let out = visitor.post("/logout", &[]);
    assert_eq!(out.status, 303);
    let removed = out
        .headers
        .iter()
        .filter(|(name, value)| name == "set-cookie" && value.contains("Max-Age=0"));
    assert_eq!(removed.count(), 2, "{out:?}");
    let log = server.log().text();
    let secret = cookie_of.split_once('=').unwrap().1;
    assert!(!log.contains(secret) && !log.contains(visitor.form_token()) && !log.contains(TOKEN));
}

#[test]
fn a_session_ends_with_its_token_on_all_servers() {
    let emulator = Emulator::start();
    let node = || {
        let url = emulator.url();
        let store = format!("kind = \"dynamodb\"\nendpoint_url = \"{url}\"\ncreate_table = true\n");
        Setup::new().store(&store).start()
    };
    let (one, two) = (node(), node());
    let body = json!({"name": "ann", "role": "editor"});
    let made = one.api("POST", "/v1/tokens", Some(&body)).json();
    let secret = made["token"].as_str().unwrap();
    let session = cookie(&log_in(&one, secret));
    let enters = |server: &Server| {
        let headers = [("cookie", &*session)];
        http("GET", &origin(server), &headers, None).status == 200
    };
    // The other server may have read the list of tokens just before.
    eventually("entered", PATIENCE, || enters(&two));
    assert!(enters(&one));
    assert_eq!(two.api("DELETE", "/v1/tokens/ann", None).status, 204);
    assert!(!enters(&two));
    std::thread::sleep(Duration::from_secs(1));
    assert!(!enters(&one));
}

#[test]
fn a_session_ends_when_its_token_does() {
    let server = Server::start();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let end = tinyns::base::clock::UnixTime(now.as_secs() + 3).rfc3339();
    let body = json!({"name": "ann", "role": "reader", "expires_at": end});
    let made = server.api("POST", "/v1/tokens", Some(&body)).json();
    let visitor = Visitor::of(&server, made["token"].as_str().unwrap());
    eventually("ended", PATIENCE, || visitor.get("/links").status == 303);
    let reply = visitor.post("/links", &[("url", "https://example.net/")]);
    assert_eq!(reply.header("location"), Some("/login?ended=yes"));
}
