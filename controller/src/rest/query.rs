//! Query parameters and names in paths: each known, each at most once, all mistakes in words.

use std::collections::BTreeMap;
use std::str::FromStr;

use axum::extract::Query;
use http::Uri;

use super::cursor::{self, Scope};
use super::problem::{Kind, Problem};
use super::state::RestState;
use crate::store::PageRequest;

/// Items of a page when nothing else is asked for.
const DEFAULT_LIMIT: usize = 50;
/// Most items of a page; more is cut to this.
pub(super) const MAX_LIMIT: usize = 200;

/// The parameters of a query.
#[derive(Debug)]
pub(super) struct Params(BTreeMap<String, String>);

impl Params {
    /// Reads the query, refusing what is not known.
    pub(super) fn read(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let malformed = |_| Problem::new(Kind::InvalidParameter, "the query cannot be read");
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(malformed)?;
        let mut params = BTreeMap::new();
        for (key, value) in pairs {
            if !known.contains(&key.as_str()) {
                let key: String = key.chars().take(80).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(invalid(&key, format!("is not known here; known are: {known}")));
            }
            if params.insert(key.clone(), value).is_some() {
                return Err(invalid(&key, "is given more than once"));
            }
        }
        Ok(Self(params))
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub(super) fn parse<T: FromStr>(&self, key: &str) -> Result<Option<T>, Problem>
    where
        T::Err: std::fmt::Display,
    {
        self.text(key).map(str::parse).transpose().map_err(|fault: T::Err| invalid(key, fault.to_string()))
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, Problem> {
        self.flag_or(key, false)
    }

    /// A flag that is something else when it is not given.
    pub(super) fn flag_or(&self, key: &str, absent: bool) -> Result<bool, Problem> {
        match self.text(key) {
            None => Ok(absent),
            Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(invalid(key, "must be `true` or `false`")),
        }
    }

    /// `limit` and `cursor`.
    pub(super) fn page(&self, state: &RestState, scope: &Scope<'_>) -> Result<PageRequest, Problem> {
        let limit = match self.text("limit") {
            None => DEFAULT_LIMIT,
            Some(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
                // What does not fit a number is more than the most, too.
                text.parse().unwrap_or(MAX_LIMIT).min(MAX_LIMIT)
            }
            Some(_) => return Err(invalid("limit", format!("must be a number from 1 to {MAX_LIMIT}"))),
        };
        if limit == 0 {
            return Err(invalid("limit", format!("must be a number from 1 to {MAX_LIMIT}")));
        }
        let after = self.text("cursor").map(|text| cursor::open(&state.mac_key, scope, text)).transpose()?;
        Ok(PageRequest { after, limit })
    }
}

/// A name in the path; one that cannot be a name is a mistake, not an absence.
pub(super) fn name<T: FromStr>(parameter: &str, text: &str) -> Result<T, Problem>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|fault: T::Err| Problem::parameter(Kind::Validation, parameter, fault.to_string()))
}

pub(super) fn invalid(parameter: &str, detail: impl Into<String>) -> Problem {
    Problem::parameter(Kind::InvalidParameter, parameter, detail)
}
