//! `[admin]` and `[redirect]`.

use super::*;
use crate::certificates::CertificateFiles;

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
fn https_has_a_certificate() {
    let files = "certificate = \"c.pem\"\nkey = \"c.key\"\n";
    let config = ok(&format!(
        "[https]\nlisten = \"[::]:443\"\n{files}hsts = 3600\n"
    ));
    let expected = HttpsConfig {
        listen: addresses(&["[::]:443"]),
        certificates: HttpsCertificates::Files(CertificateFiles {
            certificate: "c.pem".into(),
            key: "c.key".into(),
        }),
        hsts: Some(3600),
    };
    assert_eq!(config.https, Some(expected));
    // Short URLs follow, unless the file says otherwise.
    assert_eq!(config.redirect.short_urls.scheme, Scheme::Https);
    let other = ok(&format!(
        "[https]\nlisten = \"[::]:443\"\n{files}[redirect]\nshort_url_scheme = \"http\"\n"
    ));
    assert_eq!(other.redirect.short_urls.scheme, Scheme::Http);
    check(
        &format!("[https]\n{files}"),
        "t.toml:1: https: missing; [https] needs \"listen\"",
    );
    check(
        &format!("[https]\nlisten = \"127.0.0.1:8080\"\n{files}"),
        "t.toml:2: https.listen: 127.0.0.1:8080 is the default of redirect.listen; set that key to another address",
    );
    check(
        &format!("[https]\nlisten = \"[::]:443\"\n{files}hsts = 63072001\n"),
        "t.toml:5: https.hsts: 63072001 is not within 1 to 63072000 seconds",
    );
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

#[test]
fn the_contact_for_abuse_is_checked() {
    let config = ok("[redirect]\nabuse_contact = \"https://example.com/report\"\n");
    let contact = config.redirect.abuse_contact.unwrap();
    assert_eq!(contact.url(), "https://example.com/report");
    check(
        "[redirect]\nabuse_contact = \"the operator\"\n",
        "t.toml:2: redirect.abuse_contact: \"the operator\" is neither an e-mail address nor a URL that begins with \
         https:// or http://",
    );
}

#[test]
fn the_page_has_a_name_that_a_certificate_can_have() {
    let https = |rest: &str| {
        format!(
            "[[zone]]\norigin = \"s.example.com\"\nfile = \"z\"\nredirect_host = \"r\"\n\
             [https]\nlisten = \"[::]:443\"\n{rest}"
        )
    };
    let files = https("certificate = \"c.pem\"\nkey = \"c.key\"\n[page]\n");
    let config = ok(&format!("{files}host = \"Links.example.net.\"\n"));
    assert_eq!(config.page.host.as_deref(), Some("links.example.net"));
    let acme =
        https("[https.acme]\ndirectory = \"https://ca.test/dir\"\naccept_terms = true\n[page]\n");
    for host in ["s.example.com", "admin.s.example.com"] {
        let config = ok(&format!("{acme}host = \"{host}\"\n"));
        assert_eq!(config.page.host.as_deref(), Some(host));
    }
    for host in ["links.example.net", "a.b.s.example.com"] {
        check(
            &format!("{acme}host = \"{host}\"\n"),
            &format!(
                "t.toml:11: page.host: [https.acme] gets certificates for zones with links and the names one label below, \
                 and {host} is none of these; choose such a name, or use the keys certificate and key of [https]"
            ),
        );
    }
    check(
        "[page]\nhost = \"links.example.net\"\n",
        "t.toml:2: page.host: there is no [https] section to serve the page under this host; add one, or name the host of \
         a proxy in front of [admin] in \"hosts\"",
    );
    check(
        "[page]\nhosts = [\"a.example\", \"https://b.example/\"]\n",
        "t.toml:2: page.hosts: \"https://b.example/\" is not a host name such as links.example.com",
    );
}
