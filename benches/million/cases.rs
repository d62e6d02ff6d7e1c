//! What is asked for.

use super::population::{CAMPAIGN, Population, RARE_CREATOR, SMALL_ZONE, WORDS, ZONE};
use super::site::Client;

/// How far a deep page is from the beginning of the list, in pages.
const DEEP: usize = 400;

/// Where lists come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    List,
    Page,
    Audit,
    AuditPage,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::List => "lists",
            Self::Page => "page",
            Self::Audit | Self::AuditPage => "audit",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::List => "GET /v1/links",
            Self::Page => "The list of links on the web page",
            Self::Audit | Self::AuditPage => "The audit log",
        }
    }

    pub fn path(self) -> &'static str {
        match self {
            Self::List => "/v1/links",
            Self::Page => "/links",
            Self::Audit => "/v1/audit",
            Self::AuditPage => "/audit",
        }
    }

    pub fn is_json(self) -> bool {
        matches!(self, Self::List | Self::Audit)
    }

    /// The member of a JSON response that has the items, or what each item begins with on a web page.
    pub fn items(self) -> &'static str {
        match self {
            Self::List => "links",
            Self::Audit => "entries",
            Self::Page => "<li class=\"entry\"",
            Self::AuditPage => "<li class=\"stack",
        }
    }
}

