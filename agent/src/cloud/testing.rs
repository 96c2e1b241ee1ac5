//! Values for the tests of this room.

use cratekube_common::domain::removal::{CloudKind, CloudObject};

/// An object without tags.
pub(crate) fn object(kind: CloudKind, id: &str) -> CloudObject {
    CloudObject {
        kind,
        id: id.to_owned(),
        region: "eu-central-1".to_owned(),
        name: None,
        tags: std::collections::BTreeMap::new(),
        created_at: None,
        attached_to: Vec::new(),
        size_gib: None,
        flavour: None,
        state: None,
        goes_with_instance: false,
    }
}

/// An object with tags.
pub(crate) fn tagged(kind: CloudKind, id: &str, tags: &[(&str, &str)]) -> CloudObject {
    let tags = tags.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
    CloudObject { tags, ..object(kind, id) }
}
