//! Names of environments and clusters: RFC 1123 labels, checked before they become paths.

/// Longest label, as in RFC 1123.
pub const MAX_LABEL: usize = 63;

/// Checks `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`.
///
/// # Errors
/// A sentence that names the fault and the rule.
pub fn check_label(text: &str) -> Result<(), String> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let ok = !text.is_empty()
        && text.len() <= MAX_LABEL
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if ok {
        return Ok(());
    }
    let shown: String = text.chars().take(80).collect();
    Err(format!(
        "{shown:?} is not a valid name: use 1 to {MAX_LABEL} characters of a-z, 0-9 and '-', beginning and ending with a letter or digit"
    ))
}

/// Makes types of names that are labels.
macro_rules! label {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                $crate::domain::name::check_label(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                $crate::domain::name::check_label(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    )+};
}
pub(crate) use label;

label! {
    /// Name of a tenancy boundary.
    EnvironmentName,
    /// Name of a cluster within its environment.
    ClusterName,
    /// Name of an agent, chosen by its operator.
    AgentName,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_row_01_names_that_are_paths_or_lookalikes_are_refused() {
        let long = "a".repeat(256);
        for bad in ["../../etc", "..%2f", "a/b", "a\0b", &long, ".", "CON", "раypal", "", "-a", "a-", "a.b", "a b"] {
            assert!(bad.parse::<ClusterName>().is_err(), "{bad:?}");
            assert!(bad.parse::<EnvironmentName>().is_err(), "{bad:?}");
        }
        for good in ["a", "0", "prod", "team-a", &"a".repeat(63)] {
            assert!(good.parse::<ClusterName>().is_ok(), "{good:?}");
        }
    }

    proptest! {
        #[test]
        fn hostile_row_01_no_accepted_name_escapes_its_folder(text in "\\PC{0,80}") {
            if let Ok(name) = text.parse::<ClusterName>() {
                let path = std::path::Path::new("/v").join(name.as_str());
                prop_assert_eq!(path.components().count(), 3);
                prop_assert_eq!(path.parent(), Some(std::path::Path::new("/v")));
            }
        }
    }
}
