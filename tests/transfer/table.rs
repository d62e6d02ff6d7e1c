//! Import from a table as the script of the article leaves it.

use super::{Counts, PLAIN, Source, check_links, fill_with_everything, on, run, url_of};
use crate::harness::{Server, Setup};

#[test]
fn the_table_of_the_article_becomes_links() {
    let source = Source::new();
    let number = fill_with_everything(&source);
    let server = Server::start();
    let url = source.emulator.url();
    let said = run(on(server.admin, &source.args(&url)));
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    let expected = Counts {
        read: number,
        // All plain ones; of the odd ones one of each pair, four keys of other forms, Ends0001,
        // HasTtl01, own.
        made: PLAIN + 2 + 4 + 3,
        there: 0,
        renamed: 8,
        merged: 2,
        ended: 1,
        deleted: 1,
        refused: 7,
    };
    assert_eq!(said.counts(), expected, "{}{}", said.stdout, said.stderr);
    assert!(
        said.stderr.contains("refused 7 of 3028 links"),
        "{}",
        said.stderr
    );

    // The order of two spellings in the table is not defined; either is reported correctly.
    let renamed = |from: &str, to: &str, why: &str| {
        let begins = format!("{from} -> {to} : {why}; registered as ");
        let found: Vec<_> = said
            .report()
            .into_iter()
            .filter(|l| l.starts_with(&begins))
            .collect();
        let [line] = found[..] else {
            panic!("{begins}: {found:?} in {}", said.stdout);
        };
        assert_eq!(url_of(&server, &line[begins.len()..]), to);
    };
    let (one, two) = ("https://example.net/one", "https://example.net/two");
    let taken = |by: &str| format!("the code ab3xy9zq already leads to {by}");
    if url_of(&server, "ab3xy9zq") == one {
        renamed("Ab3Xy9Zq", two, &taken(one));
    } else {
        assert_eq!(url_of(&server, "ab3xy9zq"), two);
        renamed("aB3xY9zQ", one, &taken(two));
    }
    let alphabet = "a code has only letters, digits and hyphens; this one has '_'";
    renamed("under_sc", "https://example.net/under", alphabet);
    let dot = "a code has only letters, digits and hyphens; this one has '.'";
    renamed("resume.pdf", "https://example.net/resume", dot);
    renamed("v1.2", "https://example.net/version", dot);
    renamed("else1.other.example", "https://example.net/else", dot);
    let outer = "a code neither begins nor ends with a hyphen";
    renamed("-hyphen", "https://example.net/hyphen", outer);
    let long = "a code has at most 63 characters; this one has 64";
    renamed(&"L".repeat(64), "https://example.net/long", long);
    let reserved = "the code \"www\" is a name of the zone s.example.com itself";
    renamed("www", "https://example.net/reserved", reserved);

    let reports = |text: &str| {
        let found = said
            .report()
            .into_iter()
            .filter(|line| line.contains(text))
            .count();
        assert_eq!(found, 1, "{text} in {}", said.stdout);
    };
    // An item of ours has a name, and one of the article's a code, whatever it looks like.
    reports(
        "own.other.example -> https://example.net/elsewhere : refused: the name is in the zone",
    );
    reports("badUrl01 -> javascript:alert(1) : refused: the scheme \"javascript\" is not accepted");
    reports("badUrl02 -> https://x.s.example.com/ : refused: the URL points to");
    reports(" : refused: the URL has 3020 bytes; at most 2048 are accepted");
    reports("badUrl04 : refused: fullUrl is not a text");
    reports("badUrl05 : refused: it has no URL; it needs one of fullUrl, url,");
    reports("BadTtl01 -> https://example.net/of/ttl : refused: ttl is not 0 to 604800 seconds");
    let merged = said
        .report()
        .into_iter()
        .filter(|line| line.ends_with("; merged"))
        .count();
    assert_eq!(merged, 2, "{}", said.stdout);
    assert_eq!(said.report().len(), 8 + 2 + 7);

    check_links(&server);
    // Once more, and nothing new happens but that all is there.
    let again = run(on(server.admin, &source.args(&url)));
    let counts = again.counts();
    assert_eq!(
        counts.there,
        expected.made + expected.merged,
        "{}",
        again.stderr
    );
    assert_eq!((counts.made, counts.merged), (0, 0));
    assert_eq!((counts.renamed, counts.refused), (8, 7));
    check_links(&server);
}

#[test]
fn a_table_may_become_the_servers_own() {
    let source = Source::new();
    let number = fill_with_everything(&source);
    let url = source.emulator.url();
    let server = Setup::new()
        .store(&format!("kind = \"dynamodb\"\nendpoint_url = \"{url}\"\n"))
        .start();
    let said = run(on(server.admin, &source.args(&url)));
    let counts = said.counts();
    // The import may read its own links again, which are not other spellings. The item in the server's form was a
    // link of the server before the import.
    assert_eq!(counts.made, PLAIN + 8, "{}{}", said.stdout, said.stderr);
    assert_eq!((counts.renamed, counts.merged), (8, 2), "{}", said.stdout);
    assert_eq!((counts.ended, counts.deleted, counts.refused), (1, 1, 7));
    assert_eq!(counts.read - counts.there + 1, number);
    check_links(&server);
}
