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
    let form_token = visitor.form_token().to_owned();
    let out = visitor.post("/logout", &[]);
    assert_eq!(out.status, 303);
    let removed = out
        .headers
        .iter()
        .filter(|(name, value)| name == "set-cookie" && value.contains("Max-Age=0"));
    assert_eq!(removed.count(), 2, "{out:?}");
    // A copy of the cookie is of no use.
    assert_eq!(visitor.get("/links").status, 303);
    let server = server.restart();
    let headers = [("cookie", &*cookie_of)];
    assert_eq!(http("GET", &origin(&server), &headers, None).status, 303);
    let log = server.log().text();
    let secret = cookie_of.split_once('=').unwrap().1;
    assert!(!log.contains(secret) && !log.contains(&form_token) && !log.contains(TOKEN));
}

#[test]
fn an_admin_ends_all_sessions_and_an_editor_cannot() {
    let server = Server::start();
    let body = json!({"name": "ann", "role": "editor"});
    let made = server.api("POST", "/v1/tokens", Some(&body)).json();
    let editor = Visitor::of(&server, made["token"].as_str().unwrap());
    assert_eq!(editor.post("/sessions/end", &[]).status, 403);
    assert_eq!(editor.get("/links").status, 200);

    let admin = Visitor::root(&server);
    let ask = admin.get("/sessions/end");
    assert!(ask.body.contains("id=\"end-sessions\""), "{ask:?}");
    let ended = admin.post("/sessions/end", &[]);
    assert_eq!(ended.header("location"), Some("/login?all=yes"));
    for visitor in [&editor, &admin] {
        assert_eq!(visitor.get("/links").status, 303);
    }
    Visitor::root(&server);
    let log = server.api("GET", "/v1/audit?action=sessions.ended", None);
    let log = log.json();
    let entry = &log["entries"][0];
    assert_eq!(
        (&entry["actor"], &entry["zone"]),
        (&json!("admin"), &json!(null))
    );
    assert!(entry["address"].is_string(), "{entry}");
}

#[test]
fn a_log_out_and_the_end_of_all_sessions_hold_on_all_servers() {
    let emulator = Emulator::start();
    let node = || Setup::new().dynamodb(&emulator.url()).start();
    let (one, two) = (node(), node());
    let cookies = [TOKEN; 3].map(|token| cookie(&log_in(&one, token)));
    let enters = |server: &Server, cookie: &str| {
        http("GET", &origin(server), &[("cookie", cookie)], None).status == 200
    };
    for cookie in &cookies {
        assert!(enters(&one, cookie) && enters(&two, cookie));
    }
    let first = Visitor::with_cookie(&two, cookies[0].clone());
    assert_eq!(first.post("/logout", &[]).status, 303);
    assert!(!enters(&two, &cookies[0]));
    std::thread::sleep(Duration::from_secs(1));
    assert!(!enters(&one, &cookies[0]));
    for server in [&one, &two] {
        assert!(enters(server, &cookies[1]) && enters(server, &cookies[2]));
    }
    assert_eq!(one.api("DELETE", "/v1/sessions", None).status, 204);
    std::thread::sleep(Duration::from_secs(1));
    for server in [&one, &two] {
        assert!(!enters(server, &cookies[1]) && !enters(server, &cookies[2]));
    }
}

#[test]
fn a_session_ends_with_its_token_on_all_servers() {
    let emulator = Emulator::start();
    let node = || Setup::new().dynamodb(&emulator.url()).start();
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
