//! A browser: Chromium without a screen, spoken to over its DevTools protocol on two pipes.
//!
//! It believes any certificate (the controller's CA is not among the world's) and reaches this machine and
//! nothing else. What its pages complain of (exceptions, broken policies, dialogs) is kept.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;

use super::process::PATIENCE;

/// Names that the program goes by.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

/// Gives it its two pipes where it looks for them.
const PIPES: &str = r#"exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;

/// No screen, no guests, nothing from elsewhere.
const OPTIONS: &[&str] = &[
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--ignore-certificate-errors",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",
];

/// Where the program is, or why there is none; required where `CI` is set.
///
/// # Errors
/// When it is required and not there.
pub fn program_or_skip(test: &str, say: impl FnOnce(&str)) -> anyhow::Result<Option<PathBuf>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).flat_map(|at| NAMES.map(|name| at.join(name))).find(|file| file.is_file());
    if found.is_none() {
        ensure!(std::env::var_os("CI").is_none(), "there is no Chromium here, and CI needs one");
        say(&format!("SKIPPED {test}: there is no Chromium here"));
    }
    Ok(found)
}

/// A running browser; it ends with this value.
#[derive(Debug)]
pub struct Browser {
    wire: Arc<Wire>,
    _child: Child,
    _profile: tempfile::TempDir,
}

/// One page of it.
#[derive(Debug)]
pub struct Page {
    wire: Arc<Wire>,
    session: String,
}

#[derive(Debug)]
struct Wire {
    up: tokio::sync::Mutex<ChildStdin>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    next: AtomicU64,
    complaints: Mutex<Vec<String>>,
}

impl Browser {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start(program: &Path) -> anyhow::Result<Self> {
        let profile = tempfile::tempdir()?;
        let mut command = Command::new("sh");
        command.args(["-c", PIPES, "browser"]).arg(program).args(OPTIONS);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        command.env("HOME", profile.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn().context("the browser cannot be started")?;
        let up = child.stdin.take().context("no pipe to the browser")?;
        let down = child.stdout.take().context("no pipe from the browser")?;
        let wire = Arc::new(Wire {
            up: tokio::sync::Mutex::new(up),
            waiting: Mutex::default(),
            next: AtomicU64::new(1),
            complaints: Mutex::default(),
        });
        tokio::spawn(hear(Arc::clone(&wire), down));
        wire.ask(None, "Browser.getVersion", json!({})).await.context("the browser does not start")?;
        Ok(Self { wire, _child: child, _profile: profile })
    }

    /// Opens an address.
    ///
    /// # Errors
    /// When the browser has ended.
    pub async fn open(&self, address: &str) -> anyhow::Result<Page> {
        let target = self.wire.ask(None, "Target.createTarget", json!({"url": "about:blank"})).await?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.wire.ask(None, "Target.attachToTarget", attach).await?;
        let session = attached["sessionId"].as_str().context("no session")?.to_owned();
        let page = Page { wire: Arc::clone(&self.wire), session };
        for domain in ["Runtime", "Log", "Page"] {
            page.ask(&format!("{domain}.enable"), json!({})).await?;
        }
        page.ask("Page.navigate", json!({"url": address})).await?;
        Ok(page)
    }
}

impl Page {
    async fn ask(&self, method: &str, parameters: Value) -> anyhow::Result<Value> {
        self.wire.ask(Some(&self.session), method, parameters).await
    }

    /// The value of an expression in it; a promise is awaited.
    ///
    /// # Errors
    /// When it throws.
    pub async fn value(&self, expression: &str) -> anyhow::Result<Value> {
        let ask = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let told = self.ask("Runtime.evaluate", ask).await?;
        if let Some(thrown) = told.get("exceptionDetails") {
            bail!("{expression}: {}", thrown["exception"]["description"].as_str().unwrap_or(&thrown.to_string()));
        }
        Ok(told["result"]["value"].clone())
    }

