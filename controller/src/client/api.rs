//! The API with a credential: requests that are sent again where that is harmless, with a token that
//! is renewed by itself.

use std::time::Duration;

use bytes::Bytes;
use cratekube_common::domain::id::SessionId;
use cratekube_common::domain::secret::Secret;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::clock::Clock;
use cratekube_common::runtime::mint::Mint;
use http::{HeaderName, Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::address::Address;
use super::console::Console;
use super::credential::Credential;
use super::fault::Fault;
use super::http::dial::{Dial, DialFault};
use super::http::exchange::{Ask, Miss, Opened, exchange};
use super::http::patience::{Patience, may_repeat};
use super::http::query::with_query;

/// Header under which a repeated request finds the first one's operation.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Items of a page: the most that the API gives.
const PAGE: usize = 200;

/// Keeps a renewed credential for the next command.
pub(super) type Keep = Box<dyn Fn(&Credential) -> Result<(), Fault> + Send + Sync>;

/// What an [`Api`] is made of.
pub(super) struct Parts {
    /// Opens connections.
    pub(super) dial: Box<dyn Dial>,
    /// Where to.
    pub(super) address: Address,
    /// With what.
    pub(super) credential: Credential,
    /// Where a renewed credential is kept.
    pub(super) keep: Option<Keep>,
    /// How long to go on trying.
    pub(super) patience: Duration,
    /// For the end of tokens.
    pub(super) clock: Clock,
    /// For keys and delays.
    pub(super) mint: Mint,
    /// For notes.
    pub(super) console: Console,
}

/// A controller's API, as its caller may use it.
pub(super) struct Api {
    parts: Parts,
    credential: Mutex<Credential>,
}

impl Api {
    pub(super) fn new(mut parts: Parts) -> Self {
        let credential = std::mem::take(&mut parts.credential);
        Self { parts, credential: Mutex::new(credential) }
    }

    /// The same, keeping renewed credentials there.
    #[cfg(test)]
    pub(super) fn keeping(mut self, keep: Keep) -> Self {
        self.parts.keep = Some(keep);
        self
    }

    /// Where it is.
    pub(super) fn address(&self) -> &Address {
        &self.parts.address
    }

    /// The credential as it is now.
    pub(super) async fn credential(&self) -> Credential {
        self.credential.lock().await.clone()
    }

    /// Patience for something that is tried again outside of a single request.
    pub(super) fn patience(&self) -> Patience {
        Patience::lasting(self.parts.patience, &self.parts.mint)
    }

    /// A request that the API will know again, so that it may be sent twice.
    pub(super) fn keyed(&self, method: Method, path: &str, body: Option<Value>) -> Ask {
        let key = self.parts.mint.id::<SessionId>().to_string();
        Ask::change(method, path, body).header(IDEMPOTENCY_KEY, &key).harmless()
    }

    /// Reads a document.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Fault> {
        self.send(&Ask::get(path)).await
    }

    /// Sends a request and reads the document of its answer; null when it has none.
    pub(super) async fn send(&self, ask: &Ask) -> Result<Value, Fault> {
        let body = self.persist(ask, async |opened: Opened| opened.whole().await).await?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| Fault::Odd(error.to_string()))
    }

    /// Sends a request and reads the text of its answer.
    pub(super) async fn text(&self, ask: &Ask) -> Result<String, Fault> {
        let body = self.persist(ask, async |opened: Opened| opened.whole().await).await?;
        String::from_utf8(body.to_vec()).map_err(|error| Fault::Odd(error.to_string()))
    }

    /// Sends a request whose body is read piece by piece.
    pub(super) async fn open(&self, ask: &Ask) -> Result<Opened, Fault> {
        self.persist(ask, async |opened: Opened| Ok(opened)).await
    }

    /// Environments that the caller may see.
    pub(super) async fn environments(&self) -> Result<Vec<Value>, Fault> {
        self.unpaged("/v1/environments").await
    }

    /// Every item of a list that has no pages.
    pub(super) async fn unpaged(&self, path: &str) -> Result<Vec<Value>, Fault> {
        let mut answer = self.get(path).await?;
        match answer["items"].take() {
            Value::Array(items) => Ok(items),
            _ => Err(Fault::Odd(format!("{path} is not a list"))),
        }
    }

    /// Every item of a list, or the first `most`.
    pub(super) async fn list(
        &self,
        path: &str,
        filters: &[(&str, Option<&str>)],
        most: Option<usize>,
    ) -> Result<Vec<Value>, Fault> {
        let (mut items, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let wanted = most.map_or(PAGE, |most| most - items.len()).min(PAGE).to_string();
            let mut parameters = filters.to_vec();
            parameters.extend([("limit", Some(wanted.as_str())), ("cursor", cursor.as_deref())]);
            let mut page = self.get(&with_query(path, &parameters)).await?;
            let Value::Array(found) = page["items"].take() else {
                return Err(Fault::Odd(format!("{path} is not a list")));
            };
            items.extend(found);
            cursor = page["next"].as_str().map(ToOwned::to_owned);
            if cursor.is_none() || most.is_some_and(|most| items.len() >= most) {
                items.truncate(most.unwrap_or(usize::MAX));
                return Ok(items);
            }
        }
    }

    /// Sends a request until it is answered, refused for good, or patience is over.
    async fn persist<T>(&self, ask: &Ask, read: impl AsyncFn(Opened) -> Result<T, Miss>) -> Result<T, Fault> {
        let (mut patience, mut renewed, mut told) = (self.patience(), false, false);
        loop {
            let token = self.token().await?;
            let miss = match self.once(ask, token.as_ref()).await {
                Ok(opened) => match read(opened).await {
                    Ok(done) => return Ok(done),
                    Err(miss) => miss,
                },
                Err(miss) => miss,
            };
            if is_unauthorized(&miss) && !renewed && self.credential.lock().await.api_key.is_some() {
                self.credential.lock().await.token = None;
                renewed = true;
                continue;
            }
            let Some(delay) = may_repeat(ask.repeat, &miss).then(|| patience.next(after(&miss))).flatten() else {
                return Err(self.fault(miss));
            };
            if !std::mem::replace(&mut told, true) {
                self.parts.console.note(&format!("{}; trying again", reason(&miss)));
            }
            tokio::time::sleep(delay).await;
        }
    }

    async fn once(&self, ask: &Ask, token: Option<&Secret>) -> Result<Opened, Miss> {
        let host = self.parts.address.authority();
        exchange(&*self.parts.dial, &host, ask, token.map(Secret::expose)).await
    }

    /// The token to send: the one that is there, or a new one.
    async fn token(&self) -> Result<Option<Secret>, Fault> {
        let mut credential = self.credential.lock().await;
        let now = self.parts.clock.now();
        if let Some(token) = credential.token_at(now) {
            return Ok(Some(token.clone()));
        }
        let Some(key) = credential.api_key.clone() else { return Ok(None) };
        let (token, expires_at) = self.exchange_key(&key).await?;
        *credential = Credential { api_key: Some(key), token: Some(token.clone()), expires_at };
        if let Some(keep) = &self.parts.keep
            && let Err(fault) = keep(&credential)
        {
            // It is good for this command all the same.
            self.parts.console.note(&format!("the renewed token is not kept: {fault}"));
        }
        Ok(Some(token))
    }

    async fn exchange_key(&self, key: &Secret) -> Result<(Secret, Option<Timestamp>), Fault> {
        let ask = Ask::change(Method::POST, "/v1/auth/token", Some(json!({"api_key": key.expose()}))).harmless();
        let mut patience = self.patience();
        let body: Bytes = loop {
            let answer = match self.once(&ask, None).await {
                Ok(opened) => opened.whole().await,
                Err(miss) => Err(miss),
            };
            let miss = match answer {
                Ok(body) => break body,
                Err(miss) => miss,
            };
            let delay = may_repeat(ask.repeat, &miss).then(|| patience.next(after(&miss))).flatten();
            tokio::time::sleep(delay.ok_or_else(|| self.fault(miss))?).await;
        };
        let made: Value = serde_json::from_slice(&body).map_err(|error| Fault::Odd(error.to_string()))?;
        let token = made["token"].as_str().ok_or_else(|| Fault::Odd("a token was made and is not there".into()))?;
        Ok((Secret::new(token), made["expires_at"].as_str().and_then(|text| text.parse().ok())))
    }

    /// What a miss means to a person.
    pub(super) fn fault(&self, miss: Miss) -> Fault {
        let address = self.parts.address.to_string();
        match miss {
            Miss::Unsent(DialFault::Unreachable(reason)) => Fault::Unreachable { address, reason },
            Miss::Unsent(DialFault::Untrusted(reason)) => Fault::Untrusted { address, reason },
            Miss::Lost(reason) => Fault::Unanswered { address, reason },
            Miss::Refused { mut problem, .. } => {
                if problem.status == StatusCode::UNAUTHORIZED {
                    // The API speaks to programs here; a person logs in.
                    "Log in again: `cratekube login`.".clone_into(&mut problem.remedy);
                }
                Fault::Refused(problem)
            }
        }
    }
}

fn is_unauthorized(miss: &Miss) -> bool {
    matches!(miss, Miss::Refused { problem, .. } if problem.status == StatusCode::UNAUTHORIZED)
}

/// When the controller says that it can be tried again.
fn after(miss: &Miss) -> Option<Duration> {
    match miss {
        Miss::Refused { after, .. } => *after,
        Miss::Unsent(_) | Miss::Lost(_) => None,
    }
}

fn reason(miss: &Miss) -> String {
    match miss {
        Miss::Unsent(DialFault::Unreachable(reason) | DialFault::Untrusted(reason)) => {
            format!("the controller cannot be reached ({reason})")
        }
        Miss::Lost(reason) => format!("the controller did not answer ({reason})"),
        Miss::Refused { problem, .. } => format!("the controller cannot do it now ({})", problem.title),
    }
}
