use serde_json::json;

use super::*;
use crate::link::list_text;

fn record(value: Value) -> Record {
    Record::from_json(7, value.to_string().as_bytes())
}

fn check(value: Value, key: &str, url: &str, terms: Terms) {
    let expected = Record {
        line: Some(7),
        key: key.into(),
        called: record(value.clone()).called,
        url: url.into(),
        terms: Ok(terms),
    };
    assert_eq!(record(value.clone()), expected, "{value}");
}

fn terms(expires_at: Option<u64>, ttl: Option<u64>, version: Option<u64>) -> Terms {
    Terms {
        expires_at: expires_at.map(UnixTime),
        ttl: ttl.and_then(Ttl::from_secs),
        version,
        about: About::default(),
        withheld: None,
        destinations: Vec::new(),
    }
}

#[test]
fn links_of_the_api() {
    let link = json!({"code": "sale", "name": "sale.s.example.com",
        "short_url": "http://sale.s.example.com/", "url": "https://example.net/",
        "created_at": "2026-01-01T00:00:00Z", "expires_at": "2030-01-01T00:00:00Z",
        "ttl": 60, "version": 9});
    let all = terms(Some(1_893_456_000), Some(60), Some(9));
    check(link, "sale.s.example.com", "https://example.net/", all);
    let link = json!({"code": "sale", "url": "u", "expires_at": null, "ttl": null});
    check(link, "sale", "u", Terms::default());
    // An empty code is allowed.
    let link = json!({"code": null, "url": "u"});
    check(link, "", "u", Terms::default());
}

#[test]
fn items_of_dynamodb() {
    let bare = json!({"miniUrl": "aB3", "fullUrl": "u", "clicks": [1]});
    check(bare, "aB3", "u", Terms::default());
    // miniUrl takes precedence over a column called name.
    let named = json!({"miniUrl": "aB3", "fullUrl": "u", "name": "My page", "url": "v"});
    check(named, "aB3", "u", Terms::default());
    let item = json!({"Item": {"miniUrl": {"S": "aB3"}, "fullUrl": {"S": "u"},
        "expiresAt": {"N": "1893456000"}, "ttl": {"N": "60"}, "version": {"N": "9"},
        "tags": {"SS": ["x"]}}});
    let all = Terms {
        about: About::new(None, Tags::parse(["x"]).unwrap(), None),
        ..terms(Some(1_893_456_000), Some(60), Some(9))
    };
    check(item.clone(), "aB3", "u", all.clone());
    // Without the member Item, as scans print it.
    check(item["Item"].clone(), "aB3", "u", all);
    let null = json!({"Item": {"miniUrl": {"S": "x"}, "fullUrl": {"S": "u"},
        "ttl": {"NULL": true}}});
    check(null, "x", "u", Terms::default());
}

#[test]
fn links_of_other_shorteners() {
    let shlink = json!({"shortCode": "aB3", "shortUrl": "https://short.example/aB3",
        "longUrl": "u", "tags": [], "visitsSummary": {"total": 3}});
    check(shlink, "aB3", "u", Terms::default());
    let bitly = json!({"created_at": "x", "id": "bit.ly/aB3", "link": "https://bit.ly/aB3",
        "custom_bitlinks": [], "long_url": "u"});
    check(bitly, "https://bit.ly/aB3", "u", Terms::default());
    let yourls = json!({"keyword": "aB3", "url": "u", "clicks": "7"});
    check(yourls, "aB3", "u", Terms::default());
    // The names of tinyns take precedence, in any order.
    let both = json!({"Code": "b", "code": "a", "URL": "v", "url": "u"});
    check(both, "a", "u", Terms::default());
}

