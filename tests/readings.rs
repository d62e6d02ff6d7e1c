//! Statistics as they are read: the same figures in the API, on the page and in the terminal, and what has a bound.

use std::time::Duration;

use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use crate::clicks::FIREFOX;
use crate::command_line;
use crate::harness::{Server, Setup, ZONE, eventually, http};
use crate::page::visitor::Visitor;

/// The most zones whose sums are in one reply.
const MAX_ZONES: usize = 500;
/// How long it may take until all counts are in the store.
const FLUSHED: Duration = Duration::from_secs(60);
const ROBOT: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
const PREVIEW: &str = "WhatsApp/2.23.20.0 A";
/// More than can be written without a separator.
const TEXTS: u64 = 1_100;

/// Uses the links "sale" and "plain".
fn use_links(server: &Server) {
    let ask = |code: &str, rtype: RecordType, times: u64| {
        for _ in 0..times {
            server.ask(&format!("{code}.s.example.com"), rtype);
        }
    };
    ask("sale", RecordType::TXT, TEXTS);
    ask("sale", RecordType::A, 5);
    ask("sale", RecordType::AAAA, 3);
    ask("sale", RecordType::Unknown(256), 2);
    ask("sale", RecordType::MX, 1);
    ask("plain", RecordType::TXT, 4);
    let click = |method: &str, code: &str, headers: &[(&str, &str)], times: u64| {
        let host = format!("{code}.s.example.com");
        let headers = [&[("host", &*host)], headers].concat();
        let url = format!("http://{}/", server.redirect);
        for _ in 0..times {
            assert_eq!(http(method, &url, &headers, None).status, 302);
        }
    };
    let person = ("user-agent", FIREFOX);
    let from = |referrer| ("referer", referrer);
    click("GET", "sale", &[person], 2);
    click("GET", "sale", &[person, from("https://news.example/a")], 4);
    click("GET", "sale", &[person, from("https://b.example/")], 3);
    click("GET", "sale", &[("user-agent", ROBOT)], 6);
    click("GET", "sale", &[("user-agent", PREVIEW)], 5);
    click("HEAD", "sale", &[person], 7);
    click("GET", "sale", &[person, ("sec-purpose", "prefetch")], 8);
    click("GET", "plain", &[person, from("https://b.example/x")], 2);
}

/// What both links, or the first one, are to have: look-ups, clicks, referrers.
fn expected(of_both: bool) -> [Value; 3] {
    let both = |count: u64, plain: u64| count + if of_both { plain } else { 0 };
    let txt = both(TEXTS, 4);
    let host = |host: &str, clicks: u64| json!({"host": host, "clicks": clicks});
    let mut referrers = vec![host("news.example", 4), host("b.example", both(3, 2))];
    referrers.sort_by_key(|it| std::cmp::Reverse(it["clicks"].as_u64()));
    [
        json!({"all": txt + 11, "address": 8, "txt": txt, "uri": 2, "other": 1}),
        json!({"person": both(9, 2), "bot": 6, "preview": 5, "head": 7, "prefetch": 8}),
        json!(referrers),
    ]
}

/// All forms of the API have the same numbers as its JSON.
fn check_forms(server: &Server, path: &str, json: &Value) {
    let get = |accept: &str| {
        let reply = server.api_raw("GET", path, &[("accept", accept)], None);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.body
    };
    let series = json["series"].as_array().unwrap();
    let of_series = |group: &str, kind: &str| -> u64 {
        let counts = series
            .iter()
            .map(|unit| unit[group][kind].as_u64().unwrap());
        counts.sum()
    };
    for group in ["lookups", "clicks"] {
        for (kind, count) in json[group].as_object().unwrap() {
            assert_eq!(json!(of_series(group, kind)), *count, "{group} {kind}");
        }
    }
    let lines = get("application/x-ndjson");
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines, *series);
    let columns = [
        ("lookups", vec!["all", "address", "txt", "uri", "other"]),
        (
            "clicks",
            vec!["person", "bot", "preview", "head", "prefetch"],
        ),
    ];
    let csv = get("text/csv");
    let rows: Vec<&str> = csv.split_terminator("\r\n").skip(1).collect();
    let of_unit = |unit: &Value| {
        let mut row = unit["start"].as_str().unwrap().to_owned();
        for (group, kinds) in &columns {
            for kind in kinds {
                row += &format!(",{}", unit[group][*kind]);
            }
        }
        row
    };
    assert_eq!(rows, series.iter().map(of_unit).collect::<Vec<_>>());
}

/// The text of HTML, without tags.
fn text_of(html: &str) -> String {
    let parts = html.split('<').enumerate();
    let texts = parts.map(|(number, part)| match number {
        0 => part,
        _ => part.split_once('>').map_or("", |(_, text)| text),
    });
    texts.collect::<String>().trim().to_owned()
}

/// What is between two texts in a page.
fn between<'a>(page: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = page
        .split_once(start)
        .unwrap_or_else(|| panic!("{start} in {page}"));
    rest.split_once(end).unwrap().0
}

/// The rows of the table that begins with this, without its head.
fn rows(page: &str, start: &str) -> Vec<Vec<String>> {
    let body = between(between(page, start, "</table>"), "<tbody>", "</tbody>");
    let rows = body.split("</tr>").filter(|row| row.contains("<th"));
    let cells = |row: &str| {
        let cells = row.split("</th>").flat_map(|part| part.split("</td>"));
        let cells = cells.map(text_of).filter(|cell| !cell.is_empty());
        cells.collect()
    };
    rows.map(cells).collect()
}

