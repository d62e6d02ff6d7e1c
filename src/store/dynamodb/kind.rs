//! What the tables hold, and the keys and indexes that they need for that.

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, TableDescription,
};

use super::item::KEY;
use super::{audit, statistics};

/// What a table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableKind {
    Links,
    Audit,
    Statistics,
}

/// The attributes of a key, all of them strings.
type Attributes = &'static [(&'static str, KeyType)];

impl TableKind {
    fn key(self) -> Attributes {
        match self {
            Self::Links => &[(KEY, KeyType::Hash)],
            Self::Audit => &[(audit::BUCKET, KeyType::Hash), (audit::ID, KeyType::Range)],
            Self::Statistics => &[
                (statistics::ZONE, KeyType::Hash),
                (statistics::ID, KeyType::Range),
            ],
        }
    }

    /// The names of the indexes, and the sort key of each.
    fn indexes(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Links | Self::Audit => &[],
            Self::Statistics => &statistics::INDEXES,
        }
    }

    /// Adds key and indexes to the request that creates the table.
    pub(super) fn describe(
        self,
        mut request: CreateTableFluentBuilder,
    ) -> Result<CreateTableFluentBuilder, BuildError> {
        for (name, key_type) in self.key() {
            request = request
                .attribute_definitions(definition(name)?)
                .key_schema(element(name, key_type)?);
        }
        if !self.indexes().is_empty() {
            request = request.attribute_definitions(definition(statistics::RANKED)?);
        }
        for (index, sort) in self.indexes() {
            let projection = Projection::builder().projection_type(ProjectionType::KeysOnly);
            let index = GlobalSecondaryIndex::builder()
                .index_name(*index)
                .key_schema(element(statistics::RANKED, &KeyType::Hash)?)
                .key_schema(element(sort, &KeyType::Range)?)
                .projection(projection.build());
            request = request
                .attribute_definitions(definition(sort)?)
                .global_secondary_indexes(index.build()?);
        }
        Ok(request)
    }

    /// Why a table is not of this kind; none if it is.
    pub(super) fn fault(self, found: &TableDescription) -> Option<String> {
        let keys = found.key_schema().iter();
        let keys = keys.map(|key| (key.attribute_name(), key.key_type().clone()));
        let is_text = |name| attribute_type(found, name) == Some(&ScalarAttributeType::S);
        let mut wanted = self.key().iter();
        if !(keys.eq(self.key().iter().cloned()) && wanted.all(|(name, _)| is_text(name))) {
            let names: Vec<&str> = self.key().iter().map(|(name, _)| *name).collect();
            let what = match self {
                Self::Links => "links",
                Self::Audit => "an audit log",
                Self::Statistics => "statistics",
            };
            return Some(format!(
                "its key is not {}, as that of {what}",
                match names.as_slice() {
                    [partition, sort] => format!("{partition} (S, HASH) and {sort} (S, RANGE)"),
                    other => format!("{} (S, HASH)", other.join("")),
                }
            ));
        }
        let has = |index: &str| {
            let indexes = found.global_secondary_indexes().iter();
            indexes
                .filter_map(|it| it.index_name())
                .any(|it| it == index)
        };
        let missing = self.indexes().iter().find(|(index, _)| !has(index));
        missing.map(|(index, sort)| {
            format!(
                "it has no global secondary index {index:?}, with the key {} (S, HASH) and {sort} (S, RANGE)",
                statistics::RANKED
            )
        })
    }
}

/// The key of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TableKey {
    /// `miniUrl` alone, as links need it.
    Name,
    /// An attribute of this name and type as the partition key, and `miniUrl` as the sort key. Only for reading.
    Within(String, ScalarAttributeType),
}

impl TableKey {
    /// The key of a table; none if `miniUrl` is not a part of it, or no string.
    pub(super) fn of(table: &TableDescription) -> Option<Self> {
        use ScalarAttributeType as T;
        let is_text = attribute_type(table, KEY) == Some(&T::S);
        let key =
            |key: &KeySchemaElement| (key.key_type().clone(), key.attribute_name().to_owned());
        let keys: Vec<_> = table.key_schema().iter().map(key).collect();
        match keys.as_slice() {
            [(KeyType::Hash, name)] if is_text && name == KEY => Some(Self::Name),
            [(KeyType::Hash, partition), (KeyType::Range, name)] if is_text && name == KEY => {
                let kind = attribute_type(table, partition)?;
                matches!(kind, T::S | T::N).then(|| Self::Within(partition.clone(), kind.clone()))
            }
            _ => None,
        }
    }
}

/// The type of an attribute that is part of a key.
pub(super) fn attribute_type<'a>(
    table: &'a TableDescription,
    name: &str,
) -> Option<&'a ScalarAttributeType> {
    let own = |a: &&AttributeDefinition| a.attribute_name() == name;
    let found = table.attribute_definitions().iter().find(own);
    found.map(AttributeDefinition::attribute_type)
}

fn definition(name: &str) -> Result<AttributeDefinition, BuildError> {
    AttributeDefinition::builder()
        .attribute_name(name)
        .attribute_type(ScalarAttributeType::S)
        .build()
}

fn element(name: &str, key_type: &KeyType) -> Result<KeySchemaElement, BuildError> {
    KeySchemaElement::builder()
        .attribute_name(name)
        .key_type(key_type.clone())
        .build()
}
