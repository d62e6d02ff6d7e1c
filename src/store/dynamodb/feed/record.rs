//! Records of a stream: which name has changed, and to which version.
//!
//! A write by tinyns gives a name a higher version than it had. A record whose version has not grown, or that shows no
//! versions, is a change by another program; its entry has no version. To see both versions, the stream must have the view
//! type `NEW_AND_OLD_IMAGES`. With another one, entries have no versions, and each change of a server is repaired in Redis
//! once more.

use std::collections::HashMap;

use aws_sdk_dynamodbstreams::types::{AttributeValue, OperationType, Record, StreamViewType};

use crate::link::{LinkName, Version};
use crate::store::dynamodb::item::{KEY, OWN, VERSION};
use crate::store::feed::Entry;

/// The entry of a record; none if its key is no link's name.
pub(super) fn entry(record: &Record) -> Option<Entry> {
    let change = record.dynamodb.as_ref()?;
    let key = change.keys.as_ref()?.get(KEY)?.as_s().ok()?;
    if key.starts_with(OWN) {
        return None;
    }
    let name = LinkName::parse(key)
        .ok()
        .filter(|name| name.as_str() == key)?;
    let shows_both = change.stream_view_type == Some(StreamViewType::NewAndOldImages);
    let is_removed = record.event_name == Some(OperationType::Remove);
    let version = |image: &Option<HashMap<String, AttributeValue>>| {
        let number = image.as_ref()?.get(VERSION)?.as_n().ok()?;
        number.parse::<u64>().ok()
    };
    let before = version(&change.old_image).unwrap_or(0);
    let now = version(&change.new_image).filter(|_| shows_both && !is_removed);
    Some(Entry {
        name,
        version: now.filter(|now| *now > before).map(Version),
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodbstreams::types::StreamRecord;

    use super::*;

    fn image(version: Option<&str>) -> HashMap<String, AttributeValue> {
        let mut image = HashMap::from([(KEY.into(), AttributeValue::S("a.s.example.com".into()))]);
        if let Some(version) = version {
            image.insert(VERSION.into(), AttributeValue::N(version.into()));
        }
        image
    }

    #[test]
    fn only_a_version_that_has_grown_is_one_of_a_server() {
        let check = |view: StreamViewType,
                     old: Option<Option<&str>>,
                     new: Option<Option<&str>>,
                     expected| {
            let change = StreamRecord::builder()
                .set_keys(Some(image(None)))
                .set_old_image(old.map(image))
                .set_new_image(new.map(image))
                .stream_view_type(view)
                .build();
            let event = match (old, new) {
                (_, None) => OperationType::Remove,
                (None, _) => OperationType::Insert,
                _ => OperationType::Modify,
            };
            let record = Record::builder().event_name(event).dynamodb(change).build();
            let entry = entry(&record).unwrap();
            assert_eq!(entry.name.as_str(), "a.s.example.com");
            assert_eq!(entry.version, expected, "{record:?}");
        };
        let both = || StreamViewType::NewAndOldImages;
        check(both(), None, Some(Some("7")), Some(Version(7)));
        check(both(), Some(Some("6")), Some(Some("7")), Some(Version(7)));
        check(both(), Some(None), Some(Some("7")), Some(Version(7)));
        check(both(), Some(Some("7")), Some(Some("7")), None);
        check(both(), Some(Some("7")), Some(None), None);
        check(both(), Some(Some("7")), None, None);
        check(both(), None, Some(Some("x")), None);
        check(
            StreamViewType::NewImage,
            Some(Some("6")),
            Some(Some("7")),
            None,
        );
        check(StreamViewType::KeysOnly, None, Some(Some("7")), None);
    }

    #[test]
    fn items_that_are_no_links_are_no_entries() {
        for key in [
            "tinyns:identity",
            "no name",
            "A.s.example.com",
            "a.s.example.com.",
        ] {
            let keys = HashMap::from([(KEY.into(), AttributeValue::S(key.into()))]);
            let change = StreamRecord::builder().set_keys(Some(keys)).build();
            let record = Record::builder().dynamodb(change).build();
            assert_eq!(entry(&record), None, "{key}");
        }
        assert_eq!(entry(&Record::builder().build()), None);
    }
}
