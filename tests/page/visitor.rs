//! Someone who uses the page without JavaScript.

use url::form_urlencoded::Serializer;

use crate::harness::{Reply, Server, TOKEN, http};

/// A visitor who is logged in.
pub struct Visitor<'a> {
    server: &'a Server,
    cookie: String,
    form_token: String,
}

/// The fields of a form, encoded.
pub fn encoded(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut form = Serializer::new(String::new());
    form.extend_pairs(fields);
    form.finish().into_bytes()
}

/// The origin of the page.
pub fn origin(server: &Server) -> String {
    format!("http://{}", server.admin)
}

/// Sends a form as a browser does, with these other headers.
pub fn send(
    server: &Server,
    path: &str,
    headers: &[(&str, &str)],
    fields: &[(&str, &str)],
) -> Reply {
    let body = Some(("application/x-www-form-urlencoded", encoded(fields)));
    http("POST", &format!("{}{path}", origin(server)), headers, body)
}

/// Logs in with a token.
pub fn log_in(server: &Server, token: &str) -> Reply {
    let origin = origin(server);
    send(
        server,
        "/login",
        &[("origin", &origin)],
        &[("token", token)],
    )
}

/// The cookie that a response sets, as a browser sends it.
pub fn cookie(reply: &Reply) -> String {
    let set = reply
        .header("set-cookie")
        .unwrap_or_else(|| panic!("{reply:?}"));
    set.split(';').next().unwrap().to_owned()
}

/// The value of the first hidden field of this name in a page.
pub fn hidden(page: &str, name: &str) -> String {
    let start = format!("name=\"{name}\" value=\"");
    let at = page
        .find(&start)
        .unwrap_or_else(|| panic!("no {name} in {page}"));
    let rest = &page[at + start.len()..];
    rest[..rest.find('"').unwrap()].to_owned()
}

impl<'a> Visitor<'a> {
    /// The one with the root token.
    pub fn root(server: &'a Server) -> Self {
        Self::of(server, TOKEN)
    }

    pub fn of(server: &'a Server, token: &str) -> Self {
        let reply = log_in(server, token);
        assert_eq!(reply.status, 303, "{reply:?}");
        Self::with_cookie(server, cookie(&reply))
    }

    /// One who has this cookie, perhaps of another server.
    pub fn with_cookie(server: &'a Server, cookie: String) -> Self {
        let mut visitor = Self {
            server,
            cookie,
            form_token: String::new(),
        };
        let page = visitor.get("/");
        assert_eq!(page.status, 200, "{page:?}");
        visitor.form_token = hidden(&page.body, "form_token");
        visitor
    }

    pub fn cookie(&self) -> &str {
        &self.cookie
    }

    pub fn form_token(&self) -> &str {
        &self.form_token
    }

    pub fn get(&self, path: &str) -> Reply {
        let url = format!("{}{path}", origin(self.server));
        http("GET", &url, &[("cookie", &self.cookie)], None)
    }

    /// Sends a form with the token of the session.
    pub fn post(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let origin = origin(self.server);
        let headers = [("cookie", &*self.cookie), ("origin", &*origin)];
        let mut all = vec![("form_token", &*self.form_token)];
        all.extend_from_slice(fields);
        send(self.server, path, &headers, &all)
    }

    /// Sends a form with files, and accepts this type.
    pub fn upload(&self, path: &str, accept: &str, fields: &[(&str, &str)]) -> Reply {
        let origin = origin(self.server);
        let headers = [
            ("cookie", &*self.cookie),
            ("origin", &*origin),
            ("accept", accept),
        ];
        let mut body = String::new();
        let token = [("form_token", &*self.form_token)];
        for (name, content) in token.iter().chain(fields) {
            let head = format!("Content-Disposition: form-data; name=\"{name}\"");
            body.push_str(&format!("--limit\r\n{head}\r\n\r\n{content}\r\n"));
        }
        body.push_str("--limit--\r\n");
        let kind = "multipart/form-data; boundary=limit";
        let url = format!("{origin}{path}");
        http("POST", &url, &headers, Some((kind, body.into_bytes())))
    }
}
