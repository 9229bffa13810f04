//! A headless browser, driven by its DevTools protocol over a pair of pipes.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use data_encoding::BASE64;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::SOON;
use super::process::Process;

/// The browser's program.
pub(crate) const BROWSER: &str = "chromium";

/// A browser with one tab.
pub(crate) struct Browser {
    commands: File,
    messages: Receiver<Value>,
    session: Option<String>,
    last: u64,
    /// What it has said without being asked.
    events: Vec<Value>,
    _process: Process,
    _directory: TempDir,
}

impl Browser {
    /// Starts one that knows nothing and asks nobody. Chromium now and then hangs while it starts, before
    /// it has heard of any page: it is started anew then, once.
    pub(crate) fn start() -> Self {
        let mut browser = Self::launch();
        if let Err(problem) = browser.open_tab() {
            println!("the browser did not start: {problem}");
            browser = Self::launch();
            browser.open_tab().unwrap_or_else(|problem| panic!("{problem}"));
        }
        browser
    }

    fn launch() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let [to, from] = ["to", "from"].map(|name| {
            let path = directory.path().join(name);
            mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
            path
        });
        let mut command = Command::new("sh");
        // The browser reads commands from descriptor 3 and writes to 4.
        command.args(["-c", "exec \"$@\" 3<\"$PIPES/to\" 4>\"$PIPES/from\"", "sh", BROWSER]);
        command.env("PIPES", directory.path()).env("HOME", directory.path());
        command.arg(format!("--user-data-dir={}", directory.path().join("profile").display()));
        command.args([
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-extensions",
            "--disable-sync",
            "--no-default-browser-check",
            "--no-first-run",
            "--hide-scrollbars",
            "about:blank",
        ]);
        let process = Process::start(&mut command);
        let commands = File::options().write(true).open(to).expect("the shell opens it, too");
        let answers = BufReader::new(File::open(from).expect("the shell opens it, too"));
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in answers.split(0) {
                let Ok(message) = message else { return };
                let value = serde_json::from_slice(&message).expect("the protocol is JSON");
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let (session, last, events) = (None, 0, Vec::new());
        Self { commands, messages, session, last, events, _process: process, _directory: directory }
    }

    fn open_tab(&mut self) -> Result<(), String> {
        let target = self.ask("Target.createTarget", json!({ "url": "about:blank" }))?;
        let attached = self.call(
            "Target.attachToTarget",
            json!({ "targetId": target["targetId"], "flatten": true }),
        );
        self.session = Some(attached["sessionId"].as_str().expect("a session").to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
        Ok(())
    }

    /// Calls a method of the protocol.
    ///
    /// # Panics
    /// When it fails, or does not answer.
    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.ask(method, parameters).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// As [`Self::call`], where no answer is an error.
    fn ask(&mut self, method: &str, parameters: Value) -> Result<Value, String> {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.commands.write_all(format!("{message}\0").as_bytes()).expect("the browser lives");
        let deadline = Instant::now() + SOON;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = self.messages.recv_timeout(left);
            let answer = answer.map_err(|error| format!("{method}: {error}"))?;
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return Ok(answer["result"].clone());
            }
            self.events.push(answer);
        }
    }

    /// The value of an expression in the page.
    ///
    /// # Panics
    /// When it throws.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let answer = self.call(
            "Runtime.evaluate",
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true }),
        );
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    pub(crate) fn open(&mut self, url: &str) {
        let answer = self.call("Page.navigate", json!({ "url": url }));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
    }

    /// A window of that width, light or dark.
    pub(crate) fn appear(&mut self, width: u32, scheme: &str) {
        let is_phone = width < 500;
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": is_phone }),
        );
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.call("Emulation.setEmulatedMedia", json!({ "features": [feature] }));
    }

    pub(crate) fn press(&mut self, key: &str, code: u32, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let key = json!({
                "type": kind, "key": key, "windowsVirtualKeyCode": code, "text": text
            });
            self.call("Input.dispatchKeyEvent", key);
        }
    }

    /// Writes a picture of the whole page.
    pub(crate) fn picture(&mut self, file: &Path) {
        let size = self.call("Page.getLayoutMetrics", json!({}))["cssContentSize"].clone();
        let clip = json!({
            "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1
        });
        let picture = self.call(
            "Page.captureScreenshot",
            json!({ "format": "png", "clip": clip, "captureBeyondViewport": true }),
        );
        let text = picture["data"].as_str().expect("a picture");
        let bytes = BASE64.decode(text.as_bytes()).expect("base64");
        std::fs::write(file, bytes).expect("a writable directory");
    }

    /// What the page has complained of: messages of scripts, and those of the browser about it.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let methods = ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"];
        let is_one = |event: &&Value| methods.iter().any(|method| event["method"] == *method);
        self.events.iter().filter(is_one).map(ToString::to_string).collect()
    }

    /// Every URL that was asked for.
    pub(crate) fn requests(&self) -> Vec<String> {
        let requests =
            self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        let url = |event: &Value| event["params"]["request"]["url"].as_str().map(str::to_owned);
        requests.filter_map(url).collect()
    }
}
