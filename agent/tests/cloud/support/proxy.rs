//! Stands between the agent and the stand-in for AWS: records every call, makes pages of lists, and injects
//! what AWS does on bad days.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::wire::Message;

/// A call that was made.
#[derive(Debug, Clone)]
pub struct Call {
    pub action: String,
    pub params: Vec<(String, String)>,
    /// True when it was let through.
    pub passed: bool,
}

impl Call {
    /// True when it changes something.
    pub fn changes(&self) -> bool {
        !self.action.starts_with("Describe")
    }

    /// A parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What is done with a call.
pub enum Rule {
    /// Passed on and answered.
    Pass,
    /// Answered with this code, and not passed on.
    Refuse(&'static str),
    /// Passed on; before the answer goes back this is done.
    Then(Box<dyn FnOnce() + Send>),
    /// Not passed on; this is done.
    Instead(Box<dyn FnOnce() + Send>),
    /// Passed on; items of the answer that hold this text are left out.
    Hide(String),
}

/// Decides on a call by itself and by its number, from 1.
pub type Decide = Box<dyn FnMut(&Call, usize) -> Rule + Send>;

struct Shared {
    to: SocketAddr,
    calls: Mutex<Vec<Call>>,
    decide: Mutex<Decide>,
    /// Items of a page, in place of what is asked for; as asked when none.
    page: Mutex<Option<usize>>,
}

/// A proxy. Its listener ends with the test.
pub struct Proxy {
    pub at: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// A proxy before the stand-in at an address.
    pub fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let decide: Decide = Box::new(|_, _| Rule::Pass);
        let shared =
            Arc::new(Shared { to, calls: Mutex::default(), decide: Mutex::new(decide), page: Mutex::new(Some(3)) });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                std::thread::spawn(move || serve(&shared, &stream));
            }
        });
        Self { at, shared }
    }

    /// Forgets the calls, and decides like this from now on.
    pub fn rule(&self, decide: impl FnMut(&Call, usize) -> Rule + Send + 'static) {
        self.shared.calls.lock().unwrap().clear();
        *self.shared.decide.lock().unwrap() = Box::new(decide);
    }

    /// Makes pages of so many items, or as many as are asked for.
    pub fn page(&self, items: Option<usize>) {
        *self.shared.page.lock().unwrap() = items;
    }

    /// The calls since the last rule.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap().clone()
    }
}

fn serve(shared: &Shared, stream: &TcpStream) {
    // Who was killed speaks no more.
    let Ok(request) = Message::read(stream) else { return };
    let params = request.params();
    let action = params.iter().find(|(key, _)| key == "Action").map(|(_, value)| value.clone()).unwrap_or_default();
    let mut call = Call { action, params, passed: true };
    let mut calls = shared.calls.lock().unwrap();
    let rule = (shared.decide.lock().unwrap())(&call, calls.len() + 1);
    call.passed = !matches!(rule, Rule::Refuse(_) | Rule::Instead(_));
    calls.push(call.clone());
    drop(calls);
    let answer = match rule {
        Rule::Refuse(code) => refusal(code),
        Rule::Instead(act) => return act(),
        Rule::Pass => pass(shared, request, &call),
        Rule::Then(act) => {
            let _unheard = pass(shared, request, &call);
            return act();
        }
        Rule::Hide(text) => {
            let mut answer = pass(shared, request, &call);
            hide(&mut answer.body, &text);
            answer
        }
    };
    let _gone = answer.write(stream);
}

fn refusal(code: &str) -> Message {
    let body =
        format!("<Response><Errors><Error><Code>{code}</Code><Message>injected</Message></Error></Errors></Response>");
    let status = if code == "InternalError" { 500 } else { 400 };
    Message { first: format!("HTTP/1.1 {status} Injected"), headers: Vec::new(), body }
}

/// Passes a call on. Pages of load balancers are the stand-in's, of whatever size; it makes none of the rest,
/// so that they are made here.
fn pass(shared: &Shared, mut request: Message, call: &Call) -> Message {
    let page = *shared.page.lock().unwrap();
    if let (Some(page), Some(asked)) = (page, call.param("PageSize")) {
        request.body = request.body.replace(&format!("PageSize={asked}"), &format!("PageSize={page}"));
    }
    if call.param("MaxResults").is_some() {
        let kept = |pair: &&str| !pair.starts_with("MaxResults=") && !pair.starts_with("NextToken=");
        request.body = request.body.split('&').filter(kept).collect::<Vec<_>>().join("&");
    }
    let mut answer = request.exchange(shared.to).unwrap();
    if let Some(asked) = call.param("MaxResults") {
        let from = call.param("NextToken").map_or(0, |token| token.strip_prefix("from-").unwrap().parse().unwrap());
        cut(&mut answer.body, from, page.unwrap_or_else(|| asked.parse().unwrap()));
    }
    answer
}

/// The list of an answer of EC2: where it begins and ends, and its items.
fn list(body: &str) -> Option<(usize, usize, Vec<&str>)> {
    let open = body.find("Set>").map(|at| at + 4).or_else(|| body.find("Info>").map(|at| at + 5))?;
    let (mut items, mut depth, mut at, mut began) = (Vec::new(), 0, open, open);
    while let Some(next) = body[at..].find("item>").map(|n| at + n) {
        let closing = body[..next].ends_with('/');
        // An end of the list itself stands before what is not its item.
        if depth == 0 && body[at..next].contains("</") && !closing {
            break;
        }
        if closing {
            depth -= 1;
            if depth == 0 {
                items.push(&body[began..next + 5]);
            }
        } else {
            if depth == 0 {
                began = next - 1;
            }
            depth += 1;
        }
        at = next + 5;
    }
    let end = items.last().map_or(open, |last| last.as_ptr() as usize - body.as_ptr() as usize + last.len());
    Some((open, end, items))
}

fn cut(body: &mut String, from: usize, size: usize) {
    let Some((open, end, items)) = list(body) else { return };
    let page = items.iter().skip(from).take(size).copied().collect::<String>();
    let more = from + size < items.len();
    let next =
        if more { format!("<nextToken>from-{}</nextToken><requestId>", from + size) } else { "<requestId>".into() };
    let rest = body[end..].replacen("<requestId>", &next, 1);
    *body = format!("{}{page}{rest}", &body[..open]);
}

fn hide(body: &mut String, text: &str) {
    let Some((open, end, items)) = list(body) else { return };
    let shown = items.into_iter().filter(|item| !item.contains(text)).collect::<String>();
    *body = format!("{}{shown}{}", &body[..open], &body[end..]);
}
