//! `[https.acme]`.

use super::*;
use crate::certificates::acme::{AcmeSettings, ExternalAccount};

const HTTPS: &str = "[https]\nlisten = \"[::]:443\"\n";
const ACME: &str = "[https.acme]\ndirectory = \"https://ca.test/dir\"\naccept_terms = true\n";

fn settings(text: &str) -> AcmeSettings {
    match ok(text).https.unwrap().certificates {
        HttpsCertificates::Acme(settings) => *settings,
        HttpsCertificates::Files(files) => panic!("{files:?}"),
    }
}

/// The only fault of an `[https.acme]` section with these lines, which begin in line 6.
fn refused(lines: &str, fault: &str) {
    check(&format!("{HTTPS}{ACME}{lines}"), fault);
}

#[test]
fn two_lines_are_enough() {
    let expected = AcmeSettings {
        directory: "https://ca.test/dir".into(),
        contact: Vec::new(),
        accept_terms: true,
        ca_file: None,
        external_account: None,
        profile: None,
        key_file: "data/certificates.key".into(),
        create_key_file: true,
        check_name_servers: true,
        name_server_port: 53,
    };
    assert_eq!(settings(&format!("{HTTPS}{ACME}")), expected);
    let store = "[store]\npath = \"/var/lib/tinyns/links.sqlite\"\n";
    let beside = settings(&format!("{store}{HTTPS}{ACME}")).key_file;
    assert_eq!(beside, Path::new("/var/lib/tinyns/certificates.key"));
}

/// The client for HTTP panics over URLs that are not in their normal form.
#[test]
fn the_directory_is_a_url_in_its_normal_form() {
    for (written, expected) in [
        (" https:ca.test/a dir", "https://ca.test/a%20dir"),
        ("HTTPS://CÄ.test:443", "https://xn--c-0fa.test/"),
    ] {
        let section = ACME.replace("https://ca.test/dir", written);
        assert_eq!(settings(&format!("{HTTPS}{section}")).directory, expected);
    }
}

#[test]
fn all_keys() {
    let lines = "contact = [\"a@example.com\", \"mailto:b@example.com\", \"https://example.com/form\"]\n\
                 ca_file = \"ca.pem\"\nprofile = \"shortlived\"\nkey_file = \"k\"\ncheck_nameservers = false\n\
                 nameserver_port = 5300\nexternal_account = { key_id = \"id\", key_file = \"e.key\" }\n";
    let expected = AcmeSettings {
        directory: "https://ca.test/dir".into(),
        contact: [
            "mailto:a@example.com",
            "mailto:b@example.com",
            "https://example.com/form",
        ]
        .map(Into::into)
        .into(),
        accept_terms: true,
        ca_file: Some("ca.pem".into()),
        external_account: Some(ExternalAccount {
            key_id: "id".into(),
            key_file: "e.key".into(),
        }),
        profile: Some("shortlived".into()),
        key_file: "k".into(),
        create_key_file: true,
        check_name_servers: false,
        name_server_port: 5300,
    };
    assert_eq!(settings(&format!("{HTTPS}{ACME}{lines}")), expected);
}

#[test]
fn a_shared_store_needs_a_key_file() {
    let store = "[store]\nkind = \"dynamodb\"\n";
    check(
        &format!("{store}{HTTPS}{ACME}"),
        "t.toml:5: https.acme: missing; [https.acme] needs \"key_file\"",
    );
    let with = settings(&format!("{store}{HTTPS}{ACME}key_file = \"k\"\n"));
    assert_eq!(
        (with.key_file.as_path(), with.create_key_file),
        (Path::new("k"), false)
    );
}

#[test]
fn there_is_one_source_of_certificates() {
    check(
        HTTPS,
        "t.toml:1: https: missing; [https] needs \"certificate\" and \"key\", or a section [https.acme]",
    );
    check(
        &format!("{HTTPS}certificate = \"c.pem\"\n{ACME}"),
        "t.toml:3: https.certificate: the certificate is the operator's or the server's own, and line 4 has \
         [https.acme]; remove one of the two",
    );
    check(
        &format!("{HTTPS}key = \"c.key\"\n"),
        "t.toml:1: https: missing; [https] needs \"certificate\"",
    );
}

#[test]
fn bad_values() {
    let directory = "is not an https:// URL of an ACME directory, such as \
                     \"https://acme-v02.api.letsencrypt.org/directory\"";
    for url in ["http://ca.test/dir", "ca.test", "https://", ""] {
        check(
            &format!("{HTTPS}[https.acme]\naccept_terms = true\ndirectory = {url:?}\n"),
            &format!("t.toml:5: https.acme.directory: {url:?} {directory}"),
        );
    }
    check(
        &format!("{HTTPS}[https.acme]\naccept_terms = true\n"),
        "t.toml:3: https.acme: missing; [https.acme] needs \"directory\"",
    );
    let terms = "has to be true; read the terms of service of the directory first, and then set it";
    check(
        &format!("{HTTPS}[https.acme]\ndirectory = \"https://ca.test/dir\"\n"),
        &format!("t.toml:3: https.acme.accept_terms: {terms}"),
    );
    check(
        &format!("{HTTPS}{}", ACME.replace("true", "false")),
        &format!("t.toml:5: https.acme.accept_terms: {terms}"),
    );
    for contact in [
        "admin",
        "@example.com",
        "mailto:a@b,c@d",
        "mailto:a",
        "a b@c",
        "a@",
    ] {
        refused(
            &format!("contact = {contact:?}\n"),
            &format!(
                "t.toml:6: https.acme.contact: {contact:?} is not an e-mail address, such as \"admin@example.com\", \
                 or another URL"
            ),
        );
    }
    refused(
        "profile = \"a b\"\n",
        "t.toml:6: https.acme.profile: \"a b\" is not the name of a profile: letters, digits, and any of \"_-.\"",
    );
    refused(
        "nameserver_port = 0\n",
        "t.toml:6: https.acme.nameserver_port: 0 is not within 1 to 65535",
    );
    refused(
        "external_account = { key_id = \"id\" }\n",
        "t.toml:6: https.acme.external_account: missing; [https.acme.external_account] needs \"key_file\"",
    );
}