#[test]
fn titles_tags_and_notes() {
    let about = |value: Value| record(value).terms.map(|terms| terms.about);
    let expected = |title: &str, tags: &[&str], note: &str| {
        let tags = Tags::parse(tags.iter().copied()).unwrap();
        Ok(About::new(
            Title::parse(title).ok(),
            tags,
            Note::parse(note).ok(),
        ))
    };
    let link = json!({"code": "x", "url": "u", "title": "T", "tags": ["b", "a"], "note": "n\nm"});
    assert_eq!(about(link), expected("T", &["a", "b"], "n\nm"));
    let shlink = json!({"shortCode": "x", "longUrl": "u", "title": "A\n B", "tags": "b|a"});
    assert_eq!(about(shlink), expected("A B", &["a", "b"], ""));
    let csv = json!({"code": "x", "url": "u", "title": "", "tags": "a|b,", "note": ""});
    assert_eq!(about(csv), expected("", &["a|b"], ""));
    let long = json!({"code": "x", "url": "u", "title": "t".repeat(300)});
    assert_eq!(about(long), expected(&"t".repeat(200), &[], ""));
    let bad = json!({"code": "x", "url": "u", "tags": "t".repeat(33)});
    let reason = "the tag has 33 characters; at most 32 are accepted";
    assert_eq!(about(bad), Err(Flaw::Bad(reason.into())));
}

#[test]
fn links_that_are_withheld() {
    let check = |value: Value, expected: Result<Option<&str>, &str>| {
        let mut link = json!({"code": "x", "url": "u"});
        let members = link.as_object_mut().unwrap();
        members.append(&mut value.as_object().unwrap().clone());
        let found = record(link).terms.map(|terms| terms.withheld);
        let found = found.map(|it| it.map(|it| serde_json::to_string(&it).unwrap()));
        let expected = expected.map(|it| it.map(ToOwned::to_owned));
        let expected = expected.map_err(|reason| Flaw::Bad(reason.into()));
        assert_eq!(found, expected, "{value}");
    };
    let order =
        "{\"kind\":\"legal\",\"reason\":\"Order 12\",\"authority\":\"https://court.example/\"}";
    check(json!({"withheld": null}), Ok(None));
    check(json!({"withheld": "", "withheld_reason": ""}), Ok(None));
    let object: Value = serde_json::from_str(order).unwrap();
    check(json!({ "withheld": object }), Ok(Some(order)));
    let item = json!({"withheld": {"M": {"kind": {"S": "legal"}, "reason": {"S": "Order 12"},
        "authority": {"S": "https://court.example/"}}}});
    check(item, Ok(Some(order)));
    let row = json!({"withheld": "legal", "withheld_reason": "Order 12",
        "withheld_authority": "https://court.example/"});
    check(row, Ok(Some(order)));
    // A link that cannot be withheld as it was is not imported.
    let kind = "withheld: the kind \"spam\" is neither \"abuse\" nor \"legal\"";
    check(
        json!({"withheld": {"kind": "spam", "reason": "x"}}),
        Err(kind),
    );
    check(
        json!({"withheld": "abuse"}),
        Err("withheld: the reason is empty"),
    );
    check(json!({"withheld": true}), Err("withheld is not a text"));
}

#[test]
fn kinds_of_keys() {
    let check = |value: Value, expected: Called| {
        assert_eq!(record(value.clone()).called, expected, "{value}");
    };
    check(
        json!({"name": "a.b", "code": "a", "url": "u"}),
        Called::Name,
    );
    check(json!({"name": "", "code": "a", "url": "u"}), Called::Code);
    check(
        json!({"miniUrl": "a.b", "fullUrl": "u", "version": 7}),
        Called::Name,
    );
    check(json!({"miniUrl": "a.b", "fullUrl": "u"}), Called::Code);
    check(json!({"shortUrl": "a.b/c", "url": "u"}), Called::Code);
    let line = Record::from_url(7, b" https://example.net/ \r".to_vec());
    assert_eq!((line.called, line.line), (Called::Nothing, Some(7)));
    assert_eq!((&*line.url, &*line.key), ("https://example.net/", ""));
    assert!(line.terms.is_ok());
    assert!(Record::from_url(7, vec![0xFF]).terms.is_err());
}