fn table(rows: &[(&str, &str)]) -> Vec<Vec<String>> {
    let row = |(name, count): &(&str, &str)| vec![(*name).to_owned(), (*count).to_owned()];
    rows.iter().map(row).collect()
}

/// After look-ups and clicks, the API in all its forms, the terminal and the page show the same numbers.
#[test]
fn api_terminal_and_page_show_the_same_numbers() {
    let server = Server::start();
    server.register("sale", "https://example.net/sale");
    server.register("plain", "https://example.net/plain");
    use_links(&server);
    let of_link = "/v1/links/sale/stats?by=month";
    let of_all = "/v1/stats?by=month";
    let get = |path: &str| server.api("GET", path, None).json();
    let is_counted = |path: &str, expected: [Value; 3]| {
        let json = get(path);
        ["lookups", "clicks", "referrers"].map(|key| json[key].clone()) == expected
    };
    eventually("all is counted", FLUSHED, || {
        is_counted(of_link, expected(false)) && is_counted(of_all, expected(true))
    });
    let ranked =
        |code: &str, count: u64| json!({"code": code, "zone": "s.example.com", "count": count});
    let most = json!({
        "unit": "total",
        "by_clicks": [ranked("sale", 9), ranked("plain", 2)],
        "by_lookups": [ranked("sale", TEXTS + 11), ranked("plain", 4)],
    });
    eventually("links are ranked", FLUSHED, || {
        get(of_all)["most_used"] == most
    });

    let (link, all) = (get(of_link), get(of_all));
    assert_eq!(
        link["all_time"],
        json!({"lookups": TEXTS + 11, "clicks": 9})
    );
    check_forms(&server, of_link, &link);
    check_forms(&server, of_all, &all);

    let said = |arguments: &[&str]| {
        let said = command_line::on(&server, arguments);
        assert_eq!(said.code, Some(0), "{said:?}");
        said.out
    };
    let read = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    assert_eq!(
        read(said(&["stats", "sale", "--by", "month", "--json"])),
        link
    );
    assert_eq!(read(said(&["stats", "--by", "month", "--json"])), all);
    let csv = server.api_raw("GET", of_link, &[("accept", "text/csv")], None);
    assert_eq!(said(&["stats", "sale", "--by", "month", "--csv"]), csv.body);
    let check = |text: &str, parts: &[&str]| {
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
    };
    check(
        &said(&["stats", "sale", "--by", "month"]),
        &[
            "\nclicked    9      by persons; bots 6, previews 5, HEAD 7, prefetch 8\n",
            "\nlooked up  1,111  by DNS: address 8, TXT 1,100, URI 2, other 1\n",
            "\nall time   9      clicks and 1,111 look-ups in all\n",
            "\nClicked on pages of\nnews.example  4\nb.example     3\n",
        ],
    );
    check(
        &said(&["stats", "--by", "month"]),
        &[
            "\nclicked    11     by persons; bots 6, previews 5, HEAD 7, prefetch 8\n",
            "\nlooked up  1,115  by DNS: address 8, TXT 1,104, URI 2, other 1\n",
            "\nMost clicked of all time\nsale.s.example.com   9\nplain.s.example.com  2\n",
            "\nMost looked up of all time\nsale.s.example.com   1,111\nplain.s.example.com  4\n",
            "\nClicked on pages of\nb.example     5\nnews.example  4\n",
        ],
    );

    let visitor = Visitor::root(&server);
    let page = |path: &str| {
        let reply = visitor.get(path);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.body
    };
    let check = |page: &str, [clicked, looked_up, txt]: [&str; 3], hosts: [(&str, &str); 2]| {
        assert_eq!(between(page, "<strong id=\"clicked\">", "<"), clicked);
        assert_eq!(between(page, "<strong id=\"looked-up\">", "<"), looked_up);
        let units = rows(page, "<table id=\"units\">");
        assert_eq!(units.len(), 1, "{units:?}");
        assert_eq!(units[0][1..], [clicked, looked_up, "26"]);
        assert_eq!(rows(page, "<caption>Clicked on pages of<"), table(&hosts));
        let classes = [
            ("persons", clicked),
            ("bots", "6"),
            ("previews in messages", "5"),
            ("HEAD", "7"),
            ("prefetched", "8"),
        ];
        assert_eq!(rows(page, "<caption>Requested by<"), table(&classes));
        let kinds = [
            ("addresses", "8"),
            ("TXT", txt),
            ("URI", "2"),
            ("other types", "1"),
        ];
        assert_eq!(rows(page, "<caption>Looked up for<"), table(&kinds));
    };
    let of_link = page("/links/sale?stats=all");
    check(
        &of_link,
        ["9", "1,111", "1,100"],
        [("news.example", "4"), ("b.example", "3")],
    );
    assert!(of_link.contains("clicked 9 times, looked up 1,111 times."));
    let of_all = page("/stats?stats=all");
    check(
        &of_all,
        ["11", "1,115", "1,104"],
        [("b.example", "5"), ("news.example", "4")],
    );
    let names =
        |sale, plain| table(&[("sale.s.example.com", sale), ("plain.s.example.com", plain)]);
    assert_eq!(
        rows(&of_all, "<caption>Most clicked of all time<"),
        names("9", "2")
    );
    assert_eq!(
        rows(&of_all, "<caption>Most looked up of all time<"),
        names("1,111", "4")
    );
}

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