/// The parameters of a list.
pub type List = Vec<(&'static str, String)>;

/// Lists that are alike.
pub struct Case {
    pub name: String,
    pub kind: Kind,
    pub lists: Vec<List>,
    is_deep: bool,
}

impl Case {
    /// The cursor where the requests of a list begin; none for its first page.
    pub fn start(&self, client: &mut Client, list: &List) -> Option<String> {
        let mut cursor = None;
        for _ in 0..if self.is_deep { DEEP } else { 0 } {
            cursor = client.page(self.kind, list, cursor.as_deref()).next;
        }
        cursor
    }
}

/// The cases of a part of the measurement.
pub fn all(kind: Kind, population: &Population) -> Vec<Case> {
    match kind {
        Kind::List => lists(population),
        Kind::Page => page(population),
        Kind::Audit | Kind::AuditPage => audit(population),
    }
}

fn case(kind: Kind, name: impl Into<String>, lists: impl IntoIterator<Item = List>) -> Case {
    Case {
        name: name.into(),
        kind,
        lists: lists.into_iter().collect(),
        is_deep: false,
    }
}

fn deep(kind: Kind, name: &str, list: List) -> Case {
    Case {
        is_deep: true,
        ..case(kind, name, [list])
    }
}

fn with(list: &List, name: &'static str, value: impl Into<String>) -> List {
    let mut list = list.clone();
    list.push((name, value.into()));
    list
}

/// The numbers of some links.
fn some(population: &Population) -> impl Iterator<Item = u64> + Clone + use<> {
    let links = population.links;
    (1..=40).map(move |n| n * 7_919 % links + 10)
}

/// Texts to search for, by what makes them different.
fn texts(population: &Population) -> Vec<(&'static str, Vec<String>)> {
    let words = |ranks: &[usize]| {
        ranks
            .iter()
            .map(|r| population.word(*r).to_owned())
            .collect()
    };
    let urls = some(population).map(|number| population.url(number));
    // The number of another link: each part of the text is frequent, but no link has it.
    let wrong = urls.clone().zip(some(population));
    let wrong = wrong.map(|(url, n)| url.replace(&format!("{n:07}"), &format!("{:07}", n + 1)));
    let pairs = |from: usize| {
        let pairs = (0..20).map(move |n| (from + n, from * 2 + n * 3));
        pairs
            .map(|(a, b)| format!("{} {}", population.word(a), population.word(b)))
            .collect()
    };
    let glued = (3..23).map(|n| format!("{}{}", population.word(n), population.word(n * 2)));
    let ids = some(population).map(|number| format!("id={number:07}"));
    let codes = some(population).map(Population::code);
    vec![
        ("frequent word", words(&[1, 2, 3, 5, 8])),
        ("word of each thousandth", words(&[400, 500, 600, 700])),
        ("rare word", words(&[WORDS - 3, WORDS - 40, WORDS - 99])),
        ("two frequent words", pairs(2)),
        ("two rare words", pairs(300)),
        ("frequent words joined, nowhere", glued.collect()),
        ("whole URL", urls.collect()),
        ("whole URL, nowhere", wrong.collect()),
        ("number", ids.collect()),
        ("code", codes.collect()),
        (
            "host",
            (1..20).map(|rank| population.host(rank * rank)).collect(),
        ),
        (
            "in all links",
            vec!["https://".into(), "?id=".into(), "www".into()],
        ),
        (
            "strange letters, nowhere",
            vec!["qqxqzz".into(), "zzqxj".into()],
        ),
        (
            "with umlaut",
            vec!["ör".into(), "ünÄn".into(), "ÄNör".into(), "törün".into()],
        ),
        (
            "Japanese, three characters",
            vec!["東京都".into(), "大阪市".into(), "祭東大".into()],
        ),
        (
            "Japanese, two characters",
            vec!["京都".into(), "都大".into(), "火水".into(), "祭日".into()],
        ),
        ("two letters, frequent", vec!["an".into(), "te".into()]),
        (
            "two letters, rare",
            vec!["qq".into(), "zq".into(), "jx".into()],
        ),
        ("one letter", vec!["a".into(), "祭".into(), "ß".into()]),
    ]
}

fn lists(population: &Population) -> Vec<Case> {
    let zone = vec![("zone", ZONE.to_owned())];
    let mut cases = Vec::new();
    let hosts = |ranks: &[usize]| ranks.iter().map(|rank| population.host(*rank)).collect();
    let tags = |ranks: &[usize]| ranks.iter().map(|rank| population.tag(*rank)).collect();
    let creators = |ranks: &[usize]| ranks.iter().map(|r| Population::creator(*r)).collect();
    let filters: Vec<(&str, &'static str, Vec<String>)> = vec![
        ("host of many", "host", hosts(&[1])),
        ("host of some", "host", hosts(&[8, 15, 40])),
        ("host of few", "host", hosts(&[3_000, 19_000])),
        ("host of none", "host", vec!["nowhere.example".into()]),
        (
            "tag of many",
            "tag",
            vec![CAMPAIGN.into(), population.tag(1)],
        ),
        ("tag of some", "tag", tags(&[5, 20, 50])),
        ("tag of few", "tag", tags(&[1_900])),
        ("tag of none", "tag", vec!["nothing".into()]),
        ("creator of many", "created_by", creators(&[1, 2])),
        ("creator of some", "created_by", creators(&[150, 190])),
        ("creator of few", "created_by", vec![RARE_CREATOR.into()]),
        ("creator of none", "created_by", vec!["nobody".into()]),
        ("ended", "state", vec!["ended".into()]),
    ];
    for sort in ["code", "newest", "oldest"] {
        let zone = with(&zone, "sort", sort);
        cases.push(case(Kind::List, format!("all, {sort}"), [zone.clone()]));
        if sort != "oldest" {
            cases.push(deep(
                Kind::List,
                &format!("all, {sort}, page {DEEP}"),
                zone.clone(),
            ));
        }
        for (name, key, values) in &filters {
            let lists = values.iter().map(|value| with(&zone, key, value));
            cases.push(case(Kind::List, format!("{name}, {sort}"), lists));
        }
        for (name, values) in texts(population) {
            let lists = values.iter().map(|value| with(&zone, "q", value));
            cases.push(case(Kind::List, format!("q: {name}, {sort}"), lists));
        }
        for (name, list) in together(population, &zone) {
            cases.push(case(Kind::List, format!("{name}, {sort}"), [list]));
        }
    }
    let small = vec![("zone", SMALL_ZONE.to_owned()), ("sort", "newest".into())];
    cases.push(case(Kind::List, "small zone, all", [small.clone()]));
    let word = with(&small, "q", population.word(1));
    cases.push(case(Kind::List, "small zone, q: frequent word", [word]));
    cases.push(case(
        Kind::List,
        "small zone, q: two letters",
        [with(&small, "q", "te")],
    ));
    let tag = with(&small, "tag", CAMPAIGN);
    cases.push(case(Kind::List, "small zone, tag", [tag]));
    cases
}

/// Several filters at once.
fn together(population: &Population, zone: &List) -> Vec<(&'static str, List)> {
    let host = |rank| with(zone, "host", population.host(rank));
    let (many, some) = (host(1), host(10));
    let word = population.word(1);
    let by_admin = with(&many, "created_by", "admin");
    vec![
        ("host of many and creator of many", by_admin.clone()),
        (
            "host of many and tag of many, never together",
            with(&many, "tag", CAMPAIGN),
        ),
        ("host of some and tag of many", with(&some, "tag", CAMPAIGN)),
        ("host of many, ended", with(&many, "state", "ended")),
        (
            "host of many and creator of few",
            with(&many, "created_by", RARE_CREATOR),
        ),
        ("host of many, q: frequent word", with(&many, "q", word)),
        (
            "host of many, q: rare word",
            with(&many, "q", population.word(WORDS - 40)),
        ),
        (
            "host and creator of many, q: frequent word",
            with(&by_admin, "q", word),
        ),
        (
            "host and creator of many, q: two letters",
            with(&by_admin, "q", "zz"),
        ),
        (
            "tag of many, q: whole URL",
            with(&with(zone, "tag", CAMPAIGN), "q", population.url(77)),
        ),
        (
            "ended, q: frequent word",
            with(&with(zone, "state", "ended"), "q", word),
        ),
        (
            "ended, tag of many",
            with(&with(zone, "state", "ended"), "tag", CAMPAIGN),
        ),
    ]
}

fn page(population: &Population) -> Vec<Case> {
    let zone = vec![("zone", ZONE.to_owned())];
    let mut cases = vec![
        case(Kind::Page, "all", [zone.clone()]),
        case(Kind::Page, "all, by code", [with(&zone, "sort", "code")]),
        case(
            Kind::Page,
            "host of many",
            [with(&zone, "host", population.host(1))],
        ),
        case(
            Kind::Page,
            "host of some",
            [with(&zone, "host", population.host(10))],
        ),
        case(Kind::Page, "tag of many", [with(&zone, "tag", CAMPAIGN)]),
        case(Kind::Page, "ended", [with(&zone, "state", "ended")]),
    ];
    for (name, values) in texts(population) {
        let lists = values.iter().map(|value| with(&zone, "q", value));
        cases.push(case(Kind::Page, format!("q: {name}"), lists));
    }
    for (name, list) in together(population, &zone) {
        cases.push(case(Kind::Page, name, [list]));
    }
    cases
}

fn audit(population: &Population) -> Vec<Case> {
    let all = Vec::new();
    let one = |name, value: &str| with(&all, name, value);
    let codes = || some(population).map(Population::code);
    let list = |name: &str, list: List| case(Kind::Audit, name, [list]);
    vec![
        list("all", all.clone()),
        deep(Kind::Audit, "all, page 400", all.clone()),
        list("by the actor of many", one("actor", "admin")),
        list("by the actor of few", one("actor", RARE_CREATOR)),
        list("by nobody", one("actor", "nobody")),
        case(
            Kind::Audit,
            "of a code",
            codes().map(|code| one("code", &code)),
        ),
        list("links made", one("action", "link.created")),
        list("links changed", one("action", "link.changed")),
        list("links deleted", one("action", "link.deleted")),
        list("tokens made", one("action", "token.added")),
        list("tokens revoked, none", one("action", "token.revoked")),
        list("the small zone", one("zone", SMALL_ZONE)),
        list("no zone of these", one("zone", "u.example.com")),
        list(
            "links changed, by another",
            with(&one("action", "link.changed"), "actor", "admin"),
        ),
        list(
            "links deleted, small zone",
            with(&one("action", "link.deleted"), "zone", SMALL_ZONE),
        ),
        list("until a year ago", one("until", "2025-12-31T00:00:00Z")),
        case(Kind::AuditPage, "web page: all", [all.clone()]),
        case(
            Kind::AuditPage,
            "web page: links changed",
            [one("action", "link.changed")],
        ),
        case(
            Kind::AuditPage,
            "web page: tokens revoked, none",
            [one("action", "token.revoked")],
        ),
    ]
}
