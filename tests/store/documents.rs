//! The part of the battery that is about documents.

use tinyns::store::document::{MAX_CONTENT_LEN, MAX_KEY_LEN};
use tinyns::store::{Document, DocumentPut, Segment, StoreError};

use super::{Backend, NOW, at_once, list_all, make, new, scan_all};

const KEY: &str = "acme:certificate:s.example.com";

fn document(revision: u64, content: &[u8]) -> Document {
    let content = content.to_vec();
    Document { revision, content }
}

pub(super) async fn documents_are_put_by_revision(backend: &dyn Backend) {
    let store = backend.open().await;
    assert_eq!(store.document(KEY).await.unwrap(), None);
    let put = |expected, content: &[u8]| store.put_document(KEY, expected, content.to_vec());

    let none_yet = put(Some(1), b"x").await.unwrap();
    assert_eq!(none_yet, DocumentPut::Conflict(None));
    assert_eq!(put(None, b"one").await.unwrap(), DocumentPut::Written(1));
    let first = document(1, b"one");
    assert_eq!(store.document(KEY).await.unwrap(), Some(first.clone()));
    for expected in [None, Some(0), Some(2), Some(u64::MAX >> 1)] {
        let refused = put(expected, b"x").await.unwrap();
        let conflict = DocumentPut::Conflict(Some(first.clone()));
        assert_eq!(refused, conflict, "{expected:?}");
    }
    // Every byte comes back, and none of them is a valid content as well.
    let bytes: Vec<u8> = (0..=u8::MAX).collect();
    assert_eq!(put(Some(1), &bytes).await.unwrap(), DocumentPut::Written(2));
    let second = Some(document(2, &bytes));
    assert_eq!(store.document(KEY).await.unwrap(), second);
    assert_eq!(put(Some(2), b"").await.unwrap(), DocumentPut::Written(3));
    let third = Some(document(3, b""));
    assert_eq!(store.document(KEY).await.unwrap(), third);
    assert_eq!(store.document("acme:certificate:").await.unwrap(), None);
}

pub(super) async fn of_concurrent_puts_of_a_document_one_wins(backend: &dyn Backend) {
    let store = backend.open().await;
    for expected in [None, Some(1)] {
        let puts = at_once(&store, |store, i| async move {
            let content = i.to_string().into_bytes();
            Ok((i, store.put_document(KEY, expected, content).await?))
        })
        .await;
        let winners: Vec<usize> = puts
            .iter()
            .filter(|(_, put)| matches!(put, DocumentPut::Written(_)))
            .map(|(i, _)| *i)
            .collect();
        let [winner] = winners[..] else {
            panic!("{puts:?}");
        };
        let there = document(expected.unwrap_or(0) + 1, winner.to_string().as_bytes());
        assert_eq!(store.document(KEY).await.unwrap(), Some(there.clone()));
        for (i, put) in puts {
            if i != winner {
                assert_eq!(put, DocumentPut::Conflict(Some(there.clone())));
            }
        }
    }
}

pub(super) async fn documents_are_no_links_and_outlive_the_store(backend: &dyn Backend) {
    let store = backend.open().await;
    let link = make(&*store, new("a", "1"), NOW).await;
    store
        .put_document("a.s.example.com", None, b"1".to_vec())
        .await
        .unwrap();
    store.put_document(KEY, None, b"2".to_vec()).await.unwrap();
    let zone = super::ZONE;
    let listed = list_all(&*store, zone, 10).await;
    assert_eq!(listed, std::slice::from_ref(&link));
    let whole = Segment { index: 0, total: 1 };
    assert_eq!(scan_all(&*store, whole, 10).await, [link]);
    store.close().await;

    let store = backend.open().await;
    let kept = Some(document(1, b"2"));
    assert_eq!(store.document(KEY).await.unwrap(), kept);
}

pub(super) async fn a_document_has_a_largest_size(backend: &dyn Backend) {
    let store = backend.open().await;
    let longest = "k".repeat(MAX_KEY_LEN);
    let largest = vec![0xff; MAX_CONTENT_LEN];
    let put = store.put_document(&longest, None, largest.clone()).await;
    assert_eq!(put.unwrap(), DocumentPut::Written(1));
    let kept = store.document(&longest).await.unwrap();
    assert_eq!(kept, Some(document(1, &largest)));

    let too_large = vec![0; MAX_CONTENT_LEN + 1];
    let too_long = "k".repeat(MAX_KEY_LEN + 1);
    for (key, content) in [
        (KEY, too_large),
        (&too_long, vec![]),
        ("", vec![]),
        ("a b", vec![]),
    ] {
        let refused = store.put_document(key, None, content).await.unwrap_err();
        assert!(matches!(refused, StoreError::Refused(_)), "{refused}");
    }
    assert_eq!(store.document(KEY).await.unwrap(), None);
}
