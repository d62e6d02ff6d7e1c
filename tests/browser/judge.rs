//! The checks of [`super::inspect`] themselves: each fault of a page is found, on pages that have one fault each.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::inspect::{Screen, Visit};

/// The page without a fault.
const SOUND: &str = "<h1>Sound</h1><p>A page without a fault.</p>";

/// A server whose page at `/NUMBER` has the body with this number.
fn serve(bodies: Vec<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let bodies = bodies.clone();
            // Browsers open connections that they do not use.
            std::thread::spawn(move || answer(&client, &bodies));
        }
    });
    address
}

/// Answers one request. The policy of the page allows its style sheet by its hash, and images of any host.
fn answer(mut client: &TcpStream, bodies: &[&str]) -> Option<()> {
    let mut lines = BufReader::new(client).lines().map_while(Result::ok);
    let request = lines.next()?;
    lines.find(|line| line.is_empty())?;
    let path = request.split(' ').nth(1)?.trim_start_matches('/');
    let found = path
        .parse()
        .ok()
        .and_then(|number: usize| bodies.get(number));
    let (status, body) = match found {
        Some(body) => ("200 OK", *body),
        None => ("404 Not Found", ""),
    };
    let page = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Page</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"></head>\
         <body><main>{body}</main></body></html>"
    );
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\
         content-security-policy: default-src 'none'; img-src *; style-src-attr 'unsafe-inline'\r\n\r\n",
        page.len()
    );
    client.write_all(format!("{head}{page}").as_bytes()).ok()
}

#[test]
fn every_kind_of_fault_is_found() {
    let faults = [
        ("<h1>x</h1><input name=\"url\">", "light: \"label\""),
        (
            "<h1>x</h1><p style=\"color:#999;background:#fff\">pale</p>",
            "dark: \"color-contrast\"",
        ),
        ("<p>no heading</p>", "\"page-has-heading-one\""),
        (
            "<h1>x</h1><script>document.title = 'y'</script>",
            "Content Security Policy",
        ),
        (
            "<h1>x</h1><img alt=\"x\" src=\"http://stranger.example/x.png\">",
            "another host: http://stranger.example/x.png",
        ),
        (
            "<h1>x</h1><img alt=\"x\" src=\"/missing.png\">",
            "/missing.png",
        ),
        (
            "<h1>x</h1><p style=\"width:2000px\">wide</p>",
            "2008 pixels wide on 360",
        ),
    ];
    let bodies = faults.iter().map(|(body, _)| *body).chain([SOUND]);
    let origin = format!("http://{}", serve(bodies.collect()));
    let visit = Visit::start(
        "MAP * ~NOTFOUND,EXCLUDE 127.0.0.1",
        std::slice::from_ref(&origin),
        Screen::Phone,
        true,
    );
    for (number, (body, expected)) in faults.iter().enumerate() {
        visit.browser.open(&format!("{origin}/{number}"));
        let found = visit.faults(&format!("fault-{number}"));
        assert!(
            found.iter().any(|fault| fault.contains(expected)),
            "{body}: {found:#?}"
        );
    }
    visit.browser.open(&format!("{origin}/{}", faults.len()));
    visit.inspect("sound");
}
