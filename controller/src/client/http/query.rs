//! Paths with queries.

use std::fmt::Write as _;

/// A path with those parameters that have a value.
pub(in crate::client) fn with_query(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut text = path.to_owned();
    let given = parameters.iter().filter_map(|(key, value)| Some((key, (*value)?)));
    for (i, (key, value)) in given.enumerate() {
        text.push(if i == 0 { '?' } else { '&' });
        text.push_str(key);
        text.push('=');
        encode(value, &mut text);
    }
    text
}

/// Everything but the unreserved characters of RFC 3986 as `%XX`.
fn encode(value: &str, into: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            into.push(char::from(byte));
        } else {
            let _always_fits = write!(into, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_become_parameters_of_their_own() {
        let path = with_query("/p", &[("a", Some("x&b=1 ü/?#")), ("none", None), ("c", Some(""))]);
        assert_eq!(path, "/p?a=x%26b%3D1%20%C3%BC%2F%3F%23&c=");
        assert_eq!(with_query("/p", &[("none", None)]), "/p");
    }
}