    /// Waits until an expression is true; it is looked at whenever the document changes.
    ///
    /// # Errors
    /// When it does not become true; with what the page shows instead.
    pub async fn until(&self, expression: &str) -> anyhow::Result<()> {
        let wait = format!(
            "new Promise((done) => {{
               const look = () => {{ let so = false; try {{ so = Boolean({expression}); }} catch {{}} return so; }};
               if (look()) return done(true);
               const watcher = new MutationObserver(() => {{ if (look()) {{ watcher.disconnect(); done(true); }} }});
               watcher.observe(document, {{ subtree: true, childList: true, characterData: true, attributes: true }});
             }})"
        );
        let asked = async {
            // A document that is only just being loaded takes the question down with it.
            while self.value(&wait).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(PATIENCE, asked).await.is_err() {
            let shown = self.value("document.body.innerText").await.unwrap_or_default();
            bail!(
                "it never came to {expression}; the page shows:\n{}\n{:?}",
                shown.as_str().unwrap_or(""),
                self.complaints()
            );
        }
        Ok(())
    }

    /// Waits until the page shows a text.
    ///
    /// # Errors
    /// When it never does.
    pub async fn shows(&self, text: &str) -> anyhow::Result<()> {
        self.until(&format!("document.body.innerText.includes({})", json!(text))).await
    }

    /// Types into what has the focus.
    ///
    /// # Errors
    /// When the browser has ended.
    pub async fn types(&self, text: &str) -> anyhow::Result<()> {
        self.ask("Input.insertText", json!({"text": text})).await.map(|_| ())
    }

    /// Presses and releases a key, such as `Tab` or `Enter`.
    ///
    /// # Errors
    /// When the browser has ended.
    pub async fn presses(&self, key: &str) -> anyhow::Result<()> {
        let (code, text) = if key == "Enter" { (13, "\r") } else { (9, "") };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.ask("Input.dispatchKeyEvent", event).await?;
        }
        Ok(())
    }

    /// Gives it a size, and light or dark.
    ///
    /// # Errors
    /// When the browser has ended.
    pub async fn looks(&self, width: u32, height: u32, dark: bool) -> anyhow::Result<()> {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.ask("Emulation.setDeviceMetricsOverride", size).await?;
        let scheme = json!({"name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" }});
        self.ask("Emulation.setEmulatedMedia", json!({"features": [scheme]})).await.map(|_| ())
    }

    /// A picture of it, as PNG.
    ///
    /// # Errors
    /// When none can be made.
    pub async fn picture(&self) -> anyhow::Result<Vec<u8>> {
        let told = self.ask("Page.captureScreenshot", json!({"captureBeyondViewport": true})).await?;
        let text = told["data"].as_str().context("no picture")?;
        Ok(data_encoding::BASE64.decode(text.as_bytes())?)
    }

    /// What was thrown, refused by the page's policy, or asked in a dialog, so far.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.wire.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Wire {
    async fn ask(&self, session: Option<&str>, method: &str, parameters: Value) -> anyhow::Result<Value> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, answer);
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.up.lock().await.write_all(&bytes).await.context("the browser has ended")?;
        let told = tokio::time::timeout(PATIENCE, answered).await.with_context(|| format!("no answer to {method}"))?;
        let mut told = told.with_context(|| format!("the browser ended before it answered {method}"))?;
        if let Some(error) = told.get("error") {
            bail!("{method}: {error}");
        }
        Ok(told["result"].take())
    }

    fn complain(&self, told: &Value) {
        let what = &told["params"];
        let said = match told["method"].as_str() {
            Some("Runtime.exceptionThrown") => what["exceptionDetails"]["exception"]["description"].to_string(),
            Some("Log.entryAdded") if what["entry"]["level"] == "error" => {
                format!("{} {}", what["entry"]["text"], what["entry"]["url"])
            }
            Some("Page.javascriptDialogOpening") => format!("a dialog: {}", what["message"]),
            _ => return,
        };
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).push(said);
    }
}

/// Messages end with a zero byte.
async fn hear(wire: Arc<Wire>, down: ChildStdout) {
    let (mut down, mut message) = (BufReader::new(down), Vec::new());
    while down.read_until(0, &mut message).await.is_ok_and(|read| read > 0) {
        message.pop();
        let told: Value = serde_json::from_slice(&message).unwrap_or_default();
        let waiting =
            told["id"].as_u64().and_then(|id| wire.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id));
        match waiting {
            Some(waiting) => drop(waiting.send(told)),
            None => wire.complain(&told),
        }
        message.clear();
    }
    wire.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
}