#[test]
fn times_and_ttls() {
    let end = |value: Value| {
        let link = json!({"code": "x", "url": "u", "expires_at": value});
        record(link)
            .terms
            .map(|terms| terms.expires_at.map(|t| t.0))
    };
    assert_eq!(end(json!(7)), Ok(Some(7)));
    assert_eq!(end(json!("7")), Ok(Some(7)));
    assert_eq!(end(json!("1970-01-01T01:00:07.9+01:00")), Ok(Some(7)));
    assert_eq!(end(json!("1969-12-31T23:59:59Z")), Ok(Some(0)));
    assert_eq!(end(json!("")), Ok(None));
    for bad in [
        json!(-1),
        json!(1.5),
        json!("soon"),
        json!([]),
        json!("30d"),
    ] {
        let Err(Flaw::Bad(reason)) = end(bad.clone()) else {
            panic!("{bad}");
        };
        assert!(reason.starts_with("expires_at is neither "), "{reason}");
    }
    assert_eq!(
        end(json!(1_893_456_000_000_u64)),
        Err(Flaw::Bad(
            "expires_at is beyond the year 9999: 1893456000000".into()
        ))
    );
    let ttl = |value: Value| {
        let link = json!({"code": "x", "url": "u", "ttl": value});
        record(link).terms.map(|terms| terms.ttl.map(Ttl::as_secs))
    };
    assert_eq!(ttl(json!(0)), Ok(Some(0)));
    assert_eq!(ttl(json!("604800")), Ok(Some(604_800)));
    // Other programs store the TTL of the item, a time, in an attribute of that name.
    for bad in [json!(604_801), json!(1_893_456_000), json!("x"), json!(-1)] {
        let expected = format!("ttl is not 0 to 604800 seconds: {bad}");
        assert_eq!(ttl(bad), Err(Flaw::Bad(expected)));
    }
}

fn check_flaw(value: Value, key: &str, url: &str, flaw: Flaw) {
    let record = record(value.clone());
    assert_eq!((&*record.key, &*record.url), (key, url), "{value}");
    assert_eq!(record.terms, Err(flaw), "{value}");
}

#[test]
fn bad_records() {
    let bad = |reason: &str| Flaw::Bad(reason.into());
    let deleted = json!({"miniUrl": "x.s.example.com", "deletedAt": 7, "version": 8});
    check_flaw(deleted, "x.s.example.com", "", Flaw::Deleted);
    // Another program has set a URL again.
    let back = json!({"miniUrl": "x", "deletedAt": 7, "fullUrl": "u"});
    check(back, "x", "u", Terms::default());
    check_flaw(
        json!({"code": "x"}),
        "x",
        "",
        bad(
            "it has no URL; it needs one of fullUrl, url, longUrl, destinationUrl, destination, originalUrl",
        ),
    );
    check_flaw(
        json!({"url": "u", "mini": "x"}),
        "",
        "u",
        bad(
            "it has no code; it needs one of miniUrl, name, code, shortCode, keyword, customLink, shortUrl, \
             bitlink, link",
        ),
    );
    check_flaw(
        json!({"code": 7, "url": "u"}),
        "",
        "u",
        bad("code is not a text"),
    );
    check_flaw(
        json!({"code": "x", "url": ["u"]}),
        "x",
        "",
        bad("url is not a text"),
    );
    check_flaw(json!([]), "", "", bad("the line is not a JSON object"));
    let broken = Record::from_json(7, b"{\"code\"");
    let Err(Flaw::Bad(reason)) = broken.terms else {
        panic!("{broken:?}");
    };
    assert!(reason.starts_with("the line is not JSON: "), "{reason}");
}

#[test]
fn several_destinations_are_read_in_each_form() {
    let check = |value: Value, expected: Result<&str, &str>| {
        let shown = value.to_string();
        let link = json!({"code": "a", "fullUrl": "https://a.example/", "destinations": value});
        let found = record(link)
            .terms
            .map(|terms| list_text(&terms.destinations, " "));
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{shown}"),
            (Err(Flaw::Bad(found)), Err(expected)) => {
                assert!(found.contains(expected), "{shown}: {found}");
            }
            (found, _) => panic!("{shown}: {found:?}"),
        }
    };
    let both = "https://a.example/ 5 6 https://b.example/ 20 1";
    check(Value::Null, Ok(""));
    check(json!(""), Ok(""));
    check(
        json!([{"url": "https://a.example/", "priority": 5, "weight": 6},
            {"url": "https://b.example/", "priority": 20, "weight": 1}]),
        Ok(both),
    );
    check(
        json!("https://a.example/ 5 6\nhttps://b.example/ 20"),
        Ok(both),
    );
    let item = r#"{"priority":5,"weight":6,"others":[{"url":"https://b.example/","priority":20,"weight":1}]}"#;
    check(json!(item), Ok(both));
    check(json!({"S": item}), Ok(both));
    check(json!(7), Err("destinations: "));
    check(json!("{}"), Err("priority"));
    check(json!("7"), Err("follows no URL"));
}
