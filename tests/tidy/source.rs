//! Source as a flat list of tokens with their lines: comments are gone, strings are told from code,
//! and code for tests from the rest.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// All files that a rule may look at, by their path from the root of the repository.
pub(crate) struct Tree {
    pub(crate) files: BTreeMap<String, File>,
}

/// One file; it has no tokens where it is not Rust.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
}

pub(crate) struct Token {
    pub(crate) line: usize,
    /// Whether it is compiled for tests only.
    pub(crate) is_test: bool,
    pub(crate) kind: Kind,
    /// Of an opening bracket: where the closing one is.
    close: usize,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Kind {
    /// An identifier or keyword.
    Word(String),
    /// As it is written, with its quotes.
    Literal(String),
    Sign(char),
}

/// A function with a body.
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    pub(crate) line: usize,
    /// From `fn` to the closing brace, both included.
    pub(crate) lines: usize,
    /// Without spaces, such as `ignore="a check"`.
    pub(crate) attributes: Vec<String>,
    pub(crate) body: &'a [Token],
}

impl Tree {
    /// The repository, but for what is built and what others wrote.
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut texts = Vec::new();
        for folder in ["src", "tests", "bench/src", "bench/tests", "config"] {
            read_folder(root, folder, &mut texts);
        }
        let text = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("part of the source");
        texts.push(("ARCHITECTURE.md".to_owned(), text));
        Self::new(texts)
    }

    /// # Panics
    /// When a file that should be Rust is not.
    pub(crate) fn new(texts: impl IntoIterator<Item = (String, String)>) -> Self {
        let files = texts.into_iter().map(|(path, text)| (path.clone(), File::new(path, text)));
        let mut files: BTreeMap<String, File> = files.collect();
        let modules: Vec<String> = files.values_mut().flat_map(File::mark_tests).collect();
        for file in files.values_mut() {
            let is_test = !file.path.contains("src/")
                || modules.iter().any(|module| is_in_module(&file.path, module));
            file.tokens.iter_mut().for_each(|token| token.is_test |= is_test);
        }
        Self { files }
    }

    /// Files of Rust, in the order of their paths.
    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.values().filter(|file| file.path.ends_with(".rs"))
    }

    /// # Panics
    /// When there is none: the rule that wants it could only be silent.
    pub(crate) fn file(&self, path: &str) -> &File {
        self.files.get(path).unwrap_or_else(|| panic!("no file {path}"))
    }
}

