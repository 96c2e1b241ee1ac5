//! Cursors: where the next page begins, sealed so that they cannot be made up or moved elsewhere.
//!
//! A cursor is `base64url(tag ‖ position)`. The tag is over the route, the filters and the subject
//! too: one that was given to another, or for another list, is forged.

use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;

use super::problem::{Kind, Problem};

const TAG_BYTES: usize = 32;
/// Longest cursor that is looked at.
const MAX_BYTES: usize = 1024;

/// What a cursor is bound to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    /// The list.
    pub(super) route: &'static str,
    /// Its filters, in a fixed order.
    pub(super) filters: &'a [&'a str],
    /// Who reads it.
    pub(super) subject: &'a str,
}

/// Makes a cursor of a position.
pub(super) fn seal(key: &hmac::Key, scope: &Scope<'_>, position: &str) -> String {
    let tag = hmac::sign(key, &message(scope, position.as_bytes()));
    BASE64URL_NOPAD.encode(&[tag.as_ref(), position.as_bytes()].concat())
}

/// The position in a cursor.
pub(super) fn open(key: &hmac::Key, scope: &Scope<'_>, cursor: &str) -> Result<String, Problem> {
    let forged = || Problem::new(Kind::InvalidCursor, "this cursor was not given to you for this list");
    if cursor.len() > MAX_BYTES {
        return Err(forged());
    }
    let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).map_err(|_| forged())?;
    let (tag, position) = bytes.split_at_checked(TAG_BYTES).ok_or_else(forged)?;
    hmac::verify(key, &message(scope, position), tag).map_err(|_| forged())?;
    String::from_utf8(position.to_vec()).map_err(|_| forged())
}

/// Every part with its length before it: no two scopes read the same.
fn message(scope: &Scope<'_>, position: &[u8]) -> Vec<u8> {
    let mut message = b"cratekube/cursor/v1".to_vec();
    let parts = [scope.route, scope.subject].into_iter().chain(scope.filters.iter().copied()).map(str::as_bytes);
    for part in parts.chain([position]) {
        message.extend((part.len() as u64).to_be_bytes());
        message.extend(part);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[7; 32])
    }

    const MINE: Scope<'_> = Scope { route: "/a", filters: &["prod", ""], subject: "ann" };

    #[test]
    fn hostile_row_12_a_cursor_is_good_for_one_list_and_one_subject() {
        let cursor = seal(&key(), &MINE, "pos");
        assert_eq!(open(&key(), &MINE, &cursor), Ok("pos".into()));
        let others = [
            Scope { route: "/b", ..MINE },
            Scope { subject: "eve", ..MINE },
            Scope { filters: &["", "prod"], ..MINE },
            Scope { filters: &["prod"], ..MINE },
        ];
        for other in others {
            assert_eq!(open(&key(), &other, &cursor).unwrap_err().kind(), Kind::InvalidCursor, "{other:?}");
        }
        assert!(open(&hmac::Key::new(hmac::HMAC_SHA256, &[8; 32]), &MINE, &cursor).is_err());
    }

    proptest! {
        #[test]
        fn hostile_row_12_nothing_made_up_opens(text in "\\PC{0,100}") {
            prop_assert!(open(&key(), &MINE, &text).is_err());
        }

        #[test]
        fn hostile_row_12_no_change_of_a_cursor_opens(at in 0usize..30, with in any::<u8>()) {
            let mut bytes = BASE64URL_NOPAD.decode(seal(&key(), &MINE, "position").as_bytes()).unwrap();
            prop_assume!(bytes[at] != with);
            bytes[at] = with;
            prop_assert!(open(&key(), &MINE, &BASE64URL_NOPAD.encode(&bytes)).is_err());
        }
    }
}
