//! The longest values of a link.

use super::*;

pub(super) async fn the_longest_values_come_back_as_they_were(backend: &dyn Backend) {
    let store = backend.open().await;
    let base = "https://example.net/";
    let target = format!("{base}{}", "x".repeat(TargetUrl::MAX_LEN - base.len()));
    let label = "y".repeat(63);
    let zone = [label.as_str(), &label, "z".repeat(61).as_str()].join(".");
    let tags: [String; Tags::MAX] =
        std::array::from_fn(|n| format!("{n:02}\"{}", "\u{1f517}".repeat(29)));
    let ranked = |n: usize| {
        let url = format!("{}{n}", &target[..target.len() - 1]);
        (
            TargetUrl::parse(&url).unwrap(),
            Rank {
                priority: 65_535,
                weight: 65_535,
            },
        )
    };
    let several = Destinations::of((0..Destinations::MAX).map(ranked).collect());
    let (first, destinations) = several.unwrap();
    let long = NewLink {
        name: name_in(&"c".repeat(63), &zone),
        target: first,
        destinations,
        created_by: "grüße \u{1f517} 'or 1=1; --".into(),
        expires_at: Some(UnixTime::MAX),
        ttl: Ttl::from_secs(u64::from(Ttl::MAX)),
        about: about(
            &"\u{1f517}".repeat(Title::MAX),
            &tags.each_ref().map(String::as_str),
            &"'\"\n\\\u{1f517}".repeat(Note::MAX / 5),
        ),
        withheld: withheld("legal", &"\u{1f517}".repeat(Reason::MAX), Some(&target)),
    };
    let link = make(&*store, long.clone(), NOW).await;
    assert_eq!(link.name.as_str().len(), 253);
    assert_eq!(link.target.as_str().len(), TargetUrl::MAX_LEN);
    assert_eq!(store.get(&long.name).await.unwrap(), Some(link.clone()));
    assert_eq!(
        list_all(&*store, &zone, 1).await,
        std::slice::from_ref(&link)
    );
    assert_eq!(link.created_by, long.created_by.name);
    assert_eq!(link.expires_at, long.expires_at);
    assert_eq!(link.ttl, long.ttl);
    assert_eq!(link.about, long.about);
    assert_eq!(link.withheld, long.withheld);
    assert_eq!(link.destinations, long.destinations);
}