/// Whether a file is that of a module (a path without `.rs`), or of one below it.
fn is_in_module(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

fn read_folder(root: &Path, folder: &str, texts: &mut Vec<(String, String)>) {
    let entries = fs::read_dir(root.join(folder)).expect("a folder of the source");
    for entry in entries.map(|entry| entry.expect("an entry")) {
        let path = format!("{folder}/{}", entry.file_name().display());
        if entry.file_type().expect("a type").is_dir() {
            // What a crate of its own builds is no source.
            if entry.file_name() != "target" {
                read_folder(root, &path, texts);
            }
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            texts.push((path, text));
        }
    }
}

impl File {
    fn new(path: String, text: String) -> Self {
        let mut tokens = Vec::new();
        if path.ends_with(".rs") {
            let stream = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
            flatten(stream, &mut tokens);
        }
        Self { path, text, tokens }
    }

    /// Folder of the modules that the file declares.
    pub(crate) fn folder(&self) -> String {
        let (parent, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        match name {
            "mod.rs" | "lib.rs" | "main.rs" => parent.to_owned(),
            // A crate of its own.
            _ if parent.ends_with("tests") && !parent.contains("src/") => parent.to_owned(),
            name => format!("{parent}/{}", name.trim_end_matches(".rs")),
        }
    }

    /// Marks every item behind `#[cfg(test)]`; returns the modules among them that are files.
    fn mark_tests(&mut self) -> Vec<String> {
        let mut modules = Vec::new();
        for start in 0..self.tokens.len() {
            let Some((attribute, mut at)) = self.attribute(start) else { continue };
            if attribute != "cfg(test)" {
                continue;
            }
            let mut path = None;
            while let Some((attribute, end)) = self.attribute(at) {
                let quoted = attribute.strip_prefix("path=\"");
                path = quoted.map(|quoted| quoted.trim_end_matches('"').to_owned()).or(path);
                at = end;
            }
            let end = self.end_of_item(at);
            if let Some(name) = self.module_at(at..end) {
                let parent = self.path.rsplit_once('/').map_or("", |(parent, _)| parent);
                modules.push(match path {
                    Some(path) => format!("{parent}/{}", path.trim_end_matches(".rs")),
                    None => format!("{}/{name}", self.folder()),
                });
            }
            self.tokens[start..end].iter_mut().for_each(|token| token.is_test = true);
        }
        modules
    }

    /// An attribute that begins here, without spaces, and where it ends.
    fn attribute(&self, start: usize) -> Option<(String, usize)> {
        let open = start + 1;
        if !self.is_sign(start, '#') || !self.is_sign(open, '[') {
            return None;
        }
        let close = self.tokens[open].close;
        let text = self.tokens[open + 1..close].iter().map(|token| token.kind.text());
        Some((text.collect(), close + 1))
    }

    /// The name of a module whose declaration, without a body, is this item.
    fn module_at(&self, item: Range<usize>) -> Option<&str> {
        let at = item.clone().find(|at| self.word(*at) == Some("mod"))?;
        (at + 3 == item.end && self.is_sign(at + 2, ';')).then(|| self.word(at + 1))?
    }

    /// Behind the body or semicolon of the item that begins here.
    fn end_of_item(&self, start: usize) -> usize {
        let mut at = start;
        while let Some(token) = self.tokens.get(at) {
            match token.kind {
                Kind::Sign('{') => return token.close + 1,
                Kind::Sign(';') => return at + 1,
                Kind::Sign('(' | '[') => at = token.close + 1,
                _ => at += 1,
            }
        }
        at
    }

    /// Modules that it declares as files of their own, by name.
    pub(crate) fn modules(&self) -> impl Iterator<Item = &str> {
        (0..self.tokens.len()).filter_map(|at| self.module_at(at..at + 3))
    }

    /// Every function, also those inside others.
    pub(crate) fn functions(&self) -> impl Iterator<Item = Function<'_>> {
        (0..self.tokens.len()).filter_map(|at| self.function(at))
    }

    fn function(&self, at: usize) -> Option<Function<'_>> {
        if self.word(at) != Some("fn") {
            return None;
        }
        let name = self.word(at + 1)?;
        let end = self.end_of_item(at);
        if !self.is_sign(end - 1, '}') {
            return None;
        }
        let line = self.tokens[at].line;
        let lines = self.tokens[end - 1].line - line + 1;
        let attributes = self.attributes_before(at);
        Some(Function { name, line, lines, attributes, body: &self.tokens[at..end] })
    }

    fn attributes_before(&self, item: usize) -> Vec<String> {
        let starts = (item.saturating_sub(MOST_ATTRIBUTES)..item).rev();
        let mut attributes = Vec::new();
        let mut begin = item;
        for start in starts {
            // `pub(crate) const unsafe` and the like may stand between.
            let ends = |(_, end): &(String, usize)| {
                self.tokens[*end..begin]
                    .iter()
                    .all(|token| matches!(token.kind, Kind::Word(_) | Kind::Sign('(' | ')')))
            };
            if let Some((attribute, _)) = self.attribute(start).filter(ends) {
                attributes.push(attribute);
                begin = start;
            }
        }
        attributes
    }

    /// Every path in it, such as `std::thread::spawn`, those of `use` written out.
    pub(crate) fn paths(&self) -> Vec<(&Token, String)> {
        let mut paths = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            match self.word(at) {
                Some("use") => at = self.used(at + 1, "", &mut paths),
                Some(_) => {
                    let (path, end) = self.path_at(at);
                    paths.push((&self.tokens[at], path));
                    at = end;
                }
                None => at += 1,
            }
        }
        paths
    }

    /// The path that begins here, and where it ends.
    fn path_at(&self, start: usize) -> (String, usize) {
        let mut path = self.word(start).unwrap_or_default().to_owned();
        let mut at = start + 1;
        while self.is_sign(at, ':') && self.is_sign(at + 1, ':') {
            let Some(word) = self.word(at + 2) else { break };
            path = format!("{path}::{word}");
            at += 3;
        }
        (path, at)
    }

    /// Notes one tree of a `use`, which goes on from `prefix`; returns where it ends.
    fn used<'a>(
        &'a self,
        start: usize,
        prefix: &str,
        paths: &mut Vec<(&'a Token, String)>,
    ) -> usize {
        let (own, mut at) =
            if self.word(start).is_some() { self.path_at(start) } else { (String::new(), start) };
        let path = format!("{prefix}{own}");
        while self.is_sign(at, ':') {
            at += 1;
        }
        if self.is_sign(at, '{') {
            let prefix = if path.is_empty() { path } else { format!("{path}::") };
            let close = self.tokens[at].close;
            at += 1;
            while at < close {
                at = self.used(at, &prefix, paths) + usize::from(at < close);
            }
            return close + 1;
        }
        paths.push((&self.tokens[start], path));
        // A star or `as` may follow.
        while at < self.tokens.len() && ![',', ';', '}'].iter().any(|end| self.is_sign(at, *end)) {
            at += 1;
        }
        at
    }

    pub(crate) fn word(&self, at: usize) -> Option<&str> {
        match &self.tokens.get(at)?.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }

    pub(crate) fn is_sign(&self, at: usize, sign: char) -> bool {
        self.tokens.get(at).is_some_and(|token| token.kind == Kind::Sign(sign))
    }
}

/// How far before an item its attributes are looked for, in tokens.
const MOST_ATTRIBUTES: usize = 60;

impl Kind {
    fn text(&self) -> String {
        match self {
            Self::Word(text) | Self::Literal(text) => text.clone(),
            Self::Sign(sign) => sign.to_string(),
        }
    }
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        let mut push = |line, kind| {
            tokens.push(Token { line, is_test: false, kind, close: 0 });
        };
        match tree {
            TokenTree::Ident(word) => push(line, Kind::Word(word.to_string())),
            TokenTree::Literal(literal) => push(line, Kind::Literal(literal.to_string())),
            TokenTree::Punct(sign) => push(line, Kind::Sign(sign.as_char())),
            TokenTree::Group(group) => {
                let (open, close) = brackets(&group);
                push(line, Kind::Sign(open));
                let opened = tokens.len() - 1;
                if !is_documentation(&group) {
                    flatten(group.stream(), tokens);
                }
                tokens[opened].close = tokens.len();
                let line = group.span_close().start().line;
                tokens.push(Token { line, is_test: false, kind: Kind::Sign(close), close: 0 });
            }
        }
    }
}

fn brackets(group: &Group) -> (char, char) {
    match group.delimiter() {
        Delimiter::Parenthesis => ('(', ')'),
        Delimiter::Brace => ('{', '}'),
        Delimiter::Bracket => ('[', ']'),
        Delimiter::None => (' ', ' '),
    }
}

/// Comments of documentation come as `#[doc = "..."]`.
fn is_documentation(group: &Group) -> bool {
    group.delimiter() == Delimiter::Bracket
        && matches!(group.stream().into_iter().next(), Some(TokenTree::Ident(word)) if word == "doc")
}
