//! Source files as the rules see them: product apart from tests, code apart from comments, paths spelt out.

use std::fs;
use std::path::Path;

/// A file, its path relative to the package.
pub struct Source {
    pub path: String,
    pub text: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// `broker` for `src/broker/queue/mod.rs`.
    pub fn module(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or_default();
        inside.split(['/', '.']).next().unwrap_or_default()
    }

    pub fn is_product(&self) -> bool {
        self.path.starts_with("src/") && !self.path.ends_with("/tests.rs") && !self.path.contains("/tests/")
    }

    /// The product's lines; the tests at the end of a file, and files of tests, are not among them.
    pub fn product(&self) -> Vec<&str> {
        let lines: Vec<_> = if self.is_product() {
            self.text.lines().collect()
        } else {
            Vec::new()
        };
        let is_test_module = |pair: &[&str]| {
            pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
        };
        let end = lines.windows(2).position(is_test_module).unwrap_or(lines.len());
        lines[..end].to_vec()
    }

    /// The rest: tests.
    pub fn tests(&self) -> impl Iterator<Item = &str> {
        self.text.lines().skip(self.product().len())
    }

    /// The product's text without comments.
    pub fn code(&self) -> String {
        let product = self.product();
        product
            .into_iter()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Every path of ours that the product names, from the crate's root: `crate::store::Position`.
    pub fn names(&self) -> Vec<String> {
        let code = self.code();
        let mut found = Vec::new();
        for root in ["crate::", "leveret::", "super::"] {
            for (start, _) in code.match_indices(root) {
                let is_word = |c: char| c.is_alphanumeric() || c == '_';
                let is_inside = code[..start].ends_with(|c: char| is_word(c) || c == ':' || c == '"');
                if !is_inside {
                    expand("", &code[start..], &mut found);
                }
            }
        }
        found.iter().map(|name| self.absolute(name)).collect()
    }

    fn absolute(&self, name: &str) -> String {
        let name = name.replacen("leveret::", "crate::", 1);
        let levels = name.matches("super::").count();
        if levels == 0 {
            return name;
        }
        let file = self
            .path
            .trim_start_matches("src/")
            .trim_end_matches(".rs")
            .trim_end_matches("/mod");
        let mut module: Vec<_> = file.split('/').collect();
        module.truncate(module.len().saturating_sub(levels));
        [&["crate"], &module[..], &[name.trim_start_matches("super::")]]
            .concat()
            .join("::")
    }
}

/// Takes `a::{b, c::d}` at the start of the text apart.
fn expand(prefix: &str, text: &str, found: &mut Vec<String>) {
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .unwrap_or(text.len());
    let path = format!("{prefix}{}", &text[..end]);
    if !text[end..].starts_with('{') || !path.ends_with("::") {
        return found.push(path);
    }
    let mut depth = 0;
    for (offset, character) in text[end..].char_indices() {
        let rest = text[end + offset + 1..].trim_start();
        match character {
            '{' if depth == 0 => expand(&path, rest, found),
            ',' if depth == 1 => expand(&path, rest, found),
            '}' if depth == 1 => return,
            _ => {}
        }
        depth += i32::from(character == '{') - i32::from(character == '}');
    }
}

/// Reads the sources below a folder; not those of others, and not the rules, which name what they forbid.
pub fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_foreign = name.starts_with('.') || ["node_modules", "target", "tidy.rs"].contains(&name);
        let is_source = path.extension().is_some_and(|kind| kind == "rs" || kind == "py");
        if path.is_dir() && !is_foreign {
            collect(root, &path, sources);
        } else if is_source && !is_foreign {
            let relative = path.strip_prefix(root).unwrap().to_str().unwrap();
            sources.push(Source::new(relative, &fs::read_to_string(&path).unwrap()));
        }
    }
}
